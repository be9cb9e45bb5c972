"""What scoring and tracing share: the words, the model, and every refusal before anything is run or written."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, sha256_of
from lingraft.models.architecture import resolve
from lingraft.models.loading import LoadedModel, load_model
from lingraft.pivots.prompt_tokens import encode_rows
from lingraft.pivots.shared_prefix import require_context
from lingraft.pivots.task_file import read_word_task
from lingraft.pivots.wordtask import WordTask
from lingraft.reports.result import InputRevision

LONGEST = 50
"""So many of the longest distractors are checked against the context before the work begins."""


def read_words(words: Path, limit: int | None) -> WordTask:
    """Read a task, or its first words.

    Args:
        words: The file.
        limit: How many words; None for all.

    Returns:
        The task.

    Raises:
        ConfigError: The file is no word task, or the limit is below 1.
    """
    task = read_word_task(words)
    if limit is None:
        return task
    if limit < 1:
        raise ConfigError(f"--limit {limit}", "at least 1", "give a larger number")
    return replace(task, items=task.items[:limit])


def load_checked(task: WordTask, draws: Iterable[int], **reference: Any) -> LoadedModel:
    """Load a model, and refuse what could not be run on it.

    Args:
        task: The words.
        draws: Numbers of the draws of examples that will be used.
        **reference: What `load_model` takes.

    Returns:
        The model.

    Raises:
        LingraftError: A bad reference, an unknown architecture, a target without tokens, or a prompt that is longer
            than the context.
    """
    loaded = load_model(reference.pop("model"), **reference)
    resolve(loaded.model)
    others = {word for item in task.items for word in item.distractors}
    longest = sorted(others, key=lambda word: (-len(word.encode()), word))[:LONGEST]
    target = max((item.target_word for item in task.items), key=lambda word: len(word.encode()))
    words = [*((item.source_word, item.target_word) for item in task.items), *((w, target) for w in longest)]
    for draw in draws:
        prompts = [task.prompt(word, draw) for word, _ in words]
        rows = encode_rows(loaded.tokenizer, prompts, [other for _, other in words])
        require_context(loaded.model, max(len(row.ids) for row in rows))
    return loaded


def run_command(verb: str, words: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a run is known again by: its options, and what its input files hold.

    Args:
        verb: Which.
        words: The word task.
        options: Everything that changes the result.

    Returns:
        A mapping for `open_run_directory`.
    """
    about = {"verb": verb, "words": str(words), f"{CONTENT_OF}words": sha256_of(words), **options}
    return with_contents(about)


def inputs_of(loaded: LoadedModel, words: Path) -> tuple[InputRevision, ...]:
    """Return what pins a run's inputs.

    Args:
        loaded: The model.
        words: The word task.

    Returns:
        The model and the words.
    """
    return (
        InputRevision(role="model", reference=loaded.reference, revision=loaded.revision),
        InputRevision(role="words", reference=str(words), revision=sha256_of(words)),
    )


def shown_words(words: Sequence[str], most: int = 10) -> str:
    """Name words in a line: the first few, and how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
