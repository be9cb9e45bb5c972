"""A first look at a model and a language, and the recipe it recommends."""
