"""The released algorithm, plainly: one hook and one ordinary forward for every pair. What the fast path must equal."""

from collections.abc import Sequence
from typing import Any

import torch

from lingraft.models.hooks import Patch, capture, patch
from lingraft.models.sites import Site


def donor_values(model: Any, ids: Sequence[int], site: Site) -> torch.Tensor:
    """`[layers, d_model]` of the prompt's last token."""
    tokens = torch.tensor([list(ids)])
    with torch.no_grad(), capture(model, [site]) as captured:
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    return captured[site][:, 0]


def put_at(site: Site) -> Site:
    """The released code takes attention plus residual, and puts it where attention alone was."""
    return Site("attn", "contribution") if site.name == "attn_official" else site


def naive_logits(
    model: Any, ids: Sequence[int], value: torch.Tensor, site: Site, layer: int, combine: Any
) -> Any:
    """`[V]` after one patched forward over the whole prompt."""
    tokens = torch.tensor([list(ids)])

    def combined(own: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
        return combine(own, donor)

    with torch.no_grad(), patch(model, [Patch(put_at(site), layer, value[None], combine=combined)]):
        return model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits[0, -1]


def naive_generate(
    model: Any,
    ids: Sequence[int],
    value: torch.Tensor,
    site: Site,
    layer: int,
    new_tokens: int,
    **options: Any,
) -> list[int]:
    """Greedy tokens of transformers' own `generate`, patched during the prefill only."""
    tokens = torch.tensor([list(ids)])
    with torch.no_grad(), patch(model, [Patch(put_at(site), layer, value[None])]):
        output = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new_tokens,
            do_sample=False,
            **options,
        )
    return output[0, tokens.shape[1] :].tolist()
