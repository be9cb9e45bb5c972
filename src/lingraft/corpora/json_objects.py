"""JSON lines as whole objects: for records that are more than one text, such as pairs and conversations."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.corpora.file_kinds import READ_ERRORS, FileKind, file_kind, open_lines, unreadable
from lingraft.corpora.formats import list_or_lines
from lingraft.corpora.named_datasets import dataset_rows, is_dataset
from lingraft.corpora.records import BadRecord, decoded_lines
from lingraft.errors import CorpusError


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object of a JSON-lines file.

    Attributes:
        fields: What it holds.
        line: The line it is on, from 1.
        content: The line as it is written.
    """

    fields: dict[str, Any]
    line: int
    content: str


def read_objects(path: Path) -> Iterator[JsonObject | BadRecord]:
    """Stream the objects of JSON lines, blank ones passed over, or of one JSON list; the file may be compressed.

    Args:
        path: The file, in UTF-8; or `hf:NAME`, whose rows are objects. Numbers of rows, and of the list's values, take
            the place of lines.

    Yields:
        JsonObject | BadRecord: In the file's order; bad are invalid UTF-8, invalid JSON, values that are no object, and
            half a surrogate pair, which no text can hold.

    Raises:
        CorpusError: The file is missing, cannot be read, or is named as one of another kind.
        MissingExtraError: A `.zst` file without the library for it.
    """
    if is_dataset(path):
        for number, row in enumerate(dataset_rows(path), start=1):
            yield JsonObject(row, number, json.dumps(row, ensure_ascii=False, default=str))
        return
    if not path.is_file():
        raise CorpusError(f"no file {path}", "a JSON-lines file", "check the path")
    kind = file_kind(path)
    if kind in {FileKind.PARQUET, FileKind.TSV, FileKind.CSV}:
        raise CorpusError(
            f"{path} is a {kind} file",
            "JSON lines, or a JSON list",
            "convert it, or give the directory that it is in, as hf:DIRECTORY",
        )
    try:
        with open_lines(path) as lines:
            # A file of lines may be named anything.
            values, unread = (None, lines) if kind is FileKind.JSON_LINES else list_or_lines(lines, str(path))
            for number, value in enumerate(values or (), start=1):
                # Escapes keep what no UTF-8 can hold, and show it to the parser.
                yield parse_object(json.dumps(value), number)
            for number, line in decoded_lines(unread):
                if isinstance(line, BadRecord):
                    yield line
                elif line.strip():
                    yield parse_object(line, number)
    except READ_ERRORS as error:
        raise unreadable(str(path), error) from error


def parse_object(line: str, number: int) -> JsonObject | BadRecord:
    """Parse one line.

    Args:
        line: The text.
        number: Its number, from 1.

    Returns:
        The object, or why it is none.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return BadRecord(number, "invalid JSON", line)
    if not isinstance(value, dict):
        return BadRecord(number, "not a JSON object", line)
    # Only an escape can bring half of a surrogate pair in: the line itself was decoded.
    if "\\u" in line and not _encodable(value):
        return BadRecord(number, "a lone surrogate", line)
    return JsonObject(value, number, line)


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
