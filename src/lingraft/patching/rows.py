"""Many continuations of one prompt that differ in the last token's states alone: a row each, over one shared prefix.

Rows are a batch of single tokens. The prefix's keys and values are read by all rows and never copied; each row's own
keys and values are its only memory. (The design speaks of one sequence with a 4-D mask; that costs scores between all
pairs of rows at every decoding step, this does not.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from transformers import AttentionInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from lingraft.models.modelmap import ModelMap

ATTENTION = "lingraft_rows"
"""Name under which `attend` is known to transformers."""


class RowLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's shared prefix and own keys and values of each row.

    Args:
        prefix: Keys and values `[1, heads, P, head width]`.
        window: Tokens that a query sees, itself included; None for all.
        copied: Hand out the prefix copied for every row: for attention that cannot be taught to share it.
    """

    def __init__(
        self, prefix: tuple[torch.Tensor, torch.Tensor], window: int | None, *, copied: bool
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prefix, self.window, self.copied = prefix, window, copied

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Append each row's new key and value `[R, heads, 1, head width]`; return what attention reads."""
        own = super().update(key_states, value_states)
        if not self.copied:
            return own
        rows = key_states.shape[0]
        return tuple(
            torch.cat([shared.expand(rows, -1, -1, -1), mine], dim=2)
            for shared, mine in zip(self.prefix, own, strict=True)
        )

    def get_seq_length(self) -> int:
        """Tokens before the next query, the prefix included."""
        return int(self.prefix[0].shape[2]) + super().get_seq_length()

    def own(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows' own keys and values `[R, heads, t, head width]`."""
        assert self.keys is not None and self.values is not None, "no forward call has filled this layer"
        return self.keys, self.values

    def set_own(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put other keys and values in their place."""
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def fork(self) -> "RowLayer":
        """A layer with the same tokens that grows on its own."""
        other = RowLayer(self.prefix, self.window, copied=self.copied)
        other.set_own(*self.own())
        return other


class RowCache(Cache):
    """The rows' cache.

    Args:
        row_layers: One a layer of the model.
    """

    def __init__(self, row_layers: list[RowLayer]) -> None:
        super().__init__(layers=[*row_layers])
        self.row_layers = row_layers

    @classmethod
    def of_prompt(cls, found: ModelMap, prefix: tuple[tuple[torch.Tensor, torch.Tensor], ...]) -> "RowCache":
        """Make the cache of rows that have no tokens of their own yet.

        Args:
            found: The model's map.
            prefix: For each layer keys and values of the shared tokens.

        Returns:
            The cache.
        """
        layers = zip(prefix, found.layers, strict=True)
        return cls([RowLayer(shared, layer.window, copied=found.alibi) for shared, layer in layers])

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        for layer in self.row_layers:
            layer.batch_select_indices(rows)

    def copy(self) -> "RowCache":
        """A cache that grows on its own from here; nothing is copied until it does."""
        return RowCache([layer.fork() for layer in self.row_layers])


_CURRENT: ContextVar[RowCache] = ContextVar("rows")


@contextmanager
def row_attention(model: PreTrainedModel, found: ModelMap, cache: RowCache) -> Iterator[None]:
    """Let the model's attention read this cache's prefix beside each row's own keys.

    Args:
        model: The model; its attention implementation is put back at the end.
        found: Its map.
        cache: What the forward calls inside are given as `past_key_values`.

    Yields:
        Nothing.
    """
    token = _CURRENT.set(cache)
    if found.alibi:
        try:
            yield
        finally:
            _CURRENT.reset(token)
        return
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        _CURRENT.reset(token)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of single-token rows over the shared prefix and their own tokens.

    Args:
        module: The attention module; its `layer_idx` names the prefix.
        query: `[R, H, 1, w]`.
        key: Each row's own keys `[R, G, t, w]`, H a multiple of G.
        value: Its values.
        attention_mask: Not used: rows have no padding, and windows are applied here.
        scaling: Factor on the scores; None for `w ** -0.5`.
        softcap: Gemma 2's cap on scores.
        **options: What other attention functions take; not used.

    Returns:
        `[R, 1, H, w]`, and no weights.
    """
    layer = _CURRENT.get().row_layers[cast(int, module.layer_idx)]
    rows, heads, _one, width = query.shape
    groups = key.shape[1]
    shared_keys, shared_values, key, value = _windowed(layer, key, value)
    asked = query.reshape(rows, groups, heads // groups, width)
    # [G, R * H/G, w]: the prefix is read by one product a key head, whatever the number of rows.
    gathered = asked.transpose(0, 1).reshape(groups, -1, width)
    over_prefix = (gathered @ shared_keys[0].transpose(1, 2)).view(
        groups, rows, heads // groups, shared_keys.shape[2]
    )
    over_own = (asked @ key.transpose(2, 3)).transpose(0, 1)
    scores = torch.cat([over_prefix, over_own], dim=-1) * (width**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    length = shared_keys.shape[2]
    from_prefix = weights[..., :length].reshape(groups, rows * heads // groups, length) @ shared_values[0]
    from_own = weights[..., length:].transpose(0, 1) @ value
    mixed = from_prefix.view(groups, rows, heads // groups, width).transpose(0, 1) + from_own
    return mixed.reshape(rows, 1, heads, width), None


def _windowed(
    layer: RowLayer, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prefix and own keys and values within the window of the newest token."""
    shared_keys, shared_values = layer.prefix
    if layer.window is None:
        return shared_keys, shared_values, key, value
    hidden = max(0, shared_keys.shape[2] + key.shape[2] - layer.window)
    from_prefix = min(hidden, shared_keys.shape[2])
    from_own = hidden - from_prefix
    return (
        shared_keys[:, :, from_prefix:],
        shared_values[:, :, from_prefix:],
        key[:, :, from_own:],
        value[:, :, from_own:],
    )


AttentionInterface.register(ATTENTION, attend)
