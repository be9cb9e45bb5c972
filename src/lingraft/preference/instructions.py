"""Instruction data of the usual formats, as pairs of a prompt and its answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.corpora.json_objects import JsonObject, read_objects
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.records import BadRecord
from lingraft.corpora.rejects import Rejects
from lingraft.errors import ConfigError, CorpusError
from lingraft.preference.conversations import NO_ANSWER, first_exchange
from lingraft.preference.openassistant import DELETED, REFUSED, first_turns, is_openassistant

NO_FAULTS = {NO_ANSWER, DELETED, REFUSED}
"""Reasons why a row gives no instruction that are no faults of the file: exports hold such rows by the thousand."""


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
    | `alpaca` | `instruction`, `input` (may be empty or absent), `output`; Dolly: `context` and `response` |
    | `openassistant` | a message (`message_id`, `parent_id`, `role`, `text`, `lang`, `rank`), a thread or a tree |
    | `sharegpt` | `conversations`, a list of `from` and `value` |
    | `messages` | `messages`, or `conversation`, a list of `role` and `content`; UltraChat: `data`, a list of texts |
    | `plain` | `prompt`, `response`; or `question`, or `completion` |

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
    read = list(read_objects(path))
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
                bad.add(str(path), BadRecord(line, found, content), fault=found not in NO_FAULTS)
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
    for name, needed in SHAPES:
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


SHAPES: tuple[tuple[str, set[str]], ...] = (
    ("sharegpt", {"conversations"}),
    ("messages", {"messages"}),
    ("messages", {"conversation"}),
    ("alpaca", {"instruction", "output"}),
    ("alpaca", {"instruction", "response"}),
    ("plain", {"prompt", "response"}),
    ("plain", {"prompt", "completion"}),
    ("plain", {"question", "response"}),
    ("messages", {"id", "data"}),
)
"""Formats by the fields that tell them, the first one that fits."""

Found = tuple[int, str, tuple[str, str, str] | str]
"""Line, content, and either id, prompt and response, or the reason why the row gives none."""


def _alpaca(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        more = next((row.fields[name] for name in ("input", "context") if row.fields.get(name)), None)
        found = _checked(row, "instruction", _present(row, "output", "response"))
        if not isinstance(found, str) and isinstance(more, str) and more.strip():
            found = found[0], f"{found[1]}\n\n{more}", found[2]
        yield row.line, row.content, found


def _plain(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        names = _present(row, "prompt", "question"), _present(row, "response", "completion")
        yield row.line, row.content, _checked(row, *names)


def _present(row: JsonObject, *names: str) -> str:
    """Return the first of the names that the row has, or the first."""
    return next((name for name in names if name in row.fields), names[0])


def _turns(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for row in rows:
        name = _present(row, "conversations", "messages", "conversation", "data")
        found = first_exchange(row.fields.get(name), name)
        if isinstance(found, str):
            yield row.line, row.content, found
            continue
        merged = {**row.fields, "prompt": found[0], "answer": found[1]}
        yield row.line, row.content, _checked(JsonObject(merged, row.line, row.content), "prompt", "answer")


def _openassistant(rows: Sequence[JsonObject], language: str | None) -> Iterator[Found]:
    for found in first_turns(rows, language):
        outcome = found.reason if isinstance(found, BadRecord) else _checked(found, "text", "answer")
        yield found.line, found.content, outcome


FORMATS: Mapping[str, Callable[[Sequence[JsonObject], str | None], Iterator[Found]]] = {
    "alpaca": _alpaca,
    "openassistant": _openassistant,
    "sharegpt": _turns,
    "messages": _turns,
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


def _id(row: JsonObject) -> str:
    for name in ("id", "message_id", "prompt_id", "conversation_id", "uuid"):
        value = row.fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""
