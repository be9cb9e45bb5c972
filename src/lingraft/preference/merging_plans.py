"""Which tensor of a merged checkpoint comes from where: layer swapping, chat vector, interpolation."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from lingraft.errors import ArchitectureError, ConfigError, ModelError
from lingraft.models.adapters import ADAPTERS
from lingraft.preference.merging import MergePlan, TensorPlan
from lingraft.preference.merging_fit import (
    added_tokens,
    config_warnings,
    require_fitting_head,
    require_one_vocabulary,
    require_same_architecture,
    vocabulary_difference,
)
from lingraft.preference.merging_inputs import Checkpoint, is_weight, layer_of, vocabulary_names
from lingraft.preference.tensor_stream import FLOATS, Output

Choice = tuple[str, Sequence[Checkpoint], float, str]
"""Operation, inputs in its order, its number, and the origin in words."""


def interpolation_plan(
    base: Checkpoint, tuned: Checkpoint, weight: float, *, dtype: str | None = None
) -> MergePlan:
    """Plan `(1 - weight) * base + weight * tuned` of every weight: a tuned model moved back towards its base.

    Args:
        base: The model before tuning.
        tuned: The model after it; names, files and dtypes of the result are its.
        weight: Share of the tuned model, from 0 (the base's weights) to 1 (the tuned ones).
        dtype: Of the result, as in safetensors headers; None for that of `tuned`, tensor by tensor.

    Returns:
        The plan.

    Raises:
        ConfigError: The weight is out of range.
        ModelError: The two do not fit each other: architecture, shapes, vocabularies or heads.
    """
    if not 0 <= weight <= 1:
        raise ConfigError(
            f"weight {weight:g}", "0 (all base) to 1 (all tuned)", "give a number between, such as 0.5"
        )
    require_same_architecture(tuned, base)
    warnings = require_one_vocabulary(tuned, base)
    require_fitting_head(tuned, base)

    def choose(name: str) -> Choice:
        del name
        if weight in (0, 1):
            only = tuned if weight else base
            return "copy", [only], 1.0, f"from {only.role}"
        return "interpolate", [base, tuned], weight, "interpolated"

    return _plan(tuned, choose, dtype, [*warnings, *config_warnings(tuned, [base])])


def chat_vector_plan(
    target: Checkpoint,
    chat: Checkpoint,
    base: Checkpoint,
    scale: float,
    *,
    embeddings: Literal["auto", "add", "skip"] = "auto",
    dtype: str | None = None,
) -> MergePlan:
    """Plan `target + scale * (chat - base)` of every weight (chat vector, arXiv 2310.04799).

    Embedding, head and the head's bias have a row a token, so the difference can only be added where all three
    models have the same tokens under the same ids. What to do with them otherwise is our choice: the target's stay.

    Args:
        target: The model of the language; names, files and dtypes of the result are its.
        chat: The tuned model whose behaviour is wanted.
        base: What `chat` was tuned from, and `target` continued from.
        scale: Of the difference; the paper's is 1.
        embeddings: `add`, `skip`, or `auto`: add where the vocabularies are the same.
        dtype: Of the result, as in safetensors headers; None for that of `target`, tensor by tensor.

    Returns:
        The plan.

    Raises:
        ConfigError: The scale is not finite, or `add` is asked for where it cannot be done.
        ModelError: The three do not fit each other.
    """
    if not math.isfinite(scale):
        raise ConfigError(f"scale {scale}", "a finite number", "give one, such as 1")
    others = (chat, base)
    for other in others:
        require_same_architecture(target, other)
    reason = "; ".join(filter(None, (vocabulary_difference(target, other) for other in others)))
    added, warnings = vocabulary_names(target), [added_tokens(target, other) for other in others]
    if embeddings == "add" and any(target.rows() != other.rows() for other in others):
        raise ConfigError(
            f"--embeddings add with {reason}", "as many rows in all three", "give --embeddings skip"
        )
    skipped = embeddings == "skip" or (embeddings == "auto" and bool(reason))
    if not skipped:
        for other in others:
            require_fitting_head(target, other)
        warnings.append(f"added to the embeddings although {reason}" if reason else "")

    def choose(name: str) -> Choice:
        if skipped and name in added:
            return "copy", [target], 1.0, f"from target, no chat vector ({reason or 'as asked'})"
        if scale == 0:
            return "copy", [target], 1.0, "from target"
        return "add-difference", [target, chat, base], scale, "target + chat vector"

    return _plan(target, choose, dtype, [*warnings, *config_warnings(target, others)])


def layer_swap_plan(
    language: Checkpoint,
    task: Checkpoint,
    *,
    bottom: int,
    top: int,
    bottom_transition: int = 0,
    top_transition: int = 0,
    share: float = 0.5,
    outside: Literal["language", "task"] = "language",
    dtype: str | None = None,
) -> MergePlan:
    """Plan a swap of layers (arXiv 2410.01335): outer layers of the language expert, inner ones of the task expert.

    The paper speaks of the layers. Embeddings, positions, final norm and head are our choice: the language expert's by
    default, as they meet the language's text; `outside="task"` takes the other's.

    Args:
        language: The expert of the language.
        task: The expert of the task, tuned from the same base.
        bottom: Layers from 0 on that are the language expert's.
        top: Layers before the end that are.
        bottom_transition: Layers after the bottom ones that are a weighted mean of both experts' (paper).
        top_transition: Layers before the top ones that are.
        share: The language expert's weight in these means (the paper's default is an equal mean, as we know it).
        outside: Whose tensors outside the layers are taken, with names, files and dtypes.
        dtype: Of the result, as in safetensors headers; None for that of `outside`, tensor by tensor.

    Returns:
        The plan.

    Raises:
        ConfigError: The numbers of layers do not fit the model, or the share is out of range.
        ModelError: The experts do not fit each other.
    """
    experts = {"language": language, "task": task}
    first = experts[outside]
    if first.adapter is None:
        raise ArchitectureError(
            f"{first.reference} is of architecture {first.raw_config.get('model_type')!r}",
            f"one of {', '.join(sorted(ADAPTERS))}, whose layers are known",
            "use models of one of these",
        )
    other = task if first is language else language
    require_same_architecture(first, other)
    counts = (bottom, bottom_transition, top_transition, top)
    if min(counts) < 0 or sum(counts) > first.layers or bottom + top == 0 or not 0 <= share <= 1:
        raise ConfigError(
            f"{bottom} bottom, {bottom_transition} + {top_transition} transition and {top} top layers, share {share:g}",
            f"no more than the models' {first.layers} layers, at least one swapped, and a share from 0 to 1",
            "correct --bottom, --top, --bottom-transition, --top-transition or --share",
        )
    difference = vocabulary_difference(first, other)
    if difference and outside == "task":
        raise ModelError(
            f"the language expert's layers would read the task expert's embeddings, but {difference}",
            "one vocabulary, or the language expert's own embeddings",
            "give --outside language",
        )
    warnings = [
        f"{difference}: the result has those of language" if difference else added_tokens(first, other)
    ]
    inner_from, inner_to = bottom + bottom_transition, first.layers - top - top_transition

    def choose(name: str) -> Choice:
        layer = layer_of(first, name)
        if layer is None:
            return "copy", [first], 1.0, f"outside the layers, from {outside}"
        if (
            layer < bottom
            or layer >= first.layers - top
            or (share == 1 and not inner_from <= layer < inner_to)
        ):
            return "copy", [language], 1.0, "layers from language"
        if inner_from <= layer < inner_to or share == 0:
            return "copy", [task], 1.0, "layers from task"
        return "interpolate", [task, language], share, "transition layers, mean of both"

    return _plan(first, choose, dtype, [*warnings, *config_warnings(first, [other])])


def _plan(
    first: Checkpoint, choose: Callable[[str], Choice], dtype: str | None, warnings: Iterable[str]
) -> MergePlan:
    """Make the plan of every tensor that `first` stores, under its names; buffers are its own."""
    head = None if first.adapter is None else f"{first.adapter.head}.weight"
    tensors = []
    for name, slot in first.slots.items():
        if name == head and first.head_is_embedding:
            continue
        if is_weight(name, slot):
            operation, inputs, amount, origin = choose(name)
        else:
            operation, inputs, amount, origin = "copy", [first], 1.0, f"buffers, from {first.role}"
        written = dtype if dtype is not None and slot.dtype in FLOATS else slot.dtype
        tensors.append(
            TensorPlan(
                output=Output(slot.name, slot.file.name, written, slot.shape),
                operation=operation,
                slots=tuple(one.slots[name] for one in inputs),
                amount=amount,
                origin=origin,
                layer=layer_of(first, name),
            )
        )
    return MergePlan(tuple(tensors), first.role, tuple(filter(None, warnings)))
