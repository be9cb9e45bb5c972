"""The preference verbs, from references to files."""
