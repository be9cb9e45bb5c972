"""Bad lines: counted by reason, kept where asked for, and an error when there are too many."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from lingraft.corpora.records import BadRecord
from lingraft.errors import CorpusError
from lingraft.files import output_error

KEPT_CHARACTERS = 500
"""How much of a bad line is kept."""


class Rejects:
    """Collects bad lines.

    Args:
        file: JSON-lines file to keep them in, or None; it is made with the first one.
        maximum: How many faulty ones to go on after.
    """

    def __init__(self, file: Path | None, maximum: int) -> None:
        self._file, self._maximum = file, maximum
        self._out: IO[str] | None = None
        self._reasons: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Remove the rejects of an earlier reading."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()

    @property
    def reasons(self) -> dict[str, int]:
        """How many bad lines there were, by reason."""
        return dict(self._reasons)

    def add(self, name: str, record: BadRecord, *, fault: bool = True) -> None:
        """Take one bad line.

        Args:
            name: The file it is in.
            record: The line.
            fault: False for a line that is as it should be and is of no use here: counted and kept, but no such number
                is too many.

        Raises:
            CorpusError: It is one too many.
            OutputError: The rejects file cannot be written.
        """
        self._reasons[record.reason] += 1
        self._faults[record.reason] += fault
        if self._file is not None:
            entry = {
                "file": name,
                "line": record.line,
                "reason": record.reason,
                "content": record.content[:KEPT_CHARACTERS],
            }
            try:
                if self._out is None:
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    self._out = self._file.open("w", encoding="utf-8", errors="backslashreplace")
                self._out.write(json.dumps(entry, ensure_ascii=False) + "\n")
                self._out.flush()
            except OSError as error:
                raise output_error(self._file, error) from error
        if self._faults.total() > self._maximum:
            listed = ", ".join(f"{number} {reason}" for reason, number in (+self._faults).most_common())
            raise CorpusError(
                f"{self._faults.total()} bad lines ({listed}), the last one {name} line {record.line}",
                f"at most {self._maximum}",
                "check the file's encoding and format, or take the lines out (or --max-bad-lines, where there is one)",
            )
