"""Training: the loop, continued pre-training, LoRA."""
