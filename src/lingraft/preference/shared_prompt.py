"""Both answers to a prompt in one row: the prompt is computed once, and neither answer sees the other.

A row is prompt, chosen answer, rejected answer. A mask keeps the second answer from the first, and its positions begin
again where the prompt ends. Every attention module is given that mask, windows of sliding layers by position included.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from types import MethodType
from typing import Any

import torch
from torch import nn

from lingraft.models.architecture import resolve
from lingraft.models.modelmap import ModelMap
from lingraft.preference.answer_logs import next_token_logs

PROMPT, CHOSEN, REJECTED, PADDING = range(4)
"""What a token of a row belongs to."""


class _Rows:
    """The rows that are being computed, for the hooks; it outlives the forward pass, as checkpointing repeats that."""

    def __init__(self, found: ModelMap) -> None:
        self.found, self.batch = found, dict[str, torch.Tensor]()
        self.dtype = torch.float32
        self.masks: dict[int | None, torch.Tensor] = {}
        self.alibi: torch.Tensor | None = None
        self.branched = False

    def take(self, batch: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
        """Begin with other rows."""
        self.batch, self.dtype, self.masks, self.alibi = dict(batch), dtype, {}, None
        # A row with one answer needs no mask, its padding being last.
        self.branched = bool((batch["segments"] == REJECTED).any())
        if self.branched and self.found.alibi:
            self.alibi = _alibi(self.found, batch["position_ids"], dtype)

    def leave(self) -> None:
        """Let the model attend as it does by itself."""
        self.branched = False

    def options(self, window: int | None) -> dict[str, torch.Tensor]:
        """Return what an attention module with this window is given."""
        if not self.branched:
            return {}
        if window not in self.masks:
            segments, positions = self.batch["segments"], self.batch["position_ids"]
            self.masks[window] = attention_mask(segments, positions, window, self.dtype)
        given = {"attention_mask": self.masks[window]}
        return given if self.alibi is None else given | {"alibi": self.alibi}


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Let a model's forward return log-probabilities of answers.

    Inside, `model(**batch)`, with the tensors of a batch of `collation.py`, returns float32 `[rows, 2]`: the sums
    over tokens of the chosen and the rejected answer's log-probabilities, nats. Being the model's forward, it works
    under wrappers that share the work between processes. Any other call, as of `generate`, is the model's own.

    Args:
        model: A causal LM of a known architecture; it has its own forward back afterwards.

    Yields:
        Nothing.

    Raises:
        ArchitectureError: The architecture is unknown.
    """
    found = resolve(model)
    rows = _Rows(found)
    own = model.forward

    def forward(_model: Any, *arguments: Any, **batch: Any) -> Any:
        if "predictors" not in batch:
            rows.leave()
            return own(*arguments, **batch)
        rows.take(batch, next(found.embedding.parameters()).dtype)
        # The library makes no mask of its own where it is given one; BLOOM would make its positions from it.
        given = {} if found.alibi else rows.options(None)
        return _answer_logs(found, batch, given)

    def give(window: int | None) -> Any:
        def hook(_module: nn.Module, arguments: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return arguments, {**options, **rows.options(window)}

        return hook

    handles = [
        layer.attention.register_forward_pre_hook(give(layer.window), with_kwargs=True)
        for layer in found.layers
    ]
    model.forward = MethodType(forward, model)
    try:
        yield
    finally:
        del model.forward
        for handle in handles:
            handle.remove()


def _answer_logs(found: ModelMap, batch: Mapping[str, torch.Tensor], options: dict[str, Any]) -> torch.Tensor:
    rows = len(batch["input_ids"])
    if "position_ids" in signature(found.entry.forward).parameters:
        options["position_ids"] = batch["position_ids"]
    output = found.entry(input_ids=batch["input_ids"], use_cache=False, **options)
    states = output.last_hidden_state.flatten(0, 1)[batch["predictors"]]
    logs = next_token_logs(states, batch["targets"], found.head, found.softcap)
    # A copy, for wrappers that hook into the output must not be given a view.
    return logs.new_zeros(2 * rows).index_add(0, batch["owners"], logs).view(rows, 2).clone()


def attention_mask(
    segments: torch.Tensor, positions: torch.Tensor, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """Return what is added to attention scores.

    Args:
        segments: What each token belongs to, `[rows, length]`.
        positions: Each token's position in its own text, `[rows, length]`.
        window: How many tokens a token sees back, itself included; None where it sees all.
        dtype: The scores' type.

    Returns:
        `[rows, 1, length, length]`: 0, or the type's lowest number where a token (third axis) must not look.
    """
    length = segments.shape[1]
    order = torch.arange(length, device=segments.device)
    of_query, of_key = segments[:, :, None], segments[:, None, :]
    seen = ((of_key == PROMPT) | (of_key == of_query)) & (order[None, None, :] <= order[None, :, None])
    if window is not None:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    # A token of the padding sees at least itself, since no number is the mean of none.
    seen |= torch.eye(length, dtype=torch.bool, device=segments.device)
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def _alibi(found: ModelMap, positions: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return BLOOM's bias by true positions, `[rows * heads, 1, length]`; its own counts tokens of the row."""
    entry: Any = found.entry
    two = torch.ones(1, 2, dtype=torch.long, device=positions.device)
    slopes = entry.build_alibi_tensor(two, entry.num_heads, torch.float32)[:, 0, 1]
    bias: torch.Tensor = slopes[None, :, None, None] * positions[:, None, None, :]
    return bias.flatten(0, 1).to(dtype)
