"""The eval verbs, from references to files."""
