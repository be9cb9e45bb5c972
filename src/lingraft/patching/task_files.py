"""Reading a task's files: one JSON value a line, and one-line errors with the line's number."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Row:
    """One language's side of a question.

    Attributes:
        prompt: The whole prompt.
        options: Texts to choose among, as they follow the prompt.
        answers: With options: the right one, from 0. Without: texts of which one is to be found.
    """

    prompt: str
    options: tuple[str, ...]
    answers: tuple[str | int, ...]


def read_values(path: Path, remedy: str) -> list[Any]:
    """Read a file of one JSON value a line; blank lines are left out.

    Args:
        path: The file, in UTF-8.
        remedy: What to do where it is missing.

    Returns:
        The values in order.

    Raises:
        ConfigError: The file is missing, empty, no UTF-8, or a line is no JSON.
    """
    try:
        # Not splitlines(): JSON texts may hold U+2028 and the like as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise ConfigError(f"{path} {reason}", "one JSON value a line, in UTF-8", remedy) from error
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise ConfigError(
                f"{path}, line {number}: no JSON ({error})", "a JSON value", "correct the line"
            ) from error
    if not values:
        raise ConfigError(f"{path} holds no row", "one JSON value a line", remedy)
    return values


def read_strings(path: Path, remedy: str) -> list[str]:
    """Read a file of one JSON string a line.

    Args:
        path: The file, in UTF-8.
        remedy: What to do where it is missing.

    Returns:
        The texts in order.

    Raises:
        ConfigError: As `read_values`, and where a value is no text or an empty one.
    """
    values = read_values(path, remedy)
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(
                f"{path}, row {number}: {json.dumps(value, ensure_ascii=False)[:40]}",
                "a JSON string that is not empty",
                "correct the row",
            )
    return values


def require_equal_lengths(first: Path, rows: Sequence[Any], second: Path, others: Sequence[Any]) -> None:
    """Refuse two files of one task whose rows cannot be pairs.

    Args:
        first: A file.
        rows: Its rows.
        second: Another file.
        others: Its rows.

    Raises:
        ConfigError: They have different numbers of rows.
    """
    if len(rows) != len(others):
        raise ConfigError(
            f"{first} has {len(rows)} rows and {second} has {len(others)}",
            "as many rows in both",
            "fetch the files again; a row may be missing",
        )


def known_languages(folder: Path, pattern: str) -> list[str]:
    """Find the languages that a folder has files of.

    Args:
        folder: The folder.
        pattern: The files' name with `LANG` for the language.

    Returns:
        Languages in alphabetical order.
    """
    before, after = pattern.split("LANG")
    names = [path.name for path in folder.glob(before + "*" + after)]
    return sorted(name[len(before) : len(name) - len(after)] for name in names)


def language_file(folder: Path, pattern: str, language: str) -> Path:
    """Find a language's file.

    Args:
        folder: The folder.
        pattern: The file's name with `LANG` for the language.
        language: The language's code.

    Returns:
        The file.

    Raises:
        ConfigError: There is none; the message names the languages that there are.
    """
    path = folder / pattern.replace("LANG", language)
    if path.is_file():
        return path
    found = known_languages(folder, pattern)
    if not found:
        raise ConfigError(
            f"no file {pattern} in {folder}", "the task's files there", "give the task's directory"
        )
    raise ConfigError(
        f"language {language!r} has no file {path.name} in {folder}",
        f"one of {', '.join(found)}",
        "name another language",
    )
