"""Real models and prompts: a sample of a map's pairs against one hook and one ordinary `generate` each.

All pairs: benchmarks/patching_exactness.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import donor_values, naive_generate, naive_logits

from lingraft.models.loading import load_model
from lingraft.patching.engine import transplant_all
from lingraft.patching.generate import generate
from lingraft.patching.pairs import Pairs, all_pairs
from lingraft.patching.prefill import prefill
from lingraft.patching.sites import PATCH_SITES, replace

SITES = [PATCH_SITES[name] for name in ("ffn", "attn", "attn_official")]


def prompts(directory: Path, count: int) -> list[tuple[str, str]]:
    """English and Swahili XNLI prompts."""
    rows = [
        [
            json.loads(line)
            for line in (directory / f"{language}.json").read_text(encoding="utf-8").splitlines()
        ]
        for language in ("en", "sw")
    ]
    return list(zip(*(row[:count] for row in rows), strict=True))


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("asset", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_real_maps(asset: str, real_asset: Callable[[str], Path], shared_data: Callable[[str], Path]) -> None:
    loaded = load_model(str(real_asset(asset)), dtype="float32", device="cpu")
    model, tokenizer = loaded.model, loaded.tokenizer
    rows = prompts(shared_data("xtransplant/XNLI_sample/split"), 3)
    donor, receiver = (tokenizer(text)["input_ids"] for text in rows[2])
    layers = model.config.num_hidden_layers
    every = all_pairs(layers, sites=3)
    chosen = np.sort(np.random.default_rng(7).choice(len(every), 8, replace=False))
    pairs = Pairs(
        *(getattr(every, name)[chosen] for name in ("site", "donor", "donor_layer", "receiver_layer"))
    )
    found = transplant_all(model, prefill(model, receiver), [prefill(model, donor, SITES)], pairs, SITES)
    logits = found.logits.clone()
    texts = found.greedy(6)
    values: dict[Any, torch.Tensor] = {site: donor_values(model, donor, site) for site in SITES}
    for row in range(len(pairs)):
        site, layer = SITES[pairs.site[row]], int(pairs.receiver_layer[row])
        value = values[site][pairs.donor_layer[row]]
        plain = naive_logits(model, receiver, value, site, layer, replace)
        assert float((plain - logits[row]).abs().max() / plain.abs().max()) < 1e-4
        assert int(plain.argmax()) == int(logits[row].argmax())
        assert naive_generate(model, receiver, value, site, layer, 6, eos_token_id=None) == texts[row]


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("asset", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_padded_batches_say_what_single_prompts_say(
    asset: str, real_asset: Callable[[str], Path], shared_data: Callable[[str], Path]
) -> None:
    """Prompts of unequal lengths together and alone, whatever side the tokenizer pads on."""
    loaded = load_model(str(real_asset(asset)), dtype="float32", device="cpu")
    rows = prompts(shared_data("xtransplant/XNLI_sample/split"), 3)
    donors, receivers = [row[0] for row in rows], [row[1] for row in rows]
    fixed: dict[str, Any] = {"site": "ffn", "donor_layer": 9, "receiver_layer": 4, "new_tokens": 6}
    alone = [
        generate(loaded.model, loaded.tokenizer, [receiver], [donor], **fixed)[0]
        for donor, receiver in zip(donors, receivers, strict=True)
    ]
    for side in ("left", "right"):
        loaded.tokenizer.padding_side = side
        assert generate(loaded.model, loaded.tokenizer, receivers, donors, batch_size=3, **fixed) == alone
