"""Several processes, one list of tasks: each task is claimed by one of them, and all return when all are done."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

Task = TypeVar("Task")


def shared_tasks(tasks: Sequence[Task], file_of: Callable[[Task], Path]) -> Iterator[Task]:
    """Yield the tasks that are this process's to do; others with the same list do the rest.

    A task is done once its file is there, and claimed while its process works on it; a killed process's claim is gone
    with it. Where others work on what is left, this waits for them, and takes over what they do not finish.

    Args:
        tasks: The same in every process, or some of the same.
        file_of: The file that says that a task is done; its directory holds the claims meanwhile.

    Yields:
        Tasks to do before the next is asked for.
    """
    left = [task for task in tasks if not file_of(task).exists()]
    while left:
        elsewhere = []
        for task in left:
            with _claimed(file_of(task)) as mine:
                if not mine:
                    elsewhere.append(task)
                elif not file_of(task).exists():
                    yield task
        for task in elsewhere[:1]:
            with _claimed(file_of(task), wait=True):
                pass
        left = [task for task in elsewhere if not file_of(task).exists()]


@contextlib.contextmanager
def _claimed(file: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the claim of `file` for the block; yield whether it was to be had, which it is where `wait` is true."""
    try:
        import fcntl
    except ImportError:  # Windows: one process at a time there
        yield True
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.parent / f".{file.name}.claim"
    while True:
        with lock.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            # The one that held it before may have removed it: then this lock is nobody's any more.
            if _is(lock, held):
                try:
                    yield True
                finally:
                    lock.unlink(missing_ok=True)
                return


def _is(path: Path, held: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(held.fileno()))
    except FileNotFoundError:
        return False
