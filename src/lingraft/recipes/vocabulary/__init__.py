"""The vocabulary verbs, from references to files."""
