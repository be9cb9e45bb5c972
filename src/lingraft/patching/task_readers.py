"""Reading the rows of each task for a receiving language and its donors."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lingraft.errors import ConfigError
from lingraft.patching.task_choices import choice_file, pair_choices, read_choices
from lingraft.patching.task_files import (
    Row,
    language_file,
    read_strings,
    read_values,
    require_equal_lengths,
)
from lingraft.patching.task_words import read_words


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be built.

    Attributes:
        directory: The task's files.
        donors: Donor languages.
        limit: Most instances a language.
        donor_file: A donor's file that lies elsewhere (XCOPA).
        split: Which of a task's splits (XCOPA).
        examples: Example pairs in a prompt (words).
        seed: Of draws (words).
    """

    directory: Path
    donors: tuple[str, ...] = ("en",)
    limit: int | None = None
    donor_file: Path | None = None
    split: str = "test"
    examples: int = 5
    seed: int = 0


Sides = tuple[list[Row], list[list[Row]]]
"""The receiver's rows, and each donor's."""


def numbered(options: int) -> Callable[[Request, str], Sides]:
    """Make a reader of whole prompts with numbered options (XNLI, and XCOPA as released).

    Args:
        options: How many every prompt has.

    Returns:
        The reader; it raises ConfigError where a file is missing or faulty, or a prompt lacks an option.
    """

    def read(request: Request, language: str) -> Sides:
        return _released(request, language, options), [
            _released(request, name, options) for name in request.donors
        ]

    return read


def _released(request: Request, language: str, options: int) -> list[Row]:
    """Rows of whole prompts, with answers counted from 1."""
    prompts_at = language_file(request.directory / "split", "LANG.json", language)
    answers_at = language_file(request.directory / "ans", "LANG.json", language)
    prompts = read_strings(prompts_at, "give the task's directory")
    answers = read_values(answers_at, "give the task's directory")
    require_equal_lengths(prompts_at, prompts, answers_at, answers)
    marks = [str(number) for number in range(1, options + 1)]
    rows = []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        if str(answer) not in marks:
            raise ConfigError(
                f"{answers_at}, row {number}: {answer!r}", f"one of {', '.join(marks)}", "correct it"
            )
        missing = [mark for mark in marks if not re.search(rf"[(（]{mark}[)）]", prompt)]
        if missing:
            raise ConfigError(
                f"{prompts_at}, row {number}: no option ({missing[0]})",
                f"options (1) to ({options}) in every prompt",
                "check that this is the task's file",
            )
        rows.append(Row(prompt, tuple(f" ({mark})" for mark in marks), (int(answer) - 1,)))
    return rows


def read_xcopa(request: Request, language: str) -> Sides:
    """Read XCOPA: the released prompts where there is a folder `split`, else the dataset's own files.

    Args:
        request: What is to be built.
        language: The receiver's language.

    Returns:
        The receiver's rows, and each donor's.

    Raises:
        ConfigError: A file is missing or faulty, or a donor's file was given for several donors.
    """
    if request.donor_file is not None and len(request.donors) > 1:
        raise ConfigError(
            f"a donor's file and {len(request.donors)} donors", "one donor with it", "name one donor"
        )
    if (request.directory / "split").is_dir() and request.donor_file is None:
        return numbered(2)(request, language)
    remedy = "give XCOPA's data directory, and COPA's file as the donor's"
    paths = dict.fromkeys(request.donors, request.donor_file)
    donors = {
        name: read_choices(path or choice_file(request.directory, name, request.split), remedy)
        for name, path in paths.items()
    }
    receiver = choice_file(request.directory, language, request.split)
    return pair_choices(read_choices(receiver, remedy), donors, language)


def read_xquad(request: Request, language: str) -> Sides:
    """Read XQuAD, and see that answers are in their own contexts.

    Args:
        request: What is to be built.
        language: The receiver's language.

    Returns:
        The receiver's rows, and each donor's.

    Raises:
        ConfigError: A file is missing or faulty, or more than 5 % of a file's answers are not in their prompts.
    """

    def read(name: str) -> list[Row]:
        prompts_at = language_file(request.directory / "split", "xquad.LANG.json", name)
        answers_at = language_file(request.directory / "ans", "xquad.LANG.json", name)
        prompts = read_strings(prompts_at, "give the task's directory")
        answers = read_strings(answers_at, "give the task's directory")
        require_equal_lengths(prompts_at, prompts, answers_at, answers)
        rows = [Row(prompt, (), (answer.strip(),)) for prompt, answer in zip(prompts, answers, strict=True)]
        strange = [
            number for number, row in enumerate(rows) if str(row.answers[0]).lower() not in row.prompt.lower()
        ]
        # Answers are spans of their contexts: many that are not belong to other rows.
        if len(strange) > 0.05 * len(rows):
            raise ConfigError(
                f"{answers_at}: {len(strange)} of {len(rows)} answers are not in their prompts,"
                f" first row {strange[0]}",
                "answers that are spans of their contexts",
                "fetch both files again; rows may be shifted",
            )
        return rows

    return read(language), [read(name) for name in request.donors]


def read_opinions(request: Request, language: str) -> Sides:
    """Read GlobalOpinionQA: English prompts receive from their translations.

    The right answer is the option that most of the country's people chose; the first of several (as released).

    Args:
        request: What is to be built.
        language: The language whose countries are asked about.

    Returns:
        The receiver's rows, and each donor's.

    Raises:
        ConfigError: A file is missing or faulty, or a prompt lacks an option.
    """
    english_at = language_file(request.directory / "split", "LANG.json", language)
    translated_at = language_file(request.directory / "translated", "LANG.json", language)
    translated = read_strings(translated_at, "give the task's directory")
    rows = []
    for number, row in enumerate(read_values(english_at, "give the task's directory"), start=1):
        label = row.get("label") if isinstance(row, dict) else None
        prompt = row.get("input_text") if isinstance(row, dict) else None
        numbers = isinstance(label, list) and all(isinstance(share, int | float) for share in label)
        if not numbers or not label or not isinstance(prompt, str) or not prompt.strip():
            raise ConfigError(
                f"{english_at}, row {number}: no prompt with a distribution",
                "input_text, and label with a share for each option",
                "correct the row",
            )
        marks = [f"({chr(ord('A') + place)})" for place in range(len(label))]
        missing = [mark for mark in marks if mark not in prompt]
        if missing:
            raise ConfigError(
                f"{english_at}, row {number}: {len(label)} shares, and no option {missing[0]}",
                "a share for each option",
                "correct the row",
            )
        rows.append(Row(prompt, tuple(f" {mark}" for mark in marks), (label.index(max(label)),)))
    # Only the English rows hold answers: what a translation says cannot be checked by them.
    return rows, [[Row(text, (), ()) for text in translated]]


def read_word_sides(request: Request, language: str) -> Sides:
    """Read word translation, see `read_words`.

    Args:
        request: What is to be built.
        language: The language to translate into.

    Returns:
        The receiver's rows, and each donor's.

    Raises:
        ConfigError: Another donor than English, or as `read_words`.
    """
    if request.donors != ("en",):
        raise ConfigError(
            f"donor {', '.join(request.donors)} for words", "en, the lexicons' own side", "leave it out"
        )
    receiver, donor = read_words(
        request.directory,
        language,
        limit=request.limit,
        examples=request.examples,
        seed=request.seed,
    )
    return receiver, [donor]
