"""`lingraft patch`: the noun with all its verbs, in the order in which one comes to need them."""

import importlib

from lingraft.cli.patch_options import app

for _module in ("patch_pairs", "patch_sweep", "patch_select", "patch_run"):
    importlib.import_module(f"lingraft.cli.{_module}")

__all__ = ["app"]
