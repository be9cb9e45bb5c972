"""Stage `merge` on tiny models: each method, and what its settings refuse."""

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lingraft.recipes.stages.merge import KIND


@pytest.fixture
def models(tmp_path, monkeypatch, make_tiny_llama, byte_bpe_tokenizer):
    for seed, name in enumerate(("base", "tuned", "target")):
        make_tiny_llama(600, layers=3, seed=seed).save_pretrained(tmp_path / name)
        byte_bpe_tokenizer.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)


def weights(directory):
    return load_file(f"{directory}/model.safetensors")


def test_interpolate(models, staged):
    result, page = staged(KIND, base="base", tuned="tuned", weight=0.25)
    one, two, merged = weights("base"), weights("tuned"), weights("out/model")
    assert all(
        (merged[key] == (0.75 * one[key].double() + 0.25 * two[key].double()).float()).all() for key in one
    )
    AutoModelForCausalLM.from_pretrained("out/model")
    assert "Merged by interpolate, without training" in page and "Layer by layer" in page
    assert "seconds" not in result.metrics
    parts = [row[0] for row in result.metrics["layers"]]
    assert parts == ["layer 0", "layer 1", "layer 2", "outside the layers"]


def test_layer_swap(models, staged):
    result, page = staged(
        KIND, method="layer-swap", language_model="tuned", task_model="base", bottom=1, top=1, outside="task"
    )
    one, two, merged = weights("base"), weights("tuned"), weights("out/model")
    for key, value in merged.items():
        owner = two if ".layers.0." in key or ".layers.2." in key else one
        assert (value == owner[key]).all()
    assert "layer 1" in page and result.counts["tensors"]


def test_chat_vector(models, staged):
    given = {"target": "target", "chat": "tuned", "base": "base"}
    staged(KIND, method="chat-vector", scale=0.5, **given)
    base, chat, target, merged = (weights(name) for name in ("base", "tuned", "target", "out/model"))
    key = "model.layers.1.mlp.up_proj.weight"
    expected = target[key].double() + 0.5 * (chat[key].double() - base[key].double())
    assert (merged[key] == expected.float()).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "interpolate needs base, tuned: add base, tuned .for instance `base: stage:NAME`"),
        ({"base": "b", "tuned": "t", "scale": 2}, "interpolate has no scale: it takes base, tuned, weight"),
        ({"method": "layer-swap", "language_model": "a", "task_model": "b"}, "add bottom, top$"),
        ({"method": "chat-vector", "target": "a", "chat": "b"}, "add base "),
        (
            {"base": "b", "tuned": "t", "tokenizer_from": "chat"},
            "tokenizer_from of interpolate is tuned or base, not chat",
        ),
        ({"method": "slerp"}, "interpolate"),
        ({"base": "b", "tuned": "t", "weight": 2}, "less than or equal to 1"),
    ],
)
def test_settings_that_do_not_fit(given, said):
    with pytest.raises(ValidationError) as raised:
        KIND.settings.model_validate(given)
    import re

    assert re.search(said, raised.value.errors()[0]["msg"]), raised.value
