"""Instruction data of the usual formats, as pairs of a prompt and its answer."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lingraft.corpora.formats import READ_ERRORS, BadRecord, open_lines, unpacked_suffix, unreadable
from lingraft.corpora.json_objects import JsonObject, parse_object, read_objects
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.rejects import Rejects
from lingraft.errors import ConfigError, CorpusError
from lingraft.preference.openassistant import ASSISTANTS, USERS, first_turns, is_openassistant


@dataclass(frozen=True, slots=True)
class Instruction:
    """A prompt and its answer.

    Attributes:
        id: What the data calls it, or "".
        prompt: The instruction, with its input where it has one.
        response: The answer.
        row: Its place in the file from 0, refused rows counted.
    """

    id: str
    prompt: str
    response: str
    row: int = 0


@dataclass(frozen=True, slots=True)
class InstructionFile:
    """What a file of instructions holds.

    Attributes:
        name: The file.
        format: One of `FORMATS`.
        instructions: In the file's order.
        rows: How many rows the file has, refused ones counted.
        refused: Refused rows by reason.
    """

    name: str
    format: str
    instructions: list[Instruction]
    rows: int
    refused: Mapping[str, int]

    @property
    def has_ids(self) -> bool:
        """Whether every instruction has an id of its own."""
        ids = {instruction.id for instruction in self.instructions}
        return len(ids) == len(self.instructions) and "" not in ids


def read_instructions(
    path: Path,
    *,
    format: str = "auto",
    language: str | None = "en",
    rejects: Path | None = None,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
) -> InstructionFile:
    """Read instructions: JSON lines, or a JSON list; `.gz` and `.zst` too.

    Of a conversation the first user's turn and the answer to it are taken. System messages are left out.

    | format | a row |
    |---|---|
    | `alpaca` | `instruction`, `input` (may be empty or absent), `output` |
    | `openassistant` | a message (`message_id`, `parent_id`, `role`, `text`, `lang`, `rank`), a thread or a tree |
    | `sharegpt` | `conversations`, a list of `from` and `value` |
    | `messages` | `messages`, a list of `role` and `content` |
    | `plain` | `prompt`, `response` |

    Args:
        path: The file.
        format: `auto` tells it from the first row that is an object.
        language: Of OpenAssistant's first turns, by their `lang`; None takes any.
        rejects: JSON-lines file for refused rows.
        maximum_bad_lines: How many refused rows to go on after.

    Returns:
        The instructions.

    Raises:
        ConfigError: No such format.
        CorpusError: The file is missing, unreadable of an unknown format, or holds no instruction or too many bad rows.
        MissingExtraError: A `.zst` file without the library for it.
    """
    check_format(format)
    read = list(_rows(path))
    objects = [row for row in read if isinstance(row, JsonObject)]
    chosen = detect_format(path, [row.fields for row in objects[:1]]) if format == "auto" else format
    with Rejects(rejects, maximum_bad_lines) as bad:
        for row in read:
            if isinstance(row, BadRecord):
                bad.add(str(path), row)
        places = {row.line: place for place, row in enumerate(read)}
        instructions = []
        for line, content, found in FORMATS[chosen](objects, language):
            if isinstance(found, str):
                bad.add(str(path), BadRecord(line, found, content))
            else:
                instructions.append(Instruction(*found, places[line]))
    if not instructions:
        listed = ", ".join(f"{number} {reason}" for reason, number in bad.reasons.items())
        raise CorpusError(
            f"no instruction in {path}" + (f" (refused: {listed})" if listed else ""),
            f"rows of the format {chosen}",
            "check the file, or name another --format",
        )
    return InstructionFile(str(path), chosen, instructions, len(read), bad.reasons)


def check_format(name: str) -> None:
    """Refuse a format that there is not.

    Args:
        name: `auto` or its name.

    Raises:
        ConfigError: It is not one of `FORMATS`.
    """
    if name not in {"auto", *FORMATS}:
        raise ConfigError(f"the format {name!r}", f"auto, {', '.join(FORMATS)}", "name one of them")


def detect_format(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Tell the format from the fields of the first row.

    Args:
        path: The file, for the message.
        rows: Its first row, or none.

    Returns:
        One of `FORMATS`.

    Raises:
        CorpusError: The fields are those of none.
    """
    fields = set(rows[0]) if rows else set()
    for name, needed in (
        ("sharegpt", {"conversations"}),
        ("messages", {"messages"}),
        ("alpaca", {"instruction", "output"}),
        ("plain", {"prompt", "response"}),
    ):
        if needed <= fields:
            return name
    if is_openassistant(fields):
        return "openassistant"
    listed = f"the fields {', '.join(map(str, sorted(fields)))}" if rows else "no JSON object"
    raise CorpusError(
        f"{path} with {listed}",
        "Alpaca, OpenAssistant, ShareGPT, chat messages, or prompt and response",
        "name its format with --format, or rename its fields to prompt and response",
    )


