"""`lingraft pivots`: the noun with all its verbs, in the order in which one comes to need them."""

import importlib

from lingraft.cli.pivots_options import app

for _module in ("pivots_words", "pivots_trace", "pivots_count", "pivots_discover", "pivots_select"):
    importlib.import_module(f"lingraft.cli.{_module}")

__all__ = ["app"]
