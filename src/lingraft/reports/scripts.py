"""The few lines of script a page may run: read from this package, named in the page by their digests."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files


@cache
def read_script(name: str) -> str:
    """Return the text of a script of this package."""
    return files("lingraft.reports").joinpath(name).read_text(encoding="utf-8")


def script_policy(scripts: Sequence[str]) -> str:
    """Return what a content security policy must say: these very scripts may run, and no other.

    Args:
        scripts: Their texts.

    Returns:
        A directive with a semicolon before it, or "" without scripts: then none may run.
    """
    if not scripts:
        return ""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in scripts)
    return "; script-src " + " ".join(f"'sha256-{digest}'" for digest in digests)
