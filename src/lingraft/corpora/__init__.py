"""Text, read as a stream."""
