"""One ordinary forward over a prompt, kept in the parts that transplants are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.models.architecture import resolve
from lingraft.models.reading import capture_with
from lingraft.models.sites import Site

ENTERING = Site("resid_in")


@dataclass(frozen=True, slots=True)
class Prefill:
    """What a prompt's forward left at its last token, and the keys and values of all before it.

    By causality a change at the last token leaves `prefix` as it is, in every layer: one prefill serves all pairs.

    Attributes:
        ids: int64 `[T]`, the prompt.
        prefix: For each layer keys and values `[1, heads, T - 1, head width]` of all tokens but the last.
        last: For each layer keys and values `[1, heads, 1, head width]` of the last token, unpatched.
        entering: `[layers, d_model]`, the last token's residual stream before each layer.
        sites: Site to `[layers, d_model]`: the last token's values there.
        logits: `[V]`, after the last token.
    """

    ids: torch.Tensor
    prefix: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    last: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    entering: torch.Tensor
    sites: dict[Site, torch.Tensor]
    logits: torch.Tensor


@torch.no_grad()
def prefill(model: PreTrainedModel, ids: Sequence[int], sites: Sequence[Site] = ()) -> Prefill:
    """Run a prompt once.

    Args:
        model: A causal LM of a known architecture, in evaluation mode.
        ids: The prompt's tokens, without padding.
        sites: What to keep of the last token.

    Returns:
        What is needed to be a donor (with `sites`) or a receiver.

    Raises:
        ConfigError: The prompt is empty, or longer than the model's context.
        ArchitectureError: The architecture is unknown.
    """
    check_length(model, len(ids))
    found = resolve(model)
    tokens = torch.tensor([list(ids)], device=next(model.parameters()).device)
    # Without a config the cache keeps all keys of sliding layers too; the window is applied where keys are read.
    cache = DynamicCache()
    wanted = [ENTERING, *sites]
    with capture_with(found, wanted, range(len(found.layers)), "last") as captured:
        output = model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    layers: Any = cache.layers
    kept = [(layer.keys, layer.values) for layer in layers]
    return Prefill(
        ids=tokens[0],
        prefix=tuple((keys[:, :, :-1], values[:, :, :-1]) for keys, values in kept),
        last=tuple((keys[:, :, -1:], values[:, :, -1:]) for keys, values in kept),
        entering=captured[ENTERING][:, 0],
        sites={site: captured[site][:, 0] for site in sites},
        logits=output.logits[0, -1],
    )


def check_length(model: PreTrainedModel, tokens: int, new_tokens: int = 0) -> None:
    """Refuse a prompt that the model cannot read.

    Args:
        model: The model.
        tokens: Tokens of the prompt.
        new_tokens: Tokens to be generated after it.

    Raises:
        ConfigError: It has no token, or too many.
    """
    if tokens == 0:
        raise ConfigError("an empty prompt", "at least one token", "give the row a donor and a receiver text")
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and tokens + new_tokens > most:
        raise ConfigError(
            f"a prompt of {tokens} tokens" + (f" and {new_tokens} new ones" if new_tokens else ""),
            f"at most {most}, the model's context",
            "shorten the prompt, or leave that row out",
        )
