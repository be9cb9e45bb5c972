"""The hook points of one model, as `resolve` in `architecture.py` finds and checks them."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class LayerMap:
    """The modules of one layer.

    Attributes:
        index: The layer's number, from 0.
        layer: The whole layer; its output is the residual stream after it.
        attention: The attention module.
        mlp: The feed-forward module.
        attention_contribution: The module whose output goes into the residual: a post-norm, or attention itself.
        mlp_contribution: The same for the mlp.
        projections: Attention's projections by role: `q`, `k`, `v` (or fused `qkv`) and `o`.
        window: How many tokens the layer's attention sees back; None where it sees all.
    """

    index: int
    layer: nn.Module
    attention: nn.Module
    mlp: nn.Module
    attention_contribution: nn.Module
    mlp_contribution: nn.Module
    projections: dict[str, nn.Module]
    window: int | None


@dataclass(frozen=True, slots=True)
class ModelMap:
    """A model's hook points, resolved and checked.

    Attributes:
        model_type: The architecture's name in its config.
        entry: The module whose forward takes `input_ids` and the 2-D attention mask.
        embedding: The input embedding.
        layers: The layers in order.
        final_norm: The norm between the last layer and the head.
        head: The head's linear map, without the soft cap: see `logits_of`.
        softcap: Gemma's cap on logits, `cap * tanh(logits / cap)`; None where there is none.
        parallel: Whether attention and mlp both read the layer's input, so that a patch of attention does not
            reach the mlp of its layer.
        residual_inside: Whether attention and mlp return their contribution plus the residual.
        alibi: Whether positions enter as a bias on attention scores.
        d_model: Width of the residual stream.
    """

    model_type: str
    entry: nn.Module
    embedding: nn.Module
    layers: tuple[LayerMap, ...]
    final_norm: nn.Module
    head: nn.Module
    softcap: float | None
    parallel: bool
    residual_inside: bool
    alibi: bool
    d_model: int

    def logits_of(self, normed: torch.Tensor) -> torch.Tensor:
        """Return logits `[..., rows]` for normed states `[..., d_model]`: head, then soft cap where there is one."""
        logits: torch.Tensor = self.head(normed)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)
