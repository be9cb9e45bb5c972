"""What every method needs of a model: loading, hooks, embeddings, saving."""
