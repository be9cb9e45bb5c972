"""Lingraft grafts a language onto a language model."""

__version__ = "0.1.0"
