"""Files and directories that appear whole or not at all, whatever kills or fills what."""

import contextlib
import errno
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lingraft.errors import LingraftError, OutputError

_ERROR_NUMBER = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust (safetensors, tokenizers) name an error of the operating system."""


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
    temporary = _part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        fsync_directory(path.parent)
    except LingraftError:
        raise
    except Exception as error:
        cause = _operating_system_error(error)
        if cause is None:
            raise
        raise output_error(path, cause) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


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
    temporary = _part_of(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(directory.parent, of=directory.name)
        temporary.mkdir(mode=0o700)
        yield temporary
        _settle(temporary)
        temporary.replace(directory)
        fsync_directory(directory.parent)
    except OutputError as error:
        # What was written inside is known to the user by its final place.
        places = str(temporary), str(directory)
        raise OutputError(
            error.found.replace(*places), error.expected.replace(*places), error.remedy.replace(*places)
        ) from error
    except LingraftError:
        raise
    except Exception as error:
        cause = _operating_system_error(error)
        if cause is None:
            raise
        raise output_error(directory, cause) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _settle(directory: Path) -> None:
    """Flush all files to the disk, and give everything the modes that the umask says.

    Some libraries make files for their owner alone, as `mkdtemp` makes directories.
    """
    mask = _umask()
    for item in [directory, *directory.rglob("*")]:
        if item.is_symlink():
            continue
        if item.is_file():
            with item.open("rb") as written:
                os.fsync(written.fileno())
        item.chmod((0o777 if item.is_dir() else 0o666 | item.stat().st_mode & 0o111) & ~mask)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it; strict meanwhile."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _operating_system_error(error: Exception) -> OSError | None:
    """Return the error of the operating system that an exception is or quotes, else None."""
    if isinstance(error, OSError):
        return error
    match = _ERROR_NUMBER.search(str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else None


def _part_of(path: Path) -> Path:
    """Name what becomes `path` after its maker, so that `remove_leftovers` can tell who still lives.

    It is named before it is made, so that an interruption at any moment finds the name to remove.
    """
    return path.parent / f".{path.name}.{platform.node()}-{os.getpid()}.{secrets.token_hex(4)}.part"


def remove_leftovers(directory: Path, *, of: str | None = None) -> None:
    """Delete the temporary files and directories in `directory` and below whose makers were killed.

    Those of processes that still run, or that ran on another machine, are left alone.

    Args:
        directory: Where to look.
        of: Only those that were to become the file or directory of this name, and what was nested in them; not
            below `directory`.
    """
    for place, folders, files in os.walk(directory):
        found = [name for name in (*folders, *files) if _is_leftover(name, of)]
        for item in (Path(place, name) for name in found):
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item, ignore_errors=True)
            else:
                item.unlink(missing_ok=True)
        if of is not None:
            return


def _is_leftover(name: str, of: str | None) -> bool:
    match = re.fullmatch(r"\.(.*)-(\d+)\.[^.]*\.part", name)
    if match is None or (of is not None and not name.lstrip(".").startswith(of.lstrip(".") + ".")):
        return False
    return match[1].endswith(platform.node()) and not _is_alive(int(match[2]))


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
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return OutputError(
        f"could not write {path}: {os.strerror(error.errno) if error.errno else error}",
        "a writable place with free space" if full else "a place that can be written to",
        ("free some space or " if full else "") + "give another output path, then run the same command again",
    )


def require_replaceable(directory: Path) -> None:
    """Refuse early a directory that `replacing_directory` could not put in its place.

    Args:
        directory: Missing, or empty.

    Raises:
        OutputError: It is a mount point, lies under a file, or its parent cannot be written to.
    """
    if directory.is_mount():
        raise OutputError(
            f"{directory} is a mount point", "a directory that can be replaced", f"give {directory / 'run'}"
        )
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is a file", "a directory to write into", "give another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{parent} cannot be written to", "a directory that you may write into", "give another --out"
        )
