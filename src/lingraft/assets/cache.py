"""The asset cache: where it is, who may write to it, and what a finished asset looks like."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lingraft.errors import AssetError
from lingraft.files import write_json

MANIFEST = "manifest.json"


def cache_root(cache: Path | str | None = None) -> Path:
    """Return the cache directory: `cache`, else $LINGRAFT_CACHE, else ~/.cache/lingraft."""
    chosen = cache or os.environ.get("LINGRAFT_CACHE") or Path.home() / ".cache" / "lingraft"
    return Path(chosen).expanduser().absolute()


def asset_directory(root: Path, name: str, converter: int) -> Path:
    """Return where an asset lies; a new converter writes beside the old one's result, never over it."""
    return root / "assets" / name / f"v{converter}"


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished asset, or None where it is absent or files are missing or cut off."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        complete = all((directory / file).stat().st_size == size for file, size in manifest["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return manifest if complete else None


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of the files in `directory`, with their sizes."""
    sizes = {
        str(file.relative_to(directory)): file.stat().st_size
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    write_json(directory / MANIFEST, {**manifest, "files": sizes})


@contextlib.contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """Hold the lock `name` of the cache: a second process waits here until the first has finished.

    The operating system lets go of the lock when its holder dies, so a killed run blocks nobody.

    Args:
        root: The cache directory.
        name: What is locked.

    Yields:
        Nothing; the lock is held inside the block.

    Raises:
        AssetError: The cache cannot be written to.
    """
    try:
        (root / "locks").mkdir(parents=True, exist_ok=True)
        file = (root / "locks" / f"{name}.lock").open("w")
    except OSError as error:
        raise AssetError(
            f"the asset cache {root} cannot be written to ({error.strerror or error})",
            "a writable directory",
            "set LINGRAFT_CACHE or --cache to a place that can be written to",
        ) from error
    with file:
        with contextlib.suppress(ImportError):  # no fcntl on Windows: one process at a time there
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def clear_leftovers(directory: Path) -> None:
    """Delete what killed runs left half-written in `directory`; call it under the lock only."""
    if directory.is_dir():
        for leftover in directory.glob(".*.part"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
