"""From a YAML file to a whole recipe: every fault at once, each with its line."""
