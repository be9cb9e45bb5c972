"""`lingraft clo`: the noun with all its verbs, in the order in which one comes to need them."""

import importlib
import importlib.util

from lingraft.cli.clo_options import app

for _module in ("clo_translate", "clo_pairs", "clo_train", "clo_compare"):
    if importlib.util.find_spec(f"lingraft.cli.{_module}"):
        importlib.import_module(f"lingraft.cli.{_module}")

__all__ = ["app"]
