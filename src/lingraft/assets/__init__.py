"""Real models and corpora that package registries carry."""
