"""Draws for the sampled control."""

import math

import torch

from lingraft.patching.sampling import draw


def test_draws_have_the_softmax_frequencies_and_skip_the_impossible():
    """4 tokens at temperature 2: exp(l/2) gives 1, 2, 0 and 5 eighths; 40,000 draws lie within 5 standard errors."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.tensor([[math.log(1.0), math.log(2.0), -math.inf, math.log(5.0)]])
    drawn = draw(logits.expand(40_000, -1), 2.0, generator)
    shares = torch.bincount(drawn, minlength=4) / 40_000
    assert shares[2] == 0
    for token, expected in ((0, 1 / 8), (1, 2 / 8), (3, 5 / 8)):
        assert abs(float(shares[token]) - expected) < 5 * math.sqrt(expected * (1 - expected) / 40_000)


def test_a_height_at_the_very_top_stays_on_the_last_possible_token(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
    logits = torch.tensor([[0.0, 1.0, -math.inf], [3.0, -math.inf, -math.inf]])
    assert draw(logits, 1.0, torch.Generator()).tolist() == [1, 0]


def test_bfloat16_rows_differ_from_each_other():
    drawn = draw(torch.zeros(64, 1000, dtype=torch.bfloat16), 1.0, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) > 50
