"""The paper's tasks as paired prompts: XNLI, XCOPA, XQuAD, GlobalOpinionQA, and word translation."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lingraft.errors import ConfigError
from lingraft.patching.alignment import Alignment, check_alignment
from lingraft.patching.instances import Instance
from lingraft.patching.task_files import Row
from lingraft.patching.task_readers import (
    Request,
    Sides,
    numbered,
    read_opinions,
    read_word_sides,
    read_xcopa,
    read_xquad,
)

Misaligned = Literal["refuse", "before", "all"]

MISALIGNED: tuple[str, ...] = ("refuse", "before", "all")


@dataclass(frozen=True, slots=True)
class Task:
    """A task.

    Attributes:
        summary: What it is, in a line.
        files: The files that its directory holds.
        read: Reads the rows for one receiving language.
        direction: Where activations go in the paper.
    """

    summary: str
    files: str
    read: Callable[[Request, str], Sides]
    direction: str


def build_pairs(
    task: str,
    directory: Path,
    *,
    donor: str | Sequence[str] = "en",
    receivers: Sequence[str],
    limit: int | None = None,
    misaligned: Misaligned = "refuse",
    donor_file: Path | None = None,
    split: str = "test",
    examples: int = 5,
    seed: int = 0,
) -> list[Instance]:
    """Build a task's paired prompts.

    Before pairing, every donor's rows are checked to belong to the receiver's, see `check_alignment`. Where they do
    not, building is refused unless `misaligned` says otherwise, or `limit` asks only for rows well before the break.
    Files with too few rows to tell (`Alignment.certain`) are taken, with a warning.

    Args:
        task: One of `TASKS`.
        directory: The task's files, see `TASKS[task].files`.
        donor: The donor's language, or several. Word translation takes "en" only. GlobalOpinionQA has no choice of
            donor and leaves this unread: the receiver is English, the donor the translation into each language.
        receivers: Receiving languages; for GlobalOpinionQA the languages whose countries are asked about.
        limit: Most instances a language, the first ones; None for all.
        misaligned: What to do with rows that do not belong together: `refuse` them with an error, keep only those
            `before` the first suspicious row (a few rows before it are left out too, since it is an estimate), or
            keep `all`.
        donor_file: XCOPA only: a file of COPA in XCOPA's format as the (one) donor's, since XCOPA has no English.
        split: XCOPA only: `test` or `val`.
        examples: Words only: example pairs in a prompt.
        seed: Words only: of the draws of words and examples.

    Returns:
        Instances by language, with ids such as `sw-0007`, rows counted from 0 in their files.

    Raises:
        ConfigError: An unknown task or language, a file that is missing or faulty, or rows that do not belong together.
    """
    if task not in TASKS:
        raise ConfigError(f"task {task!r}", f"one of {', '.join(TASKS)}", "name one, or give a JSONL file")
    donors = (donor,) if isinstance(donor, str) else tuple(donor)
    request = Request(directory, donors, limit, donor_file, split, examples, seed)
    _check_request(request, receivers, misaligned)
    instances: list[Instance] = []
    for language in receivers:
        receiver, sides = TASKS[task].read(request, language)
        kept = len(receiver)
        if task != "words":
            kept = min(_belonging(f"{task} {language}", rows, receiver, limit, misaligned) for rows in sides)
        count = min(kept, limit or kept)
        instances += [_instance(task, language, number, receiver, sides) for number in range(count)]
    return instances


def _instance(
    task: str, language: str, number: int, receiver: Sequence[Row], donors: Sequence[Sequence[Row]]
) -> Instance:
    row = receiver[number]
    return Instance(
        id=f"{language}-{number:04d}",
        donor=tuple(rows[number].prompt for rows in donors),
        receiver=row.prompt,
        options=row.options,
        answers=_as_continuations(row),
        language=language,
        task=task,
    )


def _check_request(request: Request, receivers: Sequence[str], misaligned: str) -> None:
    if not request.directory.is_dir():
        raise ConfigError(f"{request.directory} is no directory", "the task's directory", "check the path")
    for name, languages in (("donor", request.donors), ("receiver", receivers)):
        if not languages or len(set(languages)) < len(languages):
            said = ", ".join(languages) if languages else f"no {name} language"
            raise ConfigError(f"{name}s: {said}", "each language once", f"name at least one {name}")
    if request.limit is not None and request.limit < 1:
        raise ConfigError(
            f"limit {request.limit}", "at least 1", "give a larger number, or none for all rows"
        )
    if request.examples < 0:
        raise ConfigError(f"examples {request.examples}", "0 or more", "give a larger number")
    if misaligned not in MISALIGNED:
        raise ConfigError(f"misaligned {misaligned!r}", f"one of {', '.join(MISALIGNED)}", "name one")


def _belonging(
    name: str, donor: Sequence[Row], receiver: Sequence[Row], limit: int | None, misaligned: Misaligned
) -> int:
    """How many rows from the first on may be paired."""
    both = min(len(donor), len(receiver))
    if [row.prompt for row in donor] == [row.prompt for row in receiver]:
        return both
    if misaligned == "all":
        return both
    found = check_alignment(
        [row.prompt for row in donor],
        [row.prompt for row in receiver],
        donor_answers=[row.answers for row in donor],
        receiver_answers=[row.answers for row in receiver],
    )
    if not found.certain:
        warnings.warn(
            f"{name}: {found.summary}: too little to be certain that the rows belong together", stacklevel=3
        )
    if found.aligned:
        return both
    trusted = found.trusted_rows
    if misaligned == "before" and trusted:
        return trusted
    if limit is not None and limit <= trusted:
        return both
    raise ConfigError(
        f"{name}: the donor's rows do not belong to the receiver's ({found.summary})",
        "the same question in each row of both files",
        _remedy(found),
    )


def _remedy(found: Alignment) -> str:
    if not found.trusted_rows:
        return "fetch the files again, or keep all rows by choice (misaligned: all)"
    return (
        f"mend the files, take at most the first {found.trusted_rows} rows, keep those before the break"
        " (misaligned: before), or all by choice (misaligned: all)"
    )


def _as_continuations(row: Row) -> tuple[str | int, ...]:
    """Answers as they follow the prompt: after a space, but not after a full-width colon."""
    space = "" if row.prompt[-1:] in "：\n " else " "
    return tuple(answer if isinstance(answer, int) else space + answer.strip() for answer in row.answers)


TASKS: dict[str, Task] = {
    "xnli": Task(
        "natural language inference, three options",
        "split/LANG.json: whole prompts as JSON strings; ans/LANG.json: the right option, from 1",
        numbered(3),
        "the donor's language (English) to others",
    ),
    "xcopa": Task(
        "cause or effect, two options",
        "LANG/test.LANG.jsonl and val.LANG.jsonl of the dataset, or split/LANG.json and ans/LANG.json as for xnli",
        read_xcopa,
        "the donor's language (English) to others",
    ),
    "xquad": Task(
        "question answering from a context",
        "split/xquad.LANG.json: whole prompts; ans/xquad.LANG.json: answers; as JSON strings",
        read_xquad,
        "the donor's language (English) to others",
    ),
    "globalopinionqa": Task(
        "what people of a country would answer",
        "split/LANG.json: objects with input_text (English), label (shares); translated/LANG.json: the same in LANG",
        read_opinions,
        "each language to English",
    ),
    "words": Task(
        "translation of English words",
        "a lexicon for each language, named by its English name: lines of English, tab, translation",
        read_word_sides,
        "English prompts to prompts in the words' language",
    ),
}
"""Tasks by name; an instance's `task` is this name, which is also its parsing rule's."""
