"""Cross-lingual optimization: answer in the prompt's language, from English instructions and their translation."""
