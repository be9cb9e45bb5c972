"""What a token is made of, and how vocabularies relate."""
