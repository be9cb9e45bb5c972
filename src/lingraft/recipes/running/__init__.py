"""Run a recipe: what a stage costs, what is kept, what runs again."""
