"""A checkpoint as an input of a merge: its tensors under the names that transformers 5 has for them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from lingraft.errors import ArchitectureError, ModelError
from lingraft.models.adapters import ADAPTERS, Adapter
from lingraft.models.checkpoints import read_config
from lingraft.models.opening import one_line
from lingraft.preference.tensor_stream import FLOATS, Slot, read_slots

_BUFFER = re.compile(r"rotary_emb\.inv_freq$|\b(?:attn|attention)\.(?:masked_)?bias$")
"""What old checkpoints store although no one trained it: rotary frequencies and causal masks."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An input of a merge.

    Attributes:
        role: What it is in the merge: `base`, `tuned`, `language`, ...
        reference: What the user typed.
        directory: Where its files are.
        config: The text model's config.
        raw_config: config.json as it is written.
        adapter: The architecture's row in the adapter table; None where there is none.
        slots: Tensors by canonical name: the one that transformers' own module has. A tied head is there under its
            own name, with the embedding's bytes.
        head_is_embedding: Whether the head has no tensor of its own.
        tokens: Its vocabulary; None where no tokenizer is there.
    """

    role: str
    reference: str
    directory: Path
    config: Any
    raw_config: Mapping[str, Any]
    adapter: Adapter | None
    slots: Mapping[str, Slot]
    head_is_embedding: bool
    tokens: "Tokens | None" = None

    @property
    def layers(self) -> int:
        """How many layers the config says."""
        return int(self.config.num_hidden_layers)

    def rows(self) -> int | None:
        """Rows of the embedding matrix; None for an unknown architecture."""
        if self.adapter is None:
            return None
        return self.slots[f"{self.adapter.embedding}.weight"].shape[0]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A vocabulary: ordinary tokens by id, and those added to it (special tokens and the like)."""

    ordinary: Mapping[int, str]
    added: Mapping[int, str]

    def differences(self, other: "Tokens") -> tuple[int, int]:
        """Return how many ids name different ordinary tokens, and how many different added ones."""
        ids = set(self.ordinary) | set(other.ordinary)
        both = ids - set(self.added) - set(other.added)
        special = set(self.added) | set(other.added)
        mine, theirs = {**self.ordinary, **self.added}, {**other.ordinary, **other.added}
        return (
            sum(mine.get(i) != theirs.get(i) for i in both),
            sum(mine.get(i) != theirs.get(i) for i in special),
        )


def read_checkpoint(role: str, reference: str, directory: Path, tokens: Tokens | None = None) -> Checkpoint:
    """Read config and headers of a checkpoint; no weights.

    Args:
        role: What it is in the merge.
        reference: What the user typed.
        directory: Where it is.
        tokens: Its vocabulary, where it has a tokenizer.

    Returns:
        The input.

    Raises:
        ModelError: It is missing, truncated, pickled or quantised.
        ArchitectureError: Its layers are not where its architecture keeps them.
    """
    raw = read_config(directory)
    with one_line(reference, "causal LM"):
        whole = AutoConfig.from_pretrained(directory, local_files_only=True)
        config = whole.get_text_config()
        kind = str(whole.model_type)
    if raw.get("quantization_config"):
        raise ModelError(
            f"the weights of {reference} are quantised",
            "floating-point weights",
            "give the unquantised checkpoint, or dequantise it first",
        )
    adapter = ADAPTERS.get(kind)
    stored = read_slots(directory, reference)
    slots = stored if adapter is None else _canonical(stored, adapter, reference)
    head, own = _head(slots, adapter, whole, reference)
    found = Checkpoint(role, reference, directory, config, raw, adapter, head, not own, tokens)
    if adapter is not None:
        _require_all_layers(found, adapter)
    return found


