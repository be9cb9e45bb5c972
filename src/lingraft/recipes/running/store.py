"""Where a run keeps its stages: directories named by what went in, so that only what changed runs again."""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lingraft.errors import OutputError
from lingraft.files import find_run, open_run_directory, output_error, write_json
from lingraft.reports.result import RESULT_FILE, RunResult, read_result, write_result

STAGES_DIRECTORY = "stages"
DONE = "stage.json"
"""Left in a finished stage's directory, last of all."""
LOCK = ".lock"
RUN_COMMAND = {"verb": "run"}
"""What marks a directory as that of recipe runs; the recipe itself may change."""
KEY_LENGTH = 12


class Store:
    """The stages kept in a run directory.

    Args:
        out: The run directory.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        # Absolute, so that a stage killed half way is known again from wherever the command is typed.
        self.stages = out.resolve() / STAGES_DIRECTORY

    def find(self, name: str, key: str) -> Path:
        """Return the directory of a stage: a finished one of the same key, whatever its name, else its own.

        Args:
            name: The stage.
            key: What went into it.

        Returns:
            The directory; it may not be there.
        """
        own = self.stages / f"{name}-{key[:KEY_LENGTH]}"
        if not self.is_done(own, key) and self.stages.is_dir():
            for other in sorted(self.stages.glob(f"*-{key[:KEY_LENGTH]}")):
                if self.is_done(other, key):
                    return other
        return own

    def is_done(self, directory: Path, key: str) -> bool:
        """Say whether a directory holds a finished stage of this key, with all its files as they were.

        Args:
            directory: The stage's directory.
            key: What went into it.

        Returns:
            Whether it does.
        """
        mark = self.mark(directory)
        if mark is None or mark.get("key") != key:
            return False
        sizes: Mapping[str, int] = mark.get("sizes", {})
        return all(_size(directory / name) == size for name, size in sizes.items())

    def mark(self, directory: Path) -> dict[str, Any] | None:
        """Read what a finished stage left about itself.

        Args:
            directory: The stage's directory.

        Returns:
            Key, name, kind, settings, seconds, sizes, and when it was finished; None where it is not finished.
        """
        try:
            mark = json.loads((directory / DONE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return mark if isinstance(mark, dict) else None

    def finish(self, directory: Path, result: RunResult, about: Mapping[str, Any]) -> None:
        """Write a stage's result, and then the mark that it is finished.

        Args:
            directory: Its directory.
            result: What came out.
            about: Key, name, kind, settings, seconds.

        Raises:
            OutputError: The disk is full, or an output that the result names is missing.
        """
        write_result(directory, result)
        sizes = {RESULT_FILE: _size(directory / RESULT_FILE)}
        for name in result.files.values():
            if not (directory / name).exists():
                raise OutputError(f"no {directory / name}", "what the stage says it made", "run it again")
            sizes[name] = _size(directory / name)
        write_json(directory / DONE, {**about, "sizes": sizes, "finished": time.time_ns()})

    def result(self, directory: Path) -> RunResult:
        """Read a finished stage's result.

        Args:
            directory: Its directory.

        Returns:
            The result.
        """
        return read_result(directory)

    def forget(self, directory: Path) -> None:
        """Delete what a stage left.

        Args:
            directory: Its directory.
        """
        # The mark first: a stage half deleted must not look finished.
        with contextlib.suppress(FileNotFoundError):
            (directory / DONE).unlink()
        shutil.rmtree(directory, ignore_errors=True)

    def require_usable(self) -> None:
        """Refuse a directory that a run would refuse; nothing is written, so that a dry run says it too.

        What killed runs left half-written there is deleted, as by any start.

        Raises:
            OutputError: It holds something else than recipe runs, or cannot be made.
        """
        find_run(self.out, RUN_COMMAND)
        place = next(place for place in (self.out, *self.out.absolute().parents) if place.exists())
        if not place.is_dir():
            raise output_error(self.out, OSError(errno.ENOTDIR, "not a directory"))
        if not os.access(place, os.W_OK | os.X_OK):
            raise output_error(self.out, OSError(errno.EACCES, "not writable"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; it is made where it is missing.

        Yields:
            Nothing, while no other run can hold it.

        Raises:
            OutputError: Another run holds it, or it holds something else than recipe runs.
        """
        import fcntl

        find_run(self.out, RUN_COMMAND)
        open_run_directory(self.out, RUN_COMMAND)
        with (self.out / LOCK).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                other = file.read().strip() or "unknown"
                raise OutputError(
                    f"{self.out} is in use by another run (process {other})",
                    "one run at a time in a directory",
                    "wait for it, or give another --out",
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _size(path: Path) -> int:
    """Return the bytes of a file, or of a directory's files; -1 where nothing is there."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else -1
