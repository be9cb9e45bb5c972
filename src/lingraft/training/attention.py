"""Attention for training on a CPU: the library's kernel forward, plain matrix products backward.

On a CPU the backward pass of PyTorch's fused attention kernel takes longer than the five matrix products that it stands
for, a few queries at a time, while their scores fit in the caches. The result is the same up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "lingraft_cpu"
BLOCK = 96
"""Queries whose scores are computed together in the backward pass."""
LONGEST = 1024
"""Tokens up to which the scores are worth keeping: beyond, the fused kernel's blocks win."""


class _Attention(torch.autograd.Function):
    """Attention of grouped queries without dropout: causal, or with a mask that is added to the scores."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        grouped = query.shape[1] != key.shape[1]
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
        )
        ctx.save_for_backward(query, key, value, out, mask)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, out, mask = ctx.saved_tensors
        rows, heads, length, width = query.shape
        kept = key.shape[1]
        dtype, wide = query.dtype, torch.promote_types(query.dtype, torch.float32)
        # Queries that share keys lie beside each other: one matrix product serves the whole group.
        shape = (rows, kept, heads // kept, length, width)
        query_g, grad_g = query.reshape(shape), gradients[0].reshape(shape)
        along = (gradients[0].to(wide) * out.to(wide)).sum(-1, keepdim=True).view(*shape[:4], 1)
        bias, causal = _bias(mask, shape, wide, query.device)
        grad_query = torch.empty(shape, dtype=dtype, device=query.device)
        grad_key, grad_value = torch.zeros_like(key, dtype=wide), torch.zeros_like(value, dtype=wide)
        # A few queries at a time: their scores stay in the caches, and keys that come after all of them cost nothing.
        for begin in range(0, length, BLOCK):
            some = slice(begin, min(begin + BLOCK, length))
            seen = slice(0, some.stop if causal else length)
            keys, values = key[:, :, seen].flatten(0, 1), value[:, :, seen].flatten(0, 1)
            asked = query_g[:, :, :, some].reshape(rows * kept, -1, width)
            given = grad_g[:, :, :, some].reshape(rows * kept, -1, width)
            size = (rows, kept, heads // kept, some.stop - begin, keys.shape[1])
            scores = (asked @ keys.transpose(1, 2)).view(size)
            shares = torch.add(bias[..., some, seen], scores, alpha=ctx.scale).softmax(-1)
            grad_shares = (given @ values.transpose(1, 2)).view(size) - along[:, :, :, some]
            grad_scores = grad_shares.mul_(shares).to(dtype).view(rows * kept, -1, size[-1])
            narrow = shares.to(dtype).view(rows * kept, -1, size[-1])
            grad_value[:, :, seen] += (narrow.transpose(1, 2) @ given).view(rows, kept, -1, width)
            grad_key[:, :, seen] += (grad_scores.transpose(1, 2) @ asked).view(rows, kept, -1, width)
            grad_query[:, :, :, some] = (grad_scores @ keys).view(*size[:4], width)
        return (
            grad_query.mul_(ctx.scale).view_as(query),
            grad_key.mul_(ctx.scale).to(dtype),
            grad_value.to(dtype),
            None,
            None,
        )


def _bias(
    mask: torch.Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, bool]:
    """Return what is added to scores, and whether it hides all that follows; `shape` is that of grouped queries."""
    rows, kept, group, length, _ = shape
    if mask is None:
        future = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=device).triu_(1)
        return future, True
    causal = not bool((mask > torch.finfo(mask.dtype).min / 2).triu(1).any())
    grouped = (
        mask[:, :, None]
        if mask.shape[1] == 1
        else mask.expand(rows, -1, -1, -1).reshape(rows, kept, group, length, length)
    )
    return grouped.to(dtype), causal


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    masked = attention_mask is not None and attention_mask.is_floating_point()
    plain = (masked or (attention_mask is None and causal)) and not dropout and query.shape[2] == key.shape[2]
    fits = torch.is_grad_enabled() and 1 < query.shape[2] <= LONGEST and query.device.type == "cpu"
    known = not any(options.get(name) is not None for name in ("softcap", "position_bias", "cache"))
    if not (plain and fits and known and query.shape[3] == value.shape[3]):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **options
        )
    if torch.is_autocast_enabled("cpu"):
        # What autocast does for the library's kernel: rotary embeddings have made queries and keys float32.
        narrow = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(narrow), key.to(narrow), value.to(narrow)
        attention_mask = None if attention_mask is None else attention_mask.to(narrow)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    out = _Attention.apply(query, key, value, scale, attention_mask)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2).contiguous(), None


@contextmanager
def cpu_attention(model: Any) -> Iterator[None]:
    """Let a model that is on the CPU and uses PyTorch's fused attention train with this one.

    Args:
        model: A transformers model; it has its own attention back afterwards.

    Yields:
        Nothing.
    """
    device = next(model.parameters()).device.type
    if device != "cpu" or model.config._attn_implementation != "sdpa":
        yield
        return
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")
