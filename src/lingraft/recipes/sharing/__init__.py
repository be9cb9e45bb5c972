"""Take a checkpoint elsewhere: GGUF, the Hub."""
