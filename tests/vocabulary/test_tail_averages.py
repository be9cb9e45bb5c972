"""Weights averaged over the last steps: which steps, what mean, and that the training is left alone."""

import copy
from dataclasses import replace

import pytest
import torch

from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.training.causal import train_causal
from lingraft.training.packing import block_order
from lingraft.vocabulary.probe import ProbeSettings, run_probe, shuffled_blocks
from lingraft.vocabulary.tail_averages import TailAverages, tail_steps

TEXTS = ["etxea zuria da", "ura garbia da eta hotza"] * 40
SETTINGS = ProbeSettings(
    batch_size=2, block_length=16, learning_rate=1e-2, warmup_steps=1, precision="float32"
)


@pytest.mark.parametrize(
    ("step", "share", "expected"),
    [
        (0, 0.2, (0,)),
        (4, 0.2, (4,)),
        (7, 0, (7,)),
        (10, 0.25, (9, 10)),
        (5, 1, (1, 2, 3, 4, 5)),
        # 33 steps, so every third: 11 of them.
        (165, 0.2, tuple(range(135, 166, 3))),
    ],
)
def test_the_tail_of_a_step(step, share, expected):
    assert tail_steps(step, share) == expected


def test_a_tail_is_never_summed_over_more_than_sixteen_steps():
    for step in (80, 81, 500, 517, 5000):
        tail = tail_steps(step, 0.2)
        assert len(tail) <= 16 and tail[-1] == step and tail[0] > 0.8 * step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_is_in_float32_and_the_model_gets_its_own_weights_back(dtype):
    model = torch.nn.Linear(3, 2, bias=False).to(dtype)
    averages = TailAverages([3, 6], share=0.5)
    assert averages.steps == [3, 4, 5, 6]
    # 1 and 1 + 1/128 are neighbours in bfloat16. Their mean, 1.0052, rounds to the upper; summed in bfloat16 they would
    # round to 2 and 3 on the way, and give the lower.
    for step, value in ((3, 5.0), (4, 1.0), (5, 1.0078125), (6, 1.0078125)):
        torch.nn.init.constant_(model.weight, value)
        averages.add(step, model)
    with averages.scored_weights(6, model):
        expected = 1.0078125 if dtype is torch.bfloat16 else 3.015625 / 3
        torch.testing.assert_close(model.weight, torch.full((2, 3), expected, dtype=dtype), rtol=1e-6, atol=0)
    assert torch.equal(model.weight, torch.full((2, 3), 1.0078125, dtype=dtype))
    torch.nn.init.constant_(model.weight, 7.0)
    with averages.scored_weights(3, model):
        assert torch.equal(model.weight, torch.full((2, 3), 7.0, dtype=dtype)), "one step is no mean"


@pytest.mark.parametrize("tied", [True, False])
def test_a_probe_scores_the_mean_weights_and_trains_as_without(make_tiny_llama, unigram_tokenizer, tied):
    tokenizer = unigram_tokenizer
    model = make_tiny_llama(len(tokenizer), tied=tied)
    blocks = shuffled_blocks(TEXTS, tokenizer, 16, 3)[:12]
    held_out = {"target": ["ura zuria da", "etxea"]}
    plain = run_probe(
        model, tokenizer, blocks, held_out, replace(SETTINGS, averaged_share=0), steps=[6], seed=3
    )
    averaged = run_probe(
        model, tokenizer, blocks, held_out, replace(SETTINGS, averaged_share=0.5), steps=[3, 6], seed=3
    )
    assert averaged["losses"] == plain["losses"]
    assert averaged["scores"][0] == plain["scores"][0]

    weights = {}
    trained = copy.deepcopy(model)

    def keep(step, current):
        weights[step] = {name: value.clone() for name, value in current.state_dict().items()}
        return {}

    arranged = torch.empty(blocks.shape, dtype=torch.int32).numpy()
    arranged[block_order(len(blocks), len(blocks), 3)] = blocks
    train_causal(
        trained,
        arranged,
        output_dir=None,
        steps=6,
        batch_size=2,
        learning_rate=1e-2,
        warmup_steps=1,
        schedule="constant",
        precision="float32",
        seed=3,
        evaluate_at=range(7),
        evaluate=keep,
        progress=False,
    )
    mean = {name: (weights[4][name] + weights[5][name] + weights[6][name]) / 3 for name in weights[6]}
    scores = []
    for state in (mean, weights[6]):
        trained.load_state_dict(state)
        scores.append(bits_per_byte(trained, tokenizer, held_out["target"], precision="model").bits_per_byte)
    assert averaged["scores"][6]["target"] == pytest.approx(scores[0], rel=1e-5)
    assert plain["scores"][6]["target"] == pytest.approx(scores[1], rel=1e-6)
    assert abs(scores[0] - scores[1]) > 1e-3