def layer_of(checkpoint: Checkpoint, name: str) -> int | None:
    """Return the layer that a tensor belongs to by its canonical name; None outside the layers.

    Args:
        checkpoint: Of a known architecture.
        name: A canonical name.

    Returns:
        The layer, from 0.
    """
    if checkpoint.adapter is None:
        return None
    match = re.match(re.escape(checkpoint.adapter.layers) + r"\.(\d+)\.", name)
    return None if match is None else int(match[1])


def vocabulary_names(checkpoint: Checkpoint) -> set[str]:
    """Return the canonical names of tensors that have a row a token: embedding, head, bias of the head."""
    if checkpoint.adapter is None:
        return set()
    embedding, head = checkpoint.adapter.embedding, checkpoint.adapter.head
    return {f"{embedding}.weight", f"{head}.weight", f"{head}.bias"}


def is_weight(name: str, slot: Slot) -> bool:
    """Whether a stored tensor is a weight: floating point, and no buffer that old checkpoints carry along."""
    return slot.dtype in FLOATS and not _BUFFER.search(name)


def _canonical(stored: Mapping[str, Slot], adapter: Adapter, reference: str) -> dict[str, Slot]:
    """Give every tensor the name that it has in the causal LM of transformers 5."""
    stem, _, last = adapter.layers.rpartition(".")
    # GPT-NeoX's head, which transformers 5 renames on the way in and back on the way out.
    stored = {re.sub(r"^embed_out\.", f"{adapter.head}.", name): slot for name, slot in stored.items()}
    if any(name.startswith(f"{adapter.layers}.") for name in stored):
        return stored
    old = "language_model.model."  # how Gemma 3 was published, before its modules were moved
    if any(name.startswith(f"{old}{last}.") for name in stored):
        moved = {old: f"{stem}.", "language_model.lm_head.": "lm_head."}
        moved |= {part: f"model.{part}" for part in ("vision_tower.", "multi_modal_projector.")}
        renamed = {}
        for name, slot in stored.items():
            before = next((part for part in moved if name.startswith(part)), "")
            renamed[moved.get(before, "") + name.removeprefix(before)] = slot
        return renamed
    if any(name.startswith(f"{last}.") for name in stored):  # saved from the body alone, as GPT-2 was
        return {
            name if name.startswith(f"{adapter.head}.") else f"{stem}.{name}": slot
            for name, slot in stored.items()
        }
    raise ArchitectureError(
        f"no tensor of {reference} is named {adapter.layers}.0...",
        f"the layers where transformers keeps them (first tensor there: {min(stored, default='none')})",
        "save the model with save_pretrained of transformers 5",
    )


def _head(
    slots: Mapping[str, Slot], adapter: Adapter | None, config: Any, reference: str
) -> tuple[dict[str, Slot], bool]:
    """Put in a tied head under its own name; return all slots, and whether the head has a tensor of its own."""
    if adapter is None:
        return dict(slots), True
    head, embedding = f"{adapter.head}.weight", f"{adapter.embedding}.weight"
    if embedding not in slots:
        raise ArchitectureError(
            f"{reference} has no tensor {embedding}", "its input embeddings", "give the whole causal LM"
        )
    if head in slots:
        return dict(slots), True
    if not getattr(config, "tie_word_embeddings", False):
        raise ModelError(
            f"{reference} has no tensor {head}, and its config does not tie it to the embeddings",
            "a causal LM with all its weights",
            "give the causal LM itself",
        )
    return {**slots, head: slots[embedding]}, False


def _require_all_layers(checkpoint: Checkpoint, adapter: Adapter) -> None:
    """Refuse a checkpoint whose tensors do not name the layers that its config counts."""
    found = {layer for name in checkpoint.slots if (layer := layer_of(checkpoint, name)) is not None}
    if found != set(range(checkpoint.layers)):
        raise ArchitectureError(
            f"{checkpoint.reference} has tensors of {len(found)} layers under {adapter.layers}",
            f"{checkpoint.layers}, as its config says",
            "fetch the model again, or correct num_hidden_layers in its config",
        )
