"""Rows that begin alike: the beginning is read once, and each row's rest in a batch over its keys and values."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.models.modelmap import ModelMap


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The keys and values of a prompt's beginning.

    Attributes:
        length: Its tokens, P.
        states: For each layer keys and values `[1, heads, P, head width]`; empty where P is 0.
        takes_positions: Whether the model is told positions (BLOOM finds them from the mask).
    """

    length: int
    states: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    takes_positions: bool

    def cache(self, rows: int) -> DynamicCache:
        """Make a cache for a batch: views of the one prefix, until the first forward call joins it to the rows' own."""
        cache = DynamicCache()
        for number, (keys, values) in enumerate(self.states):
            cache.update(keys, values, number)
            layer: Any = cache.layers[number]
            layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (keys, values))
        return cache


@torch.no_grad()
def read_prefix(model: PreTrainedModel, found: ModelMap, ids: Sequence[int]) -> SharedPrefix:
    """Run the beginning once.

    Args:
        model: A causal LM in evaluation mode.
        found: Its map.
        ids: The tokens; may be empty.

    Returns:
        Their keys and values. Those outside a sliding window are kept too, as the mask applies the window.
    """
    takes_positions = "position_ids" in inspect.signature(found.entry.forward).parameters
    if not len(ids):
        return SharedPrefix(0, (), takes_positions)
    # Without a config the cache drops nothing in sliding layers.
    cache = DynamicCache()
    tokens = torch.tensor([list(ids)], device=model.device)
    found.entry(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), past_key_values=cache, use_cache=True
    )
    layers: Any = cache.layers
    return SharedPrefix(len(ids), tuple((layer.keys, layer.values) for layer in layers), takes_positions)


def forward_rows(
    model: PreTrainedModel,
    found: ModelMap,
    prefix: SharedPrefix,
    rows: Sequence[Sequence[int]],
    cache: DynamicCache | None = None,
    past: int = 0,
) -> torch.Tensor:
    """Run the rows' rests, padded on the right, where padding reaches no other token.

    Args:
        model: The model.
        found: Its map.
        prefix: What comes before.
        rows: Tokens of each row after it, and after what is in `cache`; at least one each.
        cache: The rows' cache where they go on from earlier calls; then all rows were equally long so far.
        past: Tokens of each row that the cache holds after the prefix.

    Returns:
        `[rows, longest, d_model]`, normed; what stands at padding means nothing.
    """
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    before = prefix.length + past
    mask = torch.zeros(len(rows), before + longest, dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(list(row))
        mask[number, : before + len(row)] = 1
    options: dict[str, Any] = {}
    if prefix.takes_positions:
        options["position_ids"] = torch.arange(before, before + longest, device=model.device).expand(
            len(rows), -1
        )
    output = found.entry(
        input_ids=tokens.to(model.device),
        attention_mask=mask.to(model.device),
        past_key_values=prefix.cache(len(rows)) if cache is None else cache,
        use_cache=True,
        **options,
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def by_length(lengths: Sequence[int], size: int, *, equal: bool = False) -> Iterator[list[int]]:
    """Divide rows into batches of about the same length.

    Args:
        lengths: Of the rows.
        size: Most rows of a batch.
        equal: Only rows of the very same length share a batch.

    Yields:
        Numbers of rows.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) == size or (equal and lengths[row] != lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def require_context(model: PreTrainedModel, length: int) -> None:
    """Refuse rows that are longer than what the model reads.

    Args:
        model: The model.
        length: Tokens of the longest row.

    Raises:
        ConfigError: It is too long.
    """
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and length > most:
        raise ConfigError(
            f"a prompt of {length} tokens", f"at most {most}, the model's context", "give fewer examples"
        )
