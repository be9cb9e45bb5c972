"""Names of places in the residual stream, and which tokens of a batch are meant."""

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lingraft.errors import ConfigError, ModelError

SiteName = Literal["attn", "ffn", "resid", "resid_in", "attn_official"]
View = Literal["output", "contribution"]
SITES: tuple[str, ...] = ("attn", "ffn", "resid", "resid_in", "attn_official")
Positions = Literal["last", "all"] | torch.Tensor
"""`last`: the last token that the attention mask lets through, `[batch]`; `all`; or token indices `[batch]` or
`[batch, k]` within the tokens of the forward call."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place where every layer's activations can be read or replaced; each has width d_model.

    `attn`, `ffn`: attention or feed-forward, as `output` or as `contribution`. `output` is what the module
    returns: before the post-norm in Gemma 2/3 and OLMo 2, and with the residual added in BLOOM.
    `contribution` is what the residual stream gains: after the post-norm, and in BLOOM without the residual.
    Elsewhere the two are one. `resid_in`, `resid`: the residual stream before and after the layer.
    `attn_official`: attention's contribution plus the residual before it, which the released XTransplant code
    stores as its attention activation (where it puts it: `lingraft.patching.sites`); in parallel
    architectures no module reads that sum.

    Attributes:
        name: One of `SITES`.
        view: `output` or `contribution`; only `attn` and `ffn` differ.
    """

    name: SiteName
    view: View = "output"

    def __post_init__(self) -> None:
        if self.name not in SITES or self.view not in ("output", "contribution"):
            raise ConfigError(
                f"site {self.name!r} in view {self.view!r}",
                f"one of {', '.join(SITES)}, in view output or contribution",
                "correct the site's name",
            )


def check_layers(layers: Any, count: int) -> tuple[int, ...]:
    """Return the layer numbers in the order given.

    Args:
        layers: Layer numbers from 0.
        count: How many layers the model has.

    Returns:
        The same numbers.

    Raises:
        ConfigError: A number is no layer of the model; negative ones are refused too.
    """
    chosen = tuple(int(layer) for layer in layers)
    wrong = [layer for layer in chosen if not 0 <= layer < count]
    if wrong:
        raise ConfigError(
            f"layer {wrong[0]}", f"0 to {count - 1}, as the model has {count}", "give another layer"
        )
    return chosen


def call_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name.

    Args:
        module: The called module.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        Names to values, only those given.
    """
    bound = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
    return {**bound.pop("kwargs", {}), **bound}


def resolve_positions(
    positions: Positions, arguments: dict[str, Any], padding_id: int | None
) -> torch.Tensor | None:
    """Return token indices `[batch, k]` within one forward call.

    The last token is found from the attention mask, with padding on either side and with a cache, whose tokens the
    mask covers too. Without a mask the model attends to all, so the last token is the last column; padding ids at
    an edge then mean that a mask was forgotten.

    Args:
        positions: What is wanted.
        arguments: The call's arguments by name.
        padding_id: The model's padding id, if it has one.

    Returns:
        Indices, or None for all tokens.

    Raises:
        ModelError: The last token cannot be told, or is not among the call's tokens; or indices are out of range.
    """
    if isinstance(positions, str) and positions == "all":
        return None
    ids, embeds = arguments.get("input_ids"), arguments.get("inputs_embeds")
    tokens = ids if ids is not None else embeds
    if tokens is None:
        raise ModelError(
            "a forward call without tokens", "input_ids or inputs_embeds", "pass one of them by name"
        )
    batch, length = int(tokens.shape[0]), int(tokens.shape[1])
    if isinstance(positions, torch.Tensor):
        given = positions.to(tokens.device).long()
        given = given[:, None] if given.dim() == 1 else given
        if given.dim() != 2 or given.shape[0] != batch or bool(((given < 0) | (given >= length)).any()):
            raise ModelError(
                f"positions {positions.tolist()}",
                f"[batch] or [batch, k] indices of {batch} rows from 0 to {length - 1}",
                "count positions within the tokens of the forward call",
            )
        return given
    if positions != "last":
        raise ConfigError(f"positions {positions!r}", "last, all or a tensor of indices", "give one of these")
    mask = arguments.get("attention_mask")
    if mask is None:
        edges = ids[:, [0, -1]] if ids is not None else None
        if edges is not None and batch > 1 and padding_id is not None and bool((edges == padding_id).any()):
            raise ModelError(
                "padded input_ids without an attention mask", "the mask of the batch", "pass attention_mask"
            )
        return torch.full((batch, 1), length - 1, device=tokens.device)
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2:
        raise ModelError(
            "an attention mask that is not [batch, tokens]",
            "a 2-D mask, to find the last token by",
            "give positions as a tensor of indices",
        )
    return _last_attended(mask.to(tokens.device), length)


def _last_attended(mask: torch.Tensor, length: int) -> torch.Tensor:
    """Return `[batch, 1]` indices of the last token let through, within the call's `length` last columns."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask.bool(), columns, -1).max(dim=1, keepdim=True).values
    within = last - (mask.shape[1] - length)
    if bool((within < 0).any()):
        row = int((within < 0).flatten().nonzero()[0])
        raise ModelError(
            f"row {row} of the batch attends to none of the call's {length} tokens",
            "the last prompt token among them",
            "pass the mask of the whole sequence, cached tokens included, or give positions as a tensor",
        )
    return within