Found = tuple[int, str, tuple[str, str, str] | str]
"""Line, content, and either id, prompt and response, or the reason why the row gives none."""


def _alpaca(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        more = row.fields.get("input")
        found = _checked(row, "instruction", "output")
        if not isinstance(found, str) and isinstance(more, str) and more.strip():
            found = found[0], f"{found[1]}\n\n{more}", found[2]
        yield row.line, row.content, found


def _plain(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        yield row.line, row.content, _checked(row, "prompt", "response")


def _sharegpt(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        yield row.line, row.content, _first_turn(row, "conversations", "from", "value")


def _messages(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        yield row.line, row.content, _first_turn(row, "messages", "role", "content")


def _openassistant(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for found in first_turns(rows, language):
        outcome = found.reason if isinstance(found, BadRecord) else _checked(found, "text", "answer")
        yield found.line, found.content, outcome


FORMATS: Mapping[str, Callable[[Sequence[JsonObject], str | None], Iterator[Found]]] = {
    "alpaca": _alpaca,
    "openassistant": _openassistant,
    "sharegpt": _sharegpt,
    "messages": _messages,
    "plain": _plain,
}
"""Formats by name, each a function of the rows and the language."""


def _checked(row: JsonObject, prompt: str, response: str) -> tuple[str, str, str] | str:
    """Return id, prompt and response of a row, or why it has none."""
    for name in (prompt, response):
        value = row.fields.get(name)
        if value is None:
            return f"no {name}"
        if not isinstance(value, str):
            return f"{name} is not a string"
        if not value.strip():
            return f"empty {name}"
    return _id(row), row.fields[prompt], row.fields[response]


def _first_turn(row: JsonObject, turns: str, role: str, text: str) -> tuple[str, str, str] | str:
    """Return id, prompt and response of a conversation, or why it has none."""
    listed = row.fields.get(turns)
    if not isinstance(listed, list) or not all(isinstance(turn, dict) for turn in listed):
        return f"{turns} is not a list of turns"
    spoken = [turn for turn in listed if turn.get(role) not in {"system", "developer"}]
    if not spoken or spoken[0].get(role) not in USERS:
        return "the first turn is not the user's"
    if len(spoken) < 2 or spoken[1].get(role) not in ASSISTANTS:
        return "no answer"
    merged = {**row.fields, "prompt": spoken[0].get(text), "answer": spoken[1].get(text)}
    return _checked(JsonObject(merged, row.line, row.content), "prompt", "answer")


def _id(row: JsonObject) -> str:
    for name in ("id", "message_id", "prompt_id", "conversation_id", "uuid"):
        value = row.fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def _rows(path: Path) -> Iterator[JsonObject | BadRecord]:
    """Yield the rows of JSON lines or of one JSON list, whose rows' numbers then take the place of lines."""
    if path.is_file() and unpacked_suffix(path.name) != ".jsonl":
        try:
            with open_lines(path) as file:
                # A file of lines can be large; a list is told by its first character.
                first = next((line for line in file if line.strip()), b"")
                if first.lstrip().removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
                    yield from _list(path, b"".join(chain([first], file)))
                    return
        except READ_ERRORS as error:
            raise unreadable(str(path), error) from error
    yield from read_objects(path)


def _list(path: Path, content: bytes) -> Iterator[JsonObject | BadRecord]:
    try:
        values = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{path} is not JSON ({error})", "a JSON list, or JSON lines", "check the file, or fetch it again"
        ) from error
    for number, value in enumerate(values, start=1):
        # Escapes keep what no UTF-8 can hold, and show it to the parser.
        yield parse_object(json.dumps(value), number)
