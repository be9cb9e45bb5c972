"""Whether two checkpoints can be merged: architecture, shapes, heads, vocabularies, and what their configs say."""

from collections.abc import Iterable
from typing import Any

import torch

from lingraft.errors import ArchitectureError, ModelError
from lingraft.preference.merging_inputs import Checkpoint, is_weight, vocabulary_names
from lingraft.preference.tensor_stream import read_blocks

_SIZES = (
    ("model_type", "architecture"),
    ("num_hidden_layers", "layers"),
    ("hidden_size", "a width of"),
    ("num_attention_heads", "attention heads"),
)
_UNIMPORTANT = {
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "vocab_size",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
    "attention_dropout",
    "initializer_range",
}


def require_same_architecture(first: Checkpoint, second: Checkpoint) -> None:
    """Refuse two checkpoints that are not of one architecture with the same sizes; vocabularies may differ.

    Args:
        first: The input whose files the result takes.
        second: Another input.

    Raises:
        ArchitectureError: Architecture, layers, widths, names or shapes of tensors differ; one line with the values.
    """
    pair = f"{first.role} ({first.reference}) and {second.role} ({second.reference})"
    remedy = "give checkpoints tuned from one base model"
    for field, words in _SIZES:
        values = [getattr(one.config, field, None) for one in (first, second)]
        if field == "model_type" and first.raw_config.get(field) != second.raw_config.get(field):
            values = [one.raw_config.get(field) for one in (first, second)]
        if values[0] != values[1]:
            said = " and ".join(f"{v} {words}" if words[-1] == "s" else f"{words} {v}" for v in values)
            raise ArchitectureError(f"{pair} have {said}", "one architecture of one size", remedy)
    free = vocabulary_names(first)
    own = {name for name, slot in first.slots.items() if is_weight(name, slot)}
    others = {name for name, slot in second.slots.items() if is_weight(name, slot)}
    # A bias of the head is its own; the head itself is always there.
    if stray := sorted(own ^ others):
        holder, lacking = (first, second) if stray[0] in own else (second, first)
        raise ArchitectureError(
            f"{len(stray)} tensors are in one of {pair} alone (first: {stray[0]}, which {lacking.role} lacks)",
            f"the same tensors in both, as in {holder.role}",
            remedy,
        )
    for name in sorted(own - free):
        shapes = [list(one.slots[name].shape) for one in (first, second)]
        if shapes[0] != shapes[1]:
            raise ArchitectureError(
                f"{name} is {shapes[0]} in {first.role} ({first.reference})"
                f" and {shapes[1]} in {second.role} ({second.reference})",
                "the same shapes",
                remedy,
            )


def require_fitting_head(first: Checkpoint, second: Checkpoint) -> None:
    """Refuse to lose a head: the result has none of its own, and the other input's differs from its embedding.

    Args:
        first: The input whose files the result takes.
        second: Another input.

    Raises:
        ModelError: That is so.
    """
    if first.adapter is None or not first.head_is_embedding or second.head_is_embedding:
        return
    slots = [second.slots[f"{part}.weight"] for part in (first.adapter.head, first.adapter.embedding)]
    same = slots[0].shape == slots[1].shape
    if not same or any(not torch.equal(*stretch) for stretch in read_blocks(slots)):
        raise ModelError(
            f"{second.role} ({second.reference}) has a head of its own, {first.role} ({first.reference}) uses its"
            " embeddings as head",
            "both tied or both untied",
            f"take the files of {second.role}, or give checkpoints tuned from one base model",
        )


def _config_differences(first: Checkpoint, second: Checkpoint) -> dict[str, tuple[Any, Any]]:
    """Return fields of the text configs that can change what the weights mean, with the two values that differ."""
    values = [one.config.to_dict() for one in (first, second)]
    return {
        field: (values[0].get(field), values[1].get(field))
        for field in sorted({*values[0], *values[1]} - _UNIMPORTANT)
        if values[0].get(field) != values[1].get(field)
    }


def vocabulary_difference(first: Checkpoint, second: Checkpoint) -> str:
    """Say in values how two vocabularies differ in rows or in ordinary tokens; nothing where they do not.

    Without a tokenizer of both, rows alone are compared.

    Args:
        first: An input.
        second: Another.

    Returns:
        A clause for a message, or nothing.
    """
    rows = first.rows(), second.rows()
    if rows[0] != rows[1]:
        return f"{first.role} has {rows[0]} rows of embeddings and {second.role} {rows[1]}"
    if first.tokens is None or second.tokens is None:
        return ""
    differing, _ = first.tokens.differences(second.tokens)
    return f"{differing} ids name other tokens in {first.role} than in {second.role}" if differing else ""


def added_tokens(first: Checkpoint, second: Checkpoint) -> str:
    """Say how many added tokens differ where the ordinary ones agree; nothing where none does."""
    if first.tokens is None or second.tokens is None:
        return ""
    _, differing = first.tokens.differences(second.tokens)
    return f"{differing} added tokens differ between {first.role} and {second.role}" if differing else ""


def require_one_vocabulary(first: Checkpoint, second: Checkpoint) -> list[str]:
    """Refuse two vocabularies that differ by more than added tokens; return a warning for those.

    Args:
        first: An input.
        second: Another.

    Returns:
        One line, empty where the added tokens agree too.

    Raises:
        ModelError: Rows or ordinary tokens differ.
    """
    if difference := vocabulary_difference(first, second):
        raise ModelError(
            f"{difference} ({first.reference}, {second.reference})",
            "one vocabulary",
            "give checkpoints tuned from one base model without a change of tokenizer",
        )
    return [added_tokens(first, second)]


def config_warnings(first: Checkpoint, others: Iterable[Checkpoint]) -> list[str]:
    """Say which config fields differ: the result has those of the first."""
    lines = []
    for other in others:
        fields = _config_differences(first, other)
        if fields:
            said = ", ".join(
                f"{field} {str(values[0])[:60]} and {str(values[1])[:60]}" for field, values in fields.items()
            )
            lines.append(f"the configs of {first.role} and {other.role} differ: {said}")
    return lines
