"""`lingraft patch`: the noun with all its verbs."""

import lingraft.cli.patch_pairs
import lingraft.cli.patch_run
import lingraft.cli.patch_select
import lingraft.cli.patch_sweep  # noqa: F401  (the verbs register themselves)
from lingraft.cli.patch_options import app

__all__ = ["app"]
