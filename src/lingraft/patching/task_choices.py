"""XCOPA's own files put into the paper's prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError
from lingraft.patching.task_files import Row, read_values
from lingraft.patching.task_wording import CHOICES

FIELDS = ("premise", "choice1", "choice2", "question", "label")


def choice_file(directory: Path, language: str, split: str) -> Path:
    """Find a language's file.

    Args:
        directory: XCOPA's data directory.
        language: A language's code.
        split: `test` or `val`.

    Returns:
        The file `LANG/SPLIT.LANG.jsonl`.

    Raises:
        ConfigError: There is none; the message names the languages that there are.
    """
    path = directory / language / f"{split}.{language}.jsonl"
    if path.is_file():
        return path
    found = sorted(folder.name for folder in directory.glob("*") if list(folder.glob(f"{split}.*.jsonl")))
    more = "; XCOPA has no English, so give COPA's file as the donor's" if language == "en" else ""
    raise ConfigError(
        f"no file {path}",
        f"one of the languages {', '.join(found)}" if found else f"folders LANG with {split}.LANG.jsonl",
        f"name another language or split{more}",
    )


def read_choices(path: Path, remedy: str) -> list[Mapping[str, Any]]:
    """Read rows of XCOPA or COPA.

    Args:
        path: A JSONL file of objects with `premise`, `choice1`, `choice2`, `question`, `label` and perhaps `idx`.
        remedy: What to do where the file is missing.

    Returns:
        The rows in order.

    Raises:
        ConfigError: A row is no such object.
    """
    rows = read_values(path, remedy)
    for number, row in enumerate(rows, start=1):
        missing = [name for name in FIELDS if not isinstance(row, dict) or name not in row]
        if missing:
            raise ConfigError(
                f"{path}, row {number}: no {', '.join(missing)}", ", ".join(FIELDS), "correct the row"
            )
        empty = [name for name in FIELDS[:3] if not isinstance(row[name], str) or not row[name].strip()]
        if empty or row["question"] not in ("cause", "effect") or row["label"] not in (0, 1):
            wrong = empty[0] if empty else f"question {row['question']!r}, label {row['label']!r}"
            raise ConfigError(
                f"{path}, row {number}: {wrong}",
                "texts, a question that is cause or effect, and a label 0 or 1",
                "correct the row, or leave a file without labels out",
            )
    return rows


def choice_row(row: Mapping[str, Any], language: str, question: str) -> Row:
    """Ask a question of XCOPA.

    The wording is that of the released rows (12 languages); elsewhere English around the language's texts (ours).

    Args:
        row: The dataset's row.
        language: Its language.
        question: `cause` or `effect`.

    Returns:
        The prompt, its options ` (1)` and ` (2)`, and the answer.
    """
    words = CHOICES.get(language, CHOICES["en"])
    asked = words.cause if question == "cause" else words.effect
    premise, first, second = (str(row[name]).strip() for name in ("premise", "choice1", "choice2"))
    prompt = (
        f"{words.task}\n\n{words.premise}{premise}\n{words.options}(1) {first}\n(2) {second}\n\n"
        f"{asked}\n\n{words.answer}"
    )
    return Row(prompt, (" (1)", " (2)"), (int(row["label"]),))


def pair_choices(
    receiver: Sequence[Mapping[str, Any]],
    donors: Mapping[str, Sequence[Mapping[str, Any]]],
    language: str,
) -> tuple[list[Row], list[list[Row]]]:
    """Ask both sides the same question.

    Rows belong together by `idx` where both have it, else by their order. An English donor's `question` holds for
    both sides (ours): the Thai file calls every question an effect, and the Turkish and Swahili ones differ from the
    others in about a tenth of their rows. Without an English donor each row keeps its own, as the released rows do.

    Args:
        receiver: The receiver's rows.
        donors: Each donor language's rows.
        language: The receiver's language.

    Returns:
        The receiver's rows and each donor's, those of one donor in the order of the receiver's.

    Raises:
        ConfigError: A donor lacks a row that the receiver has, or an `idx` comes twice.
    """
    placed = {name: _in_order(receiver, rows, name) for name, rows in donors.items()}
    english = placed.get("en")

    def question(number: int, row: Mapping[str, Any]) -> str:
        known = english[number] if english is not None and number < len(english) else row
        return str(known["question"])

    def asked(rows: Sequence[Mapping[str, Any]], name: str) -> list[Row]:
        return [choice_row(row, name, question(number, row)) for number, row in enumerate(rows)]

    return asked(receiver, language), [asked(rows, name) for name, rows in placed.items()]


def _in_order(
    receiver: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], name: str
) -> Sequence[Mapping[str, Any]]:
    if not all("idx" in row for row in (*receiver, *rows)):
        return rows
    known = {row["idx"]: row for row in rows}
    if len(known) < len(rows):
        raise ConfigError(f"donor {name!r}: an idx that comes twice", "an idx once", "correct the file")
    missing = [row["idx"] for row in receiver if row["idx"] not in known]
    if missing:
        raise ConfigError(
            f"donor {name!r} lacks {len(missing)} of {len(receiver)} rows, first idx {missing[0]!r}",
            "every row of the receiver's file",
            "give the donor's file of the same split",
        )
    return [known[row["idx"]] for row in receiver]
