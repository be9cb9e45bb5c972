"""The patching verbs, from references to files."""
