"""A word task as a file, so that scoring, tracing and selection speak of the same words and the same examples."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError
from lingraft.files import write_text
from lingraft.pivots.languages import find_language
from lingraft.pivots.wordtask import WordItem, WordTask

HEADER, VERSION = "word_task", 1
_REMEDY = "give the file that `lingraft pivots words` wrote"


def write_word_task(path: Path, task: WordTask, *, about: Mapping[str, Any]) -> None:
    """Write a task atomically: a header line with languages and examples, then a line a word; JSON in UTF-8.

    Args:
        path: Where.
        task: The task.
        about: Where it comes from, JSON-able: lexicon, its hash, seed, what was rejected.

    Raises:
        OutputError: The disk is full, or the place cannot be written.
    """
    header = {
        HEADER: VERSION,
        "source_language": task.source_language.code,
        "target_language": task.target_language.code,
        "draws": [[list(pair) for pair in draw] for draw in task.draws],
        "left_out": task.left_out,
        "about": dict(about),
    }
    rows = [
        {
            "source_word": item.source_word,
            "target_word": item.target_word,
            "accepted": list(item.accepted),
            "distractors": list(item.distractors),
            "frequency": item.frequency,
            "part_of_speech": item.part_of_speech,
        }
        for item in task.items
    ]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [header, *rows]))


def is_word_task(path: Path) -> bool:
    """Whether a file begins as a word task does; a missing file does not."""
    try:
        with path.open("rb") as file:
            return file.read(len(HEADER) + 8).lstrip().startswith(f'{{"{HEADER}"'.encode())
    except OSError:
        return False


def read_word_task(path: Path) -> WordTask:
    """Read what `write_word_task` wrote.

    Args:
        path: The file.

    Returns:
        The task.

    Raises:
        ConfigError: The file is missing or no word task, or a row has an empty word; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        detail = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: {detail}", "a word task", _REMEDY) from error
    header = _parse(path, 1, lines[0])
    if header.get(HEADER) != VERSION:
        raise ConfigError(f"{path}: no header of a word task in line 1", "a word task", _REMEDY)
    languages = [_field(path, 1, header, name, str) for name in ("source_language", "target_language")]
    draws = tuple(
        tuple((str(first), str(second)) for first, second in draw)
        for draw in _field(path, 1, header, "draws", list)
    )
    items = [_item(path, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not items or not draws:
        raise ConfigError(
            f"{path}: {len(items)} words and {len(draws)} draws of examples", "one each", _REMEDY
        )
    source, target = map(find_language, languages)
    return WordTask(source, target, tuple(items), draws, dict(_field(path, 1, header, "left_out", dict)))


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path} line {number}: no JSON", "a line of a word task", _REMEDY) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} line {number}: no JSON object", "a line of a word task", _REMEDY)
    return found


def _field(path: Path, number: int, row: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(row.get(name), kind):
        raise ConfigError(f"{path} line {number}: no {name}", f"{name} in every such line", _REMEDY)
    return row[name]


def _item(path: Path, number: int, line: str) -> WordItem:
    row = _parse(path, number, line)
    source, target = (_field(path, number, row, name, str) for name in ("source_word", "target_word"))
    for name, word in (("source_word", source), ("target_word", target)):
        if not word.strip():
            raise ConfigError(
                f"{path} line {number}: an empty {name}", "a word", "remove or complete the line"
            )
    others = _field(path, number, row, "distractors", list)
    if not all(isinstance(other, str) and other.strip() for other in others):
        raise ConfigError(
            f"{path} line {number}: an empty distractor", "words", "remove or complete the line"
        )
    accepted = tuple(row.get("accepted") or (target,))
    return WordItem(source, target, accepted, tuple(others), row.get("frequency"), row.get("part_of_speech"))
