"""Records of each file format, good or bad, with the line they are on."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from lingraft.corpora.named_datasets import dataset_rows, is_dataset
from lingraft.corpora.zstandard_reader import open_zstandard
from lingraft.errors import CorpusError

ROWS_AT_ONCE = 1024
"""Rows of a parquet row group that are turned into records together."""


@dataclass(frozen=True, slots=True)
class Record:
    """A text, the line (from 1) or row it is on, and the record's other fields."""

    text: str
    line: int
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A line that holds no text: where, why, and what was there, decoded with replacement characters."""

    line: int
    reason: str
    content: str


def read_records(name: str, text_field: str) -> Iterator[Record | BadRecord]:
    """Stream the records of one file or data set.

    Args:
        name: File name, or `hf:NAME`.
        text_field: Name of the field or column that holds the text.

    Yields:
        Record | BadRecord: In the file's order.

    Raises:
        CorpusError: The file cannot be read, is damaged, or lacks the column.
        MissingExtraError: The library for it is not installed.
    """
    if is_dataset(name):
        yield from _dataset(name, text_field)
        return
    path = Path(name)
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path, text_field)
            return
        with open_lines(path) as lines:
            yield from line_records(lines, name, text_field)
    except READ_ERRORS as error:
        raise unreadable(name, error) from error


READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a missing, forbidden or damaged file raises."""


def unreadable(name: str, error: Exception) -> CorpusError:
    """Say in one line that a file cannot be read, and why."""
    return CorpusError(
        f"{name} cannot be read: {getattr(error, 'strerror', None) or error}",
        "a readable, undamaged file",
        "check its permissions, or fetch it again",
    )


def unpacked_suffix(name: str) -> str:
    """Return the ending of a file's name without that of its compression: `.txt`, `.jsonl`, `.tsv`."""
    return Path(Path(name).stem if name.endswith((".gz", ".zst")) else name).suffix


def line_records(lines: Iterable[bytes], name: str, text_field: str) -> Iterator[Record | BadRecord]:
    """Stream the records of lines, in the format that the file's name says.

    Args:
        lines: The lines, with their ends; their numbers count from 1.
        name: The file's name.
        text_field: Name of the field or column that holds the text.

    Yields:
        Record | BadRecord: In their order.

    Raises:
        CorpusError: A table lacks the column.
    """
    kind = unpacked_suffix(name)
    if kind == ".jsonl":
        yield from _jsonl(lines, text_field)
    elif kind == ".tsv":
        yield from _tsv(lines, text_field, name)
    else:
        yield from _plain(lines)


def open_lines(path: Path) -> IO[bytes]:
    """Open a file of lines for reading, decompressed.

    Args:
        path: The file.

    Returns:
        A binary stream.

    Raises:
        MissingExtraError: The library for it is not installed.
    """
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return open_zstandard(path)
    return path.open("rb")


def decoded_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, str | BadRecord]]:
    """Yield each line, from 1, without its end; a line that is not UTF-8 as a bad record."""
    for number, raw in enumerate(lines, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            yield number, line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, BadRecord(number, "invalid UTF-8", line.decode("utf-8", "replace").rstrip("\r\n"))


def _plain(lines: Iterable[bytes]) -> Iterator[Record | BadRecord]:
    for number, line in decoded_lines(lines):
        yield line if isinstance(line, BadRecord) else Record(line, number)


def _jsonl(lines: Iterable[bytes], text_field: str) -> Iterator[Record | BadRecord]:
    for number, line in decoded_lines(lines):
        if isinstance(line, BadRecord):
            yield line
        elif line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                yield BadRecord(number, "invalid JSON", line)
                continue
            if isinstance(value, dict):
                yield _from_fields(value, text_field, number)
            else:
                yield BadRecord(number, "not a JSON object", line)


def _from_fields(fields: dict[str, Any], text_field: str, number: int) -> Record | BadRecord:
    if text_field not in fields:
        return BadRecord(
            number, f"no field {text_field!r}", json.dumps(fields, ensure_ascii=False, default=str)
        )
    text = fields[text_field]
    if not isinstance(text, str):
        return BadRecord(number, f"{text_field!r} is not a string", repr(text))
    if any("\ud800" <= character <= "\udfff" for character in text):
        return BadRecord(number, "a lone surrogate", text.encode("utf-8", "replace").decode())
    return Record(text, number, {key: value for key, value in fields.items() if key != text_field})


def _tsv(lines: Iterable[bytes], text_field: str, name: str) -> Iterator[Record | BadRecord]:
    """Read a header and rows under it; with a number for `text_field`, rows alone, and that column (from 1)."""
    columns: list[str] | None = [] if text_field.isdigit() else None
    for number, line in decoded_lines(lines):
        if isinstance(line, BadRecord):
            yield line
            continue
        cells = line.split("\t")
        if columns is None:
            columns = cells
            if text_field not in columns:
                raise CorpusError(
                    f"{name} with the columns {', '.join(columns)}",
                    f"a header line with a column {text_field!r}",
                    "name the text column, or give its number where there is no header line",
                )
        elif line:
            names = columns or [str(column) for column in range(1, len(cells) + 1)]
            if len(cells) == len(names):
                yield _from_fields(dict(zip(names, cells, strict=True)), text_field, number)
            else:
                yield BadRecord(number, f"not {len(names)} columns", line)


def _parquet(path: Path, text_field: str) -> Iterator[Record | BadRecord]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if text_field not in file.schema_arrow.names:
                raise CorpusError(
                    f"{path} with the columns {', '.join(file.schema_arrow.names)}",
                    f"a column {text_field!r}",
                    "name the text column",
                )
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield _from_fields(row, text_field, number)
    except arrow.ArrowException as error:
        raise CorpusError(
            f"{path} cannot be read as parquet: {error}", "an undamaged parquet file", "fetch it again"
        ) from error


def _dataset(reference: str, text_field: str) -> Iterator[Record | BadRecord]:
    """Stream a data set's text column."""
    for number, row in enumerate(dataset_rows(reference), start=1):
        yield _from_fields(row, text_field, number)
