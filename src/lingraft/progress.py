"""Progress of long work: bars with an estimate, on stderr, and only where somebody watches."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

_wanted: ContextVar[bool | None] = ContextVar("lingraft_progress", default=None)
"""True: always show; False: never; None: show where stderr is a terminal."""


@contextlib.contextmanager
def progress_enabled(enabled: bool | None) -> Iterator[None]:
    """Show (True), hide (False) or leave to the terminal (None) every bar drawn inside the block."""
    token = _wanted.set(enabled)
    try:
        yield
    finally:
        _wanted.reset(token)


class _Display:
    """The one set of bars of this process: opened by the first task, closed with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._open_tasks = 0

    def start(self, description: str, total: float | None) -> "tuple[Progress, TaskID]":
        with self._lock:
            if self._bars is None:
                self._bars = _new_bars()
                self._bars.start()
            self._open_tasks += 1
            return self._bars, self._bars.add_task(description, total=total)

    def finish(self, task: "TaskID") -> None:
        with self._lock:
            self._open_tasks -= 1
            if self._bars is None:
                return
            self._bars.stop_task(task)
            if self._open_tasks == 0:
                self._bars.stop()
                self._bars = None
            else:
                # An inner loop that is over would otherwise leave a line for each turn of the outer one.
                self._bars.remove_task(task)


_display = _Display()


def _new_bars() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # The console is made here, not at import, so that it writes to what sys.stderr is now.
    console = Console(stderr=True, force_terminal=True if _wanted.get() else None)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def progress_shown() -> bool:
    """Whether a bar started now would be drawn."""
    wanted = _wanted.get()
    if wanted is not None:
        return wanted
    import sys

    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def progress_task(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Draw a bar for work that is no plain loop; yield `advance(amount=1, description=None)`.

    Args:
        description: What is being done, in a few words.
        total: How many units there are, in whatever unit `advance` counts; None when unknown.

    Yields:
        A function that moves the bar, and does nothing where no bar is drawn.
    """
    if not progress_shown():
        yield lambda amount=1, description=None: None
        return
    bars, task = _display.start(description, total)

    def advance(amount: float = 1, description: str | None = None) -> None:
        bars.update(task, advance=amount, description=description)

    try:
        yield advance
    finally:
        _display.finish(task)


def track(iterable: Iterable[Item], *, description: str, total: float | None = None) -> Iterator[Item]:
    """Yield the items of `iterable` and draw how far the work is, with the time left.

    Args:
        iterable: What to go through; it is not read ahead.
        description: What is being done, in a few words.
        total: How many items there are; taken from `len()` where the iterable has one.

    Yields:
        The items, in order and unchanged.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with progress_task(description, total) as advance:
        for item in iterable:
            yield item
            advance()
