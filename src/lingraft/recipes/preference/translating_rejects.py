"""Which items `clo translate` refuses, before and after translating, and the file that keeps them with the reason."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.files import replacing
from lingraft.preference.instructions import Instruction
from lingraft.preference.items import PairedItem
from lingraft.preference.translation_filters import (
    FilterLimits,
    asks_for_language,
    refuse_english,
    refuse_translations,
)

REJECTS = "rejects.jsonl"


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was refused, with what there is of it."""

    id: str
    reason: str
    english_prompt: str
    english_response: str
    target_prompt: str | None = None
    target_response: str | None = None


def drop_english(
    instructions: Sequence[Instruction],
    identifier: LanguageIdentifier | None,
    limits: FilterLimits,
    rejected: list[Rejected],
) -> list[Instruction]:
    """Return the instructions that are worth translating.

    Args:
        instructions: All of them.
        identifier: What identifies languages, or None.
        limits: What is let pass.
        rejected: Gets the others.

    Returns:
        Those left, in order.
    """
    pairs = [(one.prompt, one.response) for one in instructions]
    reasons = [asks_for_language(one.prompt) for one in instructions]
    if identifier is not None:
        judged = [number for number, reason in enumerate(reasons) if reason is None]
        found = refuse_english([pairs[number] for number in judged], identifier, limits)
        for number, reason in zip(judged, found, strict=True):
            reasons[number] = reason
    for one, reason in zip(instructions, reasons, strict=True):
        if reason is not None:
            rejected.append(Rejected(_name(one), reason, one.prompt, one.response))
    return [one for one, reason in zip(instructions, reasons, strict=True) if reason is None]


def drop_translations(
    instructions: Sequence[Instruction],
    translations: Sequence[str | None],
    identifier: LanguageIdentifier | None,
    target_language: str,
    limits: FilterLimits,
    rejected: list[Rejected],
) -> tuple[list[PairedItem], int]:
    """Make paired items of instructions and their translations.

    Args:
        instructions: The instructions.
        translations: Of the prompt and the response of each, in turn.
        identifier: What identifies languages, or None.
        target_language: ISO 639-1 code.
        limits: What is let pass.
        rejected: Gets what has no translation and what a filter refuses.

    Returns:
        The items left, in order, and how many translated texts were too short to be judged by their language.
    """
    items: list[PairedItem] = []
    for one, prompt, response in zip(instructions, translations[::2], translations[1::2], strict=True):
        if prompt is None or response is None:
            missing = "target_prompt" if prompt is None else "target_response"
            rejected.append(Rejected(_name(one), f"no {missing}", one.prompt, one.response, prompt, response))
        else:
            texts = one.prompt, one.response, prompt, response
            items.append(PairedItem(*texts, target_language, id=_name(one)))
    reasons, short = refuse_translations(items, identifier, limits)
    for item, reason in zip(items, reasons, strict=True):
        if reason is not None:
            rejected.append(
                Rejected(
                    item.id,
                    reason,
                    item.english_prompt,
                    item.english_response,
                    item.target_prompt,
                    item.target_response,
                )
            )
    return [item for item, reason in zip(items, reasons, strict=True) if reason is None], short


def write_rejects(path: Path, rejected: Iterable[Rejected]) -> None:
    """Write one refused item a line, with its reason."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for one in rejected:
            row = {name: value for name, value in asdict(one).items() if value is not None}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_rejects(path: Path) -> list[Rejected]:
    """Read what `write_rejects` wrote."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Rejected(**json.loads(line)) for line in lines if line]


def first_of_each(rejected: Iterable[Rejected]) -> list[Rejected]:
    """Return one refused item for each reason."""
    first: dict[str, Rejected] = {}
    for one in rejected:
        first.setdefault(one.reason, one)
    return list(first.values())


def _name(instruction: Instruction) -> str:
    """Return an instruction's id, or the number of its row where it has none."""
    return instruction.id or str(instruction.row + 1)
