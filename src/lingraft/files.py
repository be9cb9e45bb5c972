"""Run directories, small files and hashes, and checking first that writing can work."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingraft.errors import OutputError
from lingraft.replacing import (
    fsync_directory,
    output_error,
    remove_leftovers,
    replacing,
    replacing_directory,
    require_replaceable,
)

__all__ = [
    "CONTENT_OF",
    "RUN_MARKER",
    "find_run",
    "fingerprint",
    "fsync_directory",
    "mark_run",
    "open_run_directory",
    "output_error",
    "remove_leftovers",
    "replacing",
    "replacing_directory",
    "require_free_space",
    "require_replaceable",
    "sha256_of",
    "write_json",
    "write_text",
]

CONTENT_OF = "content of "
"""Begins the entries of a command that say what the file of an option holds."""
RUN_MARKER = ".lingraft-run.json"
"""Present in every directory that Lingraft made, with the fingerprint of the command that made it."""


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in their order, non-ASCII as it is."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file, read in 1 MiB blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return a short stable hash of a JSON-able mapping: what names a command's inputs and options."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_free_space(path: Path, needed_bytes: int) -> None:
    """Refuse to start work that the disk cannot hold.

    Args:
        path: Where the work will write; it need not exist.
        needed_bytes: How much the work will write there.

    Raises:
        OutputError: Less than `needed_bytes` is free where `path` will be.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise OutputError(
            f"{free / 2**20:.0f} MiB free at {existing}",
            f"at least {needed_bytes / 2**20:.0f} MiB for {path}",
            "free some space or give another output path",
        )


def find_run(directory: Path, command: Mapping[str, Any]) -> bool:
    """Say whether `directory` holds an earlier start of the same command; nothing is written.

    What killed runs left half-written in it and beside it is deleted.

    Args:
        directory: The run directory: missing, empty, or an earlier run of the same command.
        command: The options and inputs that make one run differ from another, JSON-able.

    Returns:
        True where the same command was started here before, False where the directory is free.

    Raises:
        OutputError: The directory holds something else, or a run of another command.
    """
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file", "a directory", "give another --out")
    marker = directory / RUN_MARKER
    if directory.parent.is_dir():
        remove_leftovers(directory.parent, of=directory.name)
    if directory.exists():
        remove_leftovers(directory)
    # Looked at before the marker: another process of this run may put the whole directory there in between.
    occupied = directory.exists() and any(directory.iterdir())
    if marker.exists():
        wanted, earlier = _plain(command), _read_mark(marker)
        if earlier.get("fingerprint") == fingerprint(wanted):
            return True
        before = earlier.get("command", {})
        changed = {key for key in {*wanted, *before} if wanted.get(key) != before.get(key)}
        # Another file has another content: the file's name says it.
        named = sorted(key for key in changed if key.removeprefix(CONTENT_OF) not in changed - {key})
        raise OutputError(
            f"{directory} holds a run of another command (differs in: {', '.join(named)})",
            "an empty directory, or the run of this same command to continue",
            "give another --out, or delete that directory",
        )
    if occupied:
        raise OutputError(
            f"{directory} is not empty and was not made by lingraft",
            "an empty or a new directory",
            "give another --out",
        )
    return False


def open_run_directory(directory: Path, command: Mapping[str, Any]) -> bool:
    """Take `directory` for a run of `command`; see `find_run`.

    Args:
        directory: The run directory: missing, empty, or an earlier run of the same command.
        command: The options and inputs that make one run differ from another, JSON-able.

    Returns:
        Whether an earlier start of the same command is there, to be continued.

    Raises:
        OutputError: The directory holds something else, a run of another command, or cannot be made.
    """
    if find_run(directory, command):
        return True
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(directory, error) from error
    mark_run(directory, command)
    return False


def _read_mark(marker: Path) -> dict[str, Any]:
    """Return what `mark_run` wrote; an unreadable mark is that of no command."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def mark_run(directory: Path, command: Mapping[str, Any]) -> None:
    """Leave in `directory` the mark by which `find_run` knows the command again."""
    plain = _plain(command)
    write_json(directory / RUN_MARKER, {"fingerprint": fingerprint(plain), "command": plain})


def _plain(command: Mapping[str, Any]) -> dict[str, Any]:
    """Return the command as JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(command), ensure_ascii=False, default=str))
    return plain
