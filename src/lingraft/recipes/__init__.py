"""Recipes: several verbs as one run."""
