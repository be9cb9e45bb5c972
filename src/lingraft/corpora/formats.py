"""Records of each file format, good or bad, with the line they are on."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from lingraft.corpora.file_kinds import READ_ERRORS, FileKind, file_kind, open_lines, unreadable
from lingraft.corpora.named_datasets import dataset_rows, is_dataset
from lingraft.corpora.records import BadRecord, Record, decoded_lines, record_of
from lingraft.corpora.tables import csv_records, parquet_records, tsv_records
from lingraft.errors import CorpusError


def read_records(name: str, text_field: str) -> Iterator[Record | BadRecord]:
    """Stream the records of one file or data set.

    Args:
        name: File name, or `hf:NAME`.
        text_field: Name of the field or column that holds the text.

    Yields:
        Record | BadRecord: In the file's order.

    Raises:
        CorpusError: The file cannot be read, is damaged, holds something else, or lacks the column.
        MissingExtraError: The library for it is not installed.
    """
    if is_dataset(name):
        for number, row in enumerate(dataset_rows(name), start=1):
            yield record_of(row, text_field, number)
        return
    path = Path(name)
    try:
        if file_kind(name) is FileKind.PARQUET:
            yield from parquet_records(path, text_field)
            return
        with open_lines(path) as lines:
            yield from line_records(lines, name, text_field)
    except READ_ERRORS as error:
        raise unreadable(name, error) from error


def line_records(lines: Iterable[bytes], name: str, text_field: str) -> Iterator[Record | BadRecord]:
    """Stream the records of lines, in the format that the file's name says.

    Args:
        lines: The lines, with their ends; their numbers count from 1.
        name: The file's name.
        text_field: Name of the field or column that holds the text.

    Yields:
        Record | BadRecord: In their order.

    Raises:
        CorpusError: A table lacks the column, a JSON list is damaged, or the name is of no file of lines.
    """
    kind = file_kind(name)
    if kind is FileKind.JSON_LINES:
        yield from _json_lines(lines, text_field)
    elif kind is FileKind.JSON:
        values, unread = list_or_lines(lines, name)
        if values is None:
            yield from _json_lines(unread, text_field)
        else:
            for number, value in enumerate(values, start=1):
                yield _of_value(value, text_field, number)
    elif kind is FileKind.TSV:
        yield from tsv_records(lines, text_field, name)
    elif kind is FileKind.CSV:
        yield from csv_records(lines, text_field, name)
    else:
        yield from _plain(lines)


def list_or_lines(lines: Iterable[bytes], name: str) -> tuple[list[Any] | None, Iterator[bytes]]:
    """Tell one JSON list from JSON lines by its first character, and read it.

    Args:
        lines: The file's lines.
        name: Its name, for errors.

    Returns:
        The list's values, for which the whole file is held at once; or None and the lines, none of them read.

    Raises:
        CorpusError: It begins as a list and is none.
    """
    rest = iter(lines)
    blank: list[bytes] = []
    for line in rest:
        if line.removeprefix(b"\xef\xbb\xbf").strip():
            break
        blank.append(line)
    else:
        return None, iter(blank)
    if not line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return None, chain(blank, [line], rest)
    try:
        values: list[Any] = json.loads(b"".join(chain(blank, [line], rest)).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{name} is not JSON ({error})", "a JSON list, or JSON lines", "check the file, or fetch it again"
        ) from error
    return values, iter(())


def _plain(lines: Iterable[bytes]) -> Iterator[Record | BadRecord]:
    for number, line in decoded_lines(lines):
        yield line if isinstance(line, BadRecord) else Record(line, number)


def _json_lines(lines: Iterable[bytes], text_field: str) -> Iterator[Record | BadRecord]:
    for number, line in decoded_lines(lines):
        if isinstance(line, BadRecord):
            yield line
        elif line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                yield BadRecord(number, "invalid JSON", line)
                continue
            yield _of_value(value, text_field, number, line)


def _of_value(value: Any, text_field: str, number: int, line: str = "") -> Record | BadRecord:
    if isinstance(value, dict):
        return record_of(value, text_field, number)
    return BadRecord(number, "not a JSON object", line or json.dumps(value))
