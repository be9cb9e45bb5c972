"""What a bad input of the command line is made of."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        what: What is wrong, as the table says it.
        command: What is typed after `lingraft`, in the directory of the world.
        spoil: Makes the bad input in that directory.
        environment: Set while the command runs.
        patch: A context in which it runs, for what no file can bring about.
        varies: Whether what was expected differs between machines, or grows with the library.
        shows: Of a bad recipe, the lines that are wrong, for the page.
    """

    what: str
    command: str
    spoil: Callable[[Path], object] = lambda world: None
    environment: Mapping[str, str] = field(default_factory=dict)
    patch: Patch = contextlib.nullcontext
    varies: bool = False
    shows: str = ""
