"""Answers drawn from the unpatched model: their frequencies, seeds, and the donors of other rows."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lingraft.errors import ConfigError
from lingraft.patching.engine import plain_rows
from lingraft.patching.instances import Instance, shuffle_donors
from lingraft.patching.prefill import prefill
from lingraft.patching.prompts import encode_prompt
from lingraft.patching.sampling import sample_answers
from lingraft.patching.sweep import SweepSettings, sweep_instance

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

INSTANCE = Instance(
    id="größe", donor=("Open it",), receiver="Ireki dokumentua 안녕", options=(" a", " taula"), answers=(1,)
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_world.byte_bpe_tokenizer()


def draw(model: Any, tokenizer: Any, score: Any, samples: int, **more: Any) -> Any:
    """The options are 1 or 2 tokens long; the right first token is the likeliest, so that it is drawn at all."""
    prompt = encode_prompt(tokenizer, INSTANCE)
    rows = plain_rows(model, prefill(model, prompt.receiver))
    prompt = replace(prompt, answers=(int(rows.logits[0].argmax()),))
    options = {"temperature": 1.0, "seed": 3, "new_tokens": 4, "ends": (), "judge": None, "chunk": 7} | more
    return sample_answers(rows, prompt, score, samples=samples, tokenizer=tokenizer, **options)


def test_frequencies_are_the_models_probabilities(tiny: Callable[..., Any], tokenizer: Any) -> None:
    """20,000 draws: the standard error is below 0.004, so 0.02 is five of them."""
    model = tiny("qwen2")
    prompt = encode_prompt(tokenizer, INSTANCE)
    rows = plain_rows(model, prefill(model, prompt.receiver))
    for temperature in (3.0, 20.0):
        first = torch.softmax(rows.logits[0].float() / temperature, -1).max()
        among = torch.softmax(rows.log_likelihoods(prompt.options)[0] / temperature, -1)[1]
        for score, chance in (("first-token", first), ("options", among)):
            drawn = draw(model, tokenizer, score, 20_000, temperature=temperature)
            assert drawn.shape == (20_000,) and abs(drawn.mean() - float(chance)) < 0.02
        assert 0.001 < float(among) < 0.999
    assert 0.1 < float(among) < 0.9


def test_texts_differ_between_draws_and_not_between_runs(tiny: Callable[..., Any], tokenizer: Any) -> None:
    seen: list[str] = []

    def judge(texts: Any) -> Any:
        seen.extend(texts)
        return [text.startswith(texts[0][:1]) for text in texts]

    model = tiny("gemma3_text")
    once = draw(model, tokenizer, "generate", 24, judge=judge, temperature=3.0)
    first = list(seen)
    seen.clear()
    again = draw(model, tokenizer, "generate", 24, judge=judge, temperature=3.0)
    assert first == seen and (once == again).all() and len(set(first)) > 12
    seen.clear()
    draw(model, tokenizer, "generate", 24, judge=judge, temperature=3.0, seed=4)
    assert first != seen
    # Nearly without temperature every draw is the greedy text.
    seen.clear()
    draw(model, tokenizer, "generate", 5, judge=judge, temperature=1e-4)
    assert len(set(seen)) == 1


def test_a_sweep_has_samples_only_where_asked_and_known(tiny: Callable[..., Any], tokenizer: Any) -> None:
    model = tiny("llama")
    settings = SweepSettings(score="options", samples=9, donor_layers=(1,), receiver_layers=(2,))
    known = encode_prompt(tokenizer, INSTANCE)
    found = sweep_instance(model, tokenizer, known, settings)
    assert found.samples is not None and found.samples.shape == (9,)
    unknown = encode_prompt(tokenizer, replace(INSTANCE, answers=()))
    assert sweep_instance(model, tokenizer, unknown, settings).samples is None
    assert sweep_instance(model, tokenizer, known, replace(settings, samples=0)).samples is None
    with pytest.raises(ConfigError, match="--temperature 0"):
        SweepSettings(temperature=0.0)


def test_shuffled_donors_stay_in_their_language_and_never_at_home() -> None:
    rows = [
        Instance(
            id=f"{language}{number}", donor=(f"{language} donor {number}",), receiver="x", language=language
        )
        for number in range(7)
        for language in ("sw", "eu")
    ]
    for seed in range(20):
        mixed = shuffle_donors(rows, seed)
        assert [row.id for row in mixed] == [row.id for row in rows]
        assert all(new.donor != old.donor for new, old in zip(mixed, rows, strict=True))
        assert all(row.donor[0].startswith(row.language) for row in mixed)
        assert {row.donor for row in mixed} == {row.donor for row in rows}
    assert shuffle_donors(rows, 1) != shuffle_donors(rows, 2)
    assert shuffle_donors(rows, 1) == shuffle_donors(rows, 1)
    with pytest.raises(ConfigError, match="one instance of language 'sw'"):
        shuffle_donors(rows[:1], 0)
    assert np.all([row.receiver == "x" for row in mixed])
