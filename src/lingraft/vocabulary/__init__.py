"""Vocabulary transfer: SALT, its peers and our own."""
