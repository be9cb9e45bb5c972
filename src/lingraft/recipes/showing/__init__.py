"""What a finished run looks like: its page, its model card, runs side by side."""
