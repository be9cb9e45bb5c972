"""Paired items: an English instruction and answer, and both in the target language, as JSON lines."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lingraft.corpora.json_objects import read_objects
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.records import BadRecord
from lingraft.corpora.rejects import Rejects
from lingraft.errors import CorpusError
from lingraft.files import replacing

TEXTS = ("english_prompt", "english_response", "target_prompt", "target_response")
FIELDS = (*TEXTS, "target_language")


@dataclass(frozen=True, slots=True)
class PairedItem:
    """One item of cross-lingual preference: it gives a preference in each direction.

    Attributes:
        english_prompt: The instruction in English, x_en.
        english_response: The answer in English, y_en.
        target_prompt: The instruction in the target language, x_l.
        target_response: The answer in the target language, y_l.
        target_language: The target language's code, such as `sw`.
        id: Names the item in tables and messages.
    """

    english_prompt: str
    english_response: str
    target_prompt: str
    target_response: str
    target_language: str
    id: str = ""


def read_items(
    path: Path,
    *,
    rejects: Path | None = None,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
    target_language: str = "",
) -> tuple[list[PairedItem], Mapping[str, int]]:
    """Read paired items; lines that hold none are counted by reason, kept in `rejects` and passed over.

    A row has the fields of `PairedItem` (`id` may be missing: then the line's number names it); others are ignored.

    Args:
        path: A JSONL file in UTF-8, which may be compressed (`.gz`, `.zst`), or `hf:NAME` with these columns.
        rejects: JSON-lines file for refused lines, `{"file", "line", "reason", "content"}`; made only if there are any.
        maximum_bad_lines: How many refused lines to go on after.
        target_language: Language code of rows that state none.

    Returns:
        The items in the file's order, and how many lines were refused for which reason.

    Raises:
        CorpusError: The file is missing or unreadable, no item is left, or more than `maximum_bad_lines` lines are
            refused.
        MissingExtraError: A `.zst` file without the library for it.
        OutputError: The rejects file cannot be written.
    """
    items: list[PairedItem] = []
    with Rejects(rejects, maximum_bad_lines) as bad:
        for row in read_objects(path):
            if isinstance(row, BadRecord):
                bad.add(str(path), row)
                continue
            fields = dict(row.fields)
            if target_language and fields.get("target_language") is None:
                fields["target_language"] = target_language
            reason = refusal(fields)
            if reason is None:
                items.append(_item(fields, row.line))
            else:
                bad.add(str(path), BadRecord(row.line, reason, row.content))
    if not items:
        listed = ", ".join(f"{number} {reason}" for reason, number in bad.reasons.items())
        raise CorpusError(
            f"no paired item in {path}" + (f" (refused: {listed})" if listed else ""),
            f"lines with {', '.join(FIELDS)}",
            "make such a file with lingraft clo pairs or clo translate",
        )
    return items, bad.reasons


def write_items(path: Path, items: Iterable[PairedItem]) -> None:
    """Write paired items that `read_items` reads, one at a time.

    Args:
        path: The JSONL file to write, atomically.
        items: The items.

    Raises:
        OutputError: It cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for item in items:
            row = {name: value for name, value in asdict(item).items() if value or name != "id"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def refusal(fields: Mapping[str, object]) -> str | None:
    """Say why a row is no paired item.

    Equal answers leave nothing to prefer; equal prompts ask for both answers at once (our choice: they are refused
    too). Texts are compared in NFC, without the white space around them.

    Args:
        fields: The row; a text that is absent or null is a missing one, such as an answer not translated yet.

    Returns:
        `no FIELD`, `FIELD is not a string`, `empty FIELD`, `identical answers` or `identical prompts`; None where it is
        a good item.
    """
    for name in FIELDS:
        value = fields.get(name)
        if value is None:
            return f"no {name}"
        if not isinstance(value, str):
            return f"{name} is not a string"
        if not value.strip():
            return f"empty {name}"
    prompts, answers = ("english_prompt", "target_prompt"), ("english_response", "target_response")
    for what, (english, target) in (("answers", answers), ("prompts", prompts)):
        if comparable(str(fields[english])) == comparable(str(fields[target])):
            return f"identical {what}"
    return None


def comparable(text: str) -> str:
    """Return a text as it is compared with another: in NFC, without the white space around it."""
    return unicodedata.normalize("NFC", text).strip()


def _item(fields: Mapping[str, object], line: int) -> PairedItem:
    given = fields.get("id")
    name = str(given) if isinstance(given, str | int) and given != "" else str(line)
    english_prompt, english_response, target_prompt, target_response, language = (
        str(fields[field]) for field in FIELDS
    )
    return PairedItem(english_prompt, english_response, target_prompt, target_response, language, name)
