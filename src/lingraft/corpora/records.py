"""A record of a file, good or bad, with the line it is on, and lines as text."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


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


def decoded_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, str | BadRecord]]:
    """Yield each line, from 1, without its end; a line that is not UTF-8, or no text, as a bad record."""
    for number, raw in enumerate(lines, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, BadRecord(number, "invalid UTF-8", line.decode("utf-8", "replace").rstrip("\r\n"))
            continue
        # UTF-16 without its mark, and binary files, are full of them; no text has one.
        yield number, BadRecord(number, "a NUL character", text) if "\0" in text else text


def record_of(fields: dict[str, Any], text_field: str, number: int) -> Record | BadRecord:
    """Return the record of a row.

    Args:
        fields: The row.
        text_field: The text's field; null there is a blank text.
        number: The row's line, from 1.

    Returns:
        The record, or why the row is none.
    """
    if text_field not in fields:
        return BadRecord(
            number, f"no field {text_field!r}", json.dumps(fields, ensure_ascii=False, default=str)
        )
    text = "" if fields[text_field] is None else fields[text_field]
    if not isinstance(text, str):
        return BadRecord(number, f"{text_field!r} is not a string", repr(text))
    if any("\ud800" <= character <= "\udfff" for character in text):
        return BadRecord(number, "a lone surrogate", text.encode("utf-8", "replace").decode())
    return Record(text, number, {key: value for key, value in fields.items() if key != text_field})
