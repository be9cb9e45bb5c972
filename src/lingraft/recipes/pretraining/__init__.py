"""Continued pre-training, from references to files."""
