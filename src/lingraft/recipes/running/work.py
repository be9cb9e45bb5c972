"""How much work a stage is, counted from its settings: tokens trained on and read, rows, bytes, tokens added."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.recipes.checking.model_facts import ModelFacts
from lingraft.recipes.checking.references import ASSET, each_text

BYTES_A_TOKEN = 3.0
"""Of text in a language that the model's tokenizer was not made for, about."""
ANSWER_TOKENS = 250
"""Of a paired item's two answers with their two prompts, about, which training on preferences passes through."""
COUNTED_BYTES = 10e6
"""Bytes of a corpus that discovery and selection go through a second on one core, about."""
LOADING = 10.0
"""Seconds to load libraries and a small model, about."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a stage.

    Attributes:
        trained_tokens: Tokens that are trained on.
        read_tokens: Tokens that models only read or write.
        seconds: What takes time beside.
        memory_bytes: Beside weights and optimiser.
        disk_bytes: Beside checkpoints.
        vocabulary_rows: Tokens that the model gets.
    """

    trained_tokens: float = 0
    read_tokens: float = 0
    seconds: float = LOADING
    memory_bytes: int = 0
    disk_bytes: int = 2**20
    vocabulary_rows: int = 0


def stage_work(
    kind: str, settings: Any, filled: Mapping[str, Any], facts: ModelFacts, items: Mapping[str, int]
) -> Work:
    """Count a stage's work.

    Args:
        kind: Its kind.
        settings: Its settings.
        filled: Its references.
        facts: The size of the model that it reads.
        items: Paired items that earlier stages make, as far as their settings say.

    Returns:
        The work; of a kind that is not counted, that of loading.
    """
    counted = _WORK.get(kind)
    if kind == "preference":
        pairs = filled.get("pairs")
        made = items.get(str(pairs).removeprefix("stage:").partition("/")[0])
        return _preference(settings, filled, facts, made or _lines(pairs))
    return Work() if counted is None else counted(settings, filled, facts)


def _vocabulary(settings: Any, filled: Mapping[str, Any], facts: ModelFacts) -> Work:
    rows = settings.new_tokens if settings.mode == "extend" else 0
    matrices = 3 * 4 * 60_000 * facts.width
    return Work(seconds=60, memory_bytes=matrices, vocabulary_rows=rows)


def _pretrain(settings: Any, filled: Mapping[str, Any], facts: ModelFacts) -> Work:
    trained = settings.steps * settings.batch_size * settings.block_length
    texts = sum(filled.get(name) is not None for name in ("held_out", "english_held_out"))
    read = (settings.evaluations + 1) * texts * settings.held_out_bytes / BYTES_A_TOKEN
    together = settings.batch_size * settings.block_length / settings.gradient_accumulation
    return Work(trained, read, memory_bytes=_activations(facts, together))


def _preference(settings: Any, filled: Mapping[str, Any], facts: ModelFacts, there: int) -> Work:
    items = settings.steps * settings.batch_size if settings.steps else min(settings.limit or there, there)
    asked = settings.fidelity_prompts * settings.max_new_tokens if filled.get("held_out") else 0
    read = items * ANSWER_TOKENS + (settings.evaluations + 1) * asked
    together = settings.batch_size * ANSWER_TOKENS / settings.gradient_accumulation
    return Work(items * ANSWER_TOKENS, read, memory_bytes=_activations(facts, together))


def _evaluate(settings: Any, filled: Mapping[str, Any], facts: ModelFacts) -> Work:
    models = len(filled.get("models") or {})
    texts = sum(filled.get(name) is not None for name in ("held_out", "english_held_out"))
    answers = (settings.fidelity_prompts + settings.english_prompts) * settings.max_new_tokens
    read = models * (texts * settings.held_out_bytes / BYTES_A_TOKEN + 4 * answers)
    return Work(read_tokens=read, seconds=LOADING * models)


def _select(settings: Any, filled: Mapping[str, Any], facts: ModelFacts) -> Work:
    size = sum(_bytes(text) for name in ("corpus", "english") for _, text in each_text(filled.get(name)))
    return Work(seconds=LOADING + 4 * size / COUNTED_BYTES, disk_bytes=int(size))


def _patching(settings: Any, filled: Mapping[str, Any], facts: ModelFacts) -> Work:
    instances = settings.limit or 32
    # A row enters at its receiving layer: half the layers on average; and as much again for the control.
    rows = facts.layers**2 * (1 + (settings.new_tokens if settings.score == "generate" else 0)) / 2
    return Work(read_tokens=2 * instances * (rows + 200))


def _diagnose(settings: Any, filled: Mapping[str, Any], facts: ModelFacts) -> Work:
    return Work(read_tokens=60_000, seconds=3 * LOADING)


_WORK: Mapping[str, Callable[[Any, Mapping[str, Any], ModelFacts], Work]] = {
    "diagnose": _diagnose,
    "vocabulary": _vocabulary,
    "select": _select,
    "pretrain": _pretrain,
    "patching": _patching,
    "evaluate": _evaluate,
}


def _activations(facts: ModelFacts, tokens: float) -> int:
    """Return about what a training keeps of its forward pass: thirty numbers of the width a layer and token."""
    return int(2 * 30 * facts.layers * facts.width * tokens)


def _bytes(text: str) -> int:
    path = _path(text)
    return path.stat().st_size if path is not None and path.is_file() else 10_000_000


def _lines(text: Any) -> int:
    """Return how many items a file has, or a usual number where it is not there yet."""
    path = _path(str(text)) if isinstance(text, str) else None
    if path is None or not path.is_file():
        return 1000
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _path(text: str) -> Path | None:
    if text.startswith(ASSET):
        from lingraft.assets.catalog import find_asset

        name, _, file = text.removeprefix(ASSET).partition("/")
        directory = find_asset(name)
        return None if directory is None else directory / file
    return None if text.startswith("stage:") else Path(text)
