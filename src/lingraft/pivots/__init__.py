"""Semantic pivots: how a model translates words inside, and which documents taught it (arXiv 2505.16385)."""
