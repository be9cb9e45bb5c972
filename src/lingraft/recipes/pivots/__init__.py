"""The pivots verbs, from references to files."""
