"""Latent transplantation: a module's last-token output of one prompt put into another prompt's run."""
