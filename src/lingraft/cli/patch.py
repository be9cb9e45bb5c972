"""`lingraft patch`: the noun with all its verbs."""

from lingraft.cli import patch_pairs, patch_run, patch_select, patch_sweep
from lingraft.cli.patch_options import app

__all__ = ["app", "patch_pairs", "patch_run", "patch_select", "patch_sweep"]
