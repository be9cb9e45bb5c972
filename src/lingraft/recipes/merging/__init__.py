"""The merge verbs, from references to files."""
