"""Answers that survive a killed run: each batch is added to a file as soon as it is there."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from lingraft.evaluation.answers import AnswerFormat, answer_batches
from lingraft.files import output_error
from lingraft.models.loading import LoadedModel
from lingraft.progress import progress_task

PART_FILE = "answers.part.jsonl"
"""In a run directory, while the run is not finished."""


def answer_and_keep(
    loaded: LoadedModel,
    format: AnswerFormat,
    prompts: Sequence[str],
    *,
    file: Path,
    kind: str,
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """Answer prompts, but for those whose answers an earlier start of the same run has left.

    Args:
        loaded: The model.
        format: How prompts are put to it.
        prompts: The prompts, the same at every start.
        file: Where answers are kept, one JSON object a line.
        kind: Tells these answers from others in the file.
        max_new_tokens: Most tokens of an answer.
        batch_size: Prompts at once; the same at every start, or what shares a batch changes.

    Returns:
        An answer a prompt.

    Raises:
        ConfigError: As `greedy_answers`.
        OutputError: The file cannot be written.
    """
    found = read_kept(file, kind)
    batches = answer_batches(
        loaded.model,
        format,
        prompts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        done=found,
    )
    with progress_task(f"answering ({kind})", len(prompts)) as advance:
        advance(len(found))
        for batch in batches:
            _keep(file, kind, batch)
            advance(len(batch.keys() - found.keys()))
            found |= batch
    return [found[number] for number in range(len(prompts))]


def read_kept(file: Path, kind: str) -> dict[int, str]:
    """Read the answers of a kind that a file holds.

    Args:
        file: The file; it may be missing.
        kind: Which answers.

    Returns:
        From a prompt's number to its answer. A last line that was cut off is passed over.
    """
    if not file.exists():
        return {}
    found = {}
    for line in file.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:  # the end of a cut-off line, with the next start's first line behind it
                continue
            if row["kind"] == kind:
                found[int(row["number"])] = str(row["answer"])
    return found


def _keep(file: Path, kind: str, batch: dict[int, str]) -> None:
    rows = [{"kind": kind, "number": number, "answer": answer} for number, answer in batch.items()]
    # A cut-off line before this one ends here.
    text = "\n" + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        with file.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise output_error(file, error) from error
