"""A fixed pair at inference: batched and padded equals one by one, and only prefills are touched."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import donor_values, naive_generate

from lingraft.errors import ConfigError
from lingraft.models.sites import Site
from lingraft.patching.engine import transplant_all
from lingraft.patching.generate import answer_plainly, donor_states, generate, transplant
from lingraft.patching.pairs import all_pairs
from lingraft.patching.prefill import prefill

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

RECEIVERS = ["Ireki dokumentua eta aukeratu", "Zer moduz zaude gaur 안녕?", "Taula"]
DONORS = ["Open the document", "How are you today?", "A table of contents lists"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_world.byte_bpe_tokenizer()


def test_a_penalty_of_the_checkpoint_has_no_part_in_greedy_answers(
    tiny: Callable[..., Any], tokenizer: Any
) -> None:
    """Some checkpoints' generation config holds one, which `generate` would add; sweeps take the likeliest token."""
    model = tiny("llama")
    given = {"site": "ffn", "donor_layer": 2, "receiver_layer": 1, "new_tokens": 12}
    expected = generate(model, tokenizer, RECEIVERS, DONORS, **given)
    plainly = answer_plainly(model, tokenizer, RECEIVERS, new_tokens=12)
    settings = model.generation_config
    settings.repetition_penalty, settings.no_repeat_ngram_size = 1.8, 1
    assert generate(model, tokenizer, RECEIVERS, DONORS, **given) == expected
    assert answer_plainly(model, tokenizer, RECEIVERS, new_tokens=12) == plainly
    assert model.generation_config is settings and settings.repetition_penalty == 1.8


@pytest.mark.parametrize("site", ["ffn", "attn", "attn_official"])
def test_a_padded_batch_equals_one_prompt_at_a_time(
    tiny: Callable[..., Any], architecture: str, tokenizer: Any, site: Any
) -> None:
    """Unequal lengths on both sides; also what the engine's rows say for the same pair."""
    model = tiny(architecture)
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    found = generate(
        model, tokenizer, RECEIVERS, DONORS, site=site, donor_layer=2, receiver_layer=1, new_tokens=6
    )
    for answer, receiver, donor in zip(found, RECEIVERS, DONORS, strict=True):
        ids, donor_ids = tokenizer(receiver)["input_ids"], tokenizer(donor)["input_ids"]
        value = donor_values(model, donor_ids, Site(site))[2]
        expected = naive_generate(model, ids, value, Site(site), 1, 6)
        assert answer == tokenizer.decode(expected, skip_special_tokens=True)
        pairs = all_pairs(3, donor_layers=[2], receiver_layers=[1])
        states = prefill(model, donor_ids, [Site(site)])
        assert transplant_all(model, prefill(model, ids), [states], pairs, [Site(site)]).greedy(6) == [
            expected
        ]


def test_padding_on_either_side_agrees(tiny: Callable[..., Any], architecture: str) -> None:
    model = tiny(architecture)
    short, long, values = [9, 31, 77, 200], [5, 88, 131, 402, 19, 7], torch.randn(2, 32)
    logits = {}
    for side in ("left", "right"):
        fill, zeros = [0] * 2, [0] * 2
        ids = [fill + short if side == "left" else short + fill, long]
        mask = [zeros + [1] * 4 if side == "left" else [1] * 4 + zeros, [1] * 6]
        position = [5, 5] if side == "left" else [3, 5]
        with torch.no_grad(), transplant(model, values, site="ffn", receiver_layer=1):
            places = (torch.tensor(mask).cumsum(dim=1) - 1).clamp_min(0)
            extra = {} if architecture == "bloom" else {"position_ids": places}
            output = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), **extra)
        logits[side] = output.logits[torch.arange(2), torch.tensor(position)]
    torch.testing.assert_close(logits["left"], logits["right"], rtol=1e-4, atol=1e-4)


def test_every_prefill_in_the_block_and_no_decoding_step(tiny: Callable[..., Any], tokenizer: Any) -> None:
    """Two calls of generate in one block give what two blocks give."""
    model = tiny("llama")
    values = donor_states(model, tokenizer, DONORS[:1], site="ffn", layer=2)
    ids = torch.tensor([tokenizer(RECEIVERS[0])["input_ids"]])
    options = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    with transplant(model, values, site="ffn", receiver_layer=1):
        both = [model.generate(ids, **options).tolist() for _ in range(2)]
    expected = naive_generate(model, ids[0].tolist(), values[0], Site("ffn"), 1, 5)
    assert both[0] == both[1] == [ids[0].tolist() + expected]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_hooks_are_gone_after_an_error(tiny: Callable[..., Any]) -> None:
    model = tiny("gpt2")
    values = torch.zeros(2, 32)
    with (
        pytest.raises(ConfigError, match="2 donors for a batch of 1"),
        torch.no_grad(),
        transplant(model, values, site="attn", receiver_layer=0),
    ):
        model(input_ids=torch.tensor([[4, 5]]))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_is_refused(tiny: Callable[..., Any], tokenizer: Any) -> None:
    model = tiny("llama")
    pair: dict[str, Any] = {"site": "ffn", "donor_layer": 0, "receiver_layer": 1}
    with pytest.raises(ConfigError, match="3 receivers and 2 donors"):
        generate(model, tokenizer, RECEIVERS, DONORS[:2], **pair)
    with pytest.raises(ConfigError, match="layer 3; expected 0 to 2"):
        generate(model, tokenizer, RECEIVERS, DONORS, **pair | {"receiver_layer": 3})
    with pytest.raises(ConfigError, match="an empty prompt"):
        generate(model, tokenizer, ["", "x"], ["y", "z"], **pair)
    with pytest.raises(ConfigError, match="--site mlp; expected one of ffn"):
        generate(model, tokenizer, ["x"], ["y"], **pair | {"site": "mlp"})
