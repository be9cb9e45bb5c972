"""Paired prompts: the same question for the donor and for the receiver, from a JSONL file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as dc_replace
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.corpora.named_datasets import dataset_rows, is_dataset
from lingraft.errors import ConfigError

FIELDS = ("id", "donor", "receiver", "options", "answer", "language", "task")


@dataclass(frozen=True, slots=True)
class Instance:
    """One question in two languages.

    Attributes:
        id: Names the question, once a file.
        donor: The donor's prompts: one text for each donor language.
        receiver: The receiving prompt.
        options: Texts to choose among, as they would follow the prompt; empty for free answers.
        answers: With options: the right ones, as numbers into `options`, by falling preference. Without: texts of
            which the output must contain one, or whose first token counts. Empty where no answer is known.
        language: The receiver's language, for tables.
        task: Which parsing rule reads generated text; "" for containment.
    """

    id: str
    donor: tuple[str, ...]
    receiver: str
    options: tuple[str, ...] = ()
    answers: tuple[str | int, ...] = ()
    language: str = ""
    task: str = ""


def read_instances(path: Path) -> list[Instance]:
    """Read paired prompts.

    A row holds `id`, `donor` (a text, or a list of texts, one a donor language), `receiver`, and optionally `options`
    (texts), `answer` (an option's text or its number from 0; without options a text or a list of accepted texts),
    `language`, `task`.

    Args:
        path: A JSONL file in UTF-8, or `hf:NAME` with these columns.

    Returns:
        The rows in order.

    Raises:
        ConfigError: The file is missing or empty, a line is no JSON object, a field is missing, unknown or of another
            kind, a prompt is empty, an id comes twice, or rows differ in their number of donors.
    """
    instances = [parse_instance(row, f"{path}, line {number}") for number, row in _rows(path)]
    if not instances:
        raise ConfigError(f"{path} holds no row", "at least one pair of prompts", "give another file")
    seen: set[str] = set()
    for instance in instances:
        if instance.id in seen:
            raise ConfigError(f"{path}: id {instance.id!r} twice", "an id once", "give every row its own id")
        seen.add(instance.id)
    counts = sorted({len(instance.donor) for instance in instances})
    if len(counts) > 1:
        raise ConfigError(
            f"{path}: rows with {' and '.join(map(str, counts))} donors",
            "as many donors in every row",
            "give each row one text a donor language, in one order",
        )
    return instances


def write_instances(path: Path, instances: Sequence[Instance]) -> None:
    """Write rows that `read_instances` reads.

    Args:
        path: The file to write, atomically.
        instances: The rows.

    Raises:
        OutputError: It cannot be written.
    """
    from lingraft.files import write_text

    lines = []
    for item in instances:
        donor: Any = item.donor[0] if len(item.donor) == 1 else list(item.donor)
        row: dict[str, Any] = {"id": item.id, "donor": donor, "receiver": item.receiver}
        if item.options:
            row["options"] = list(item.options)
        if item.answers:
            row["answer"] = item.answers[0] if len(item.answers) == 1 else list(item.answers)
        row |= {name: value for name, value in (("language", item.language), ("task", item.task)) if value}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def shuffle_donors(instances: Sequence[Instance], seed: int) -> list[Instance]:
    """Give every instance the donor prompts of another one of its language: a chance control (our choice).

    Args:
        instances: All instances.
        seed: Of the shuffling.

    Returns:
        The instances in their order; none keeps its own donors.

    Raises:
        ConfigError: A language has one instance only.
    """
    generator = np.random.default_rng(seed)
    places: dict[str, list[int]] = {}
    for place, instance in enumerate(instances):
        places.setdefault(instance.language, []).append(place)
    given: dict[int, int] = {}
    for language, members in places.items():
        if len(members) < 2:
            raise ConfigError(
                f"one instance of language {language!r}",
                "at least two, to exchange their donors",
                "give more rows, or another --control",
            )
        # Each takes from the next of a random circle, so nobody takes from itself.
        circle = generator.permutation(members)
        given |= {int(a): int(b) for a, b in zip(circle, np.roll(circle, 1), strict=True)}
    return [dc_replace(own, donor=instances[given[place]].donor) for place, own in enumerate(instances)]


def parse_instance(row: Mapping[str, Any], where: str) -> Instance:
    """Check one row.

    Args:
        row: The JSON object.
        where: File and line, for messages.

    Returns:
        The instance.

    Raises:
        ConfigError: A field is missing, unknown, empty or of another kind.
    """
    missing = [name for name in ("id", "donor", "receiver") if name not in row]
    unknown = sorted(set(row) - set(FIELDS))
    if missing or unknown:
        found = f"no {', '.join(missing)}" if missing else f"unknown field {', '.join(unknown)}"
        raise ConfigError(
            f"{where}: {found}",
            "id, donor, receiver, and optionally options, answer, language, task",
            "complete the row",
        )
    donor = row["donor"] if isinstance(row["donor"], list) else [row["donor"]]
    for name, texts in (("donor", donor), ("receiver", [row["receiver"]])):
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ConfigError(f"{where}: an empty {name}", "a prompt", "fill it in, or leave the row out")
    options = row.get("options") or []
    if not isinstance(options, list) or not all(isinstance(text, str) and text for text in options):
        raise ConfigError(f"{where}: options that are no list of texts", "a list of texts", "correct the row")
    return Instance(
        id=str(row["id"]),
        donor=tuple(donor),
        receiver=str(row["receiver"]),
        options=tuple(options),
        answers=_answers(row.get("answer"), options, where),
        language=str(row.get("language", "")),
        task=str(row.get("task", "")),
    )


def _answers(given: Any, options: Sequence[str], where: str) -> tuple[str | int, ...]:
    if given is None:
        return ()
    answers: list[str | int] = []
    for one in given if isinstance(given, list) else [given]:
        if not options:
            answers.append(str(one))
        elif isinstance(one, str) and one in options:
            answers.append(options.index(one))
        elif isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(options):
            answers.append(one)
        else:
            raise ConfigError(
                f"{where}: answer {one!r}",
                f"one of the {len(options)} options, or its number from 0",
                "correct the row",
            )
    return tuple(answers)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if is_dataset(path):
        for number, fields in enumerate(dataset_rows(path), start=1):
            # A data set has every column in every row.
            yield number, {name: value for name, value in fields.items() if value is not None}
        return
    try:
        # Not splitlines(): a text may hold other line separators, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: {reason}", "a JSONL file in UTF-8", "check the path") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(
                f"{path}, line {number}: no JSON ({error})", "a JSON object", "correct it"
            ) from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: no JSON object", "an object", "correct the line")
        yield number, row
