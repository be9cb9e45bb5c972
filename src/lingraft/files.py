"""Writing so that a killed process leaves nothing half-written, and checking first that writing can work."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lingraft.errors import OutputError

RUN_MARKER = ".lingraft-run.json"
"""Present in every directory that Lingraft made, with the fingerprint of the command that made it."""


def fsync_directory(directory: Path) -> None:
    """Make a rename inside `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it over `path`.

    Args:
        path: The file to write; its directory is made where missing.

    Yields:
        An empty file to write to; it is removed if the block raises.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_part_prefix(path), suffix=".part", dir=path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_directory(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `directory`; on success rename it to `directory`.

    Args:
        directory: The directory to make: missing, or empty.

    Yields:
        An empty directory to fill; it is removed if the block raises.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        prefix = _part_prefix(directory)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=directory.parent))
    except OSError as error:
        raise output_error(directory, error) from error
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        temporary.chmod(0o755)
        temporary.replace(directory)
        fsync_directory(directory.parent)
    except OSError as error:
        raise output_error(directory, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _part_prefix(path: Path) -> str:
    """Name the temporary file after its maker, so that `remove_leftovers` can tell who still lives."""
    return f".{path.name}.{platform.node()}-{os.getpid()}."


def remove_leftovers(directory: Path) -> None:
    """Delete the temporary files and directories in `directory` whose makers were killed.

    Those of processes that still run, or that ran on another machine, are left alone.
    """
    for item in directory.glob(".*.part"):
        match = re.search(r"\.([^/]*)-(\d+)\.[^.]*\.part$", item.name)
        if match is None or not match[1].endswith(platform.node()) or _is_alive(int(match[2])):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def output_error(path: Path, error: OSError) -> OutputError:
    """Turn the operating system's error about `path` into a line with a remedy."""
    return OutputError(
        f"could not write {path}: {error.strerror or error}",
        "a writable place with free space",
        "free some space or give another output path, then run the same command again",
    )


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
    if directory.exists():
        remove_leftovers(directory)
    if marker.exists():
        wanted, earlier = _plain(command), json.loads(marker.read_text(encoding="utf-8"))
        if earlier.get("fingerprint") == fingerprint(wanted):
            return True
        before = earlier.get("command", {})
        changed = sorted(key for key in {*wanted, *before} if wanted.get(key) != before.get(key))
        raise OutputError(
            f"{directory} holds a run of another command (differs in: {', '.join(changed)})",
            "an empty directory, or the run of this same command to continue",
            "give another --out, or delete that directory",
        )
    if directory.exists() and any(directory.iterdir()):
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


def mark_run(directory: Path, command: Mapping[str, Any]) -> None:
    """Leave in `directory` the mark by which `find_run` knows the command again."""
    plain = _plain(command)
    write_json(directory / RUN_MARKER, {"fingerprint": fingerprint(plain), "command": plain})


def _plain(command: Mapping[str, Any]) -> dict[str, Any]:
    """Return the command as JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(command), ensure_ascii=False, default=str))
    return plain
