"""Trainings of models that are named otherwise on disk than in memory go on with all of their weights."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    PretrainedConfig,
)

from lingraft.errors import TrainingError
from lingraft.training.causal import train_causal

sys.path.insert(0, str(Path(__file__).parent))
from tiny import blocks, tiny_llama

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def gemma3() -> PretrainedConfig:
    text = SIZES | {"num_key_value_heads": 2, "head_dim": 6, "sliding_window": 6, "pad_token_id": 0}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"image_token_index": 60, "boi_token_index": 59, "eoi_token_index": 58, "mm_tokens_per_image": 4}
    return Gemma3Config(
        text_config=text, vision_config=vision | {"image_size": 28, "patch_size": 14}, **tokens
    )


CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES),
    "gemma3": gemma3,
    "mixtral": lambda: MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=2),
    "llama_tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
}
OPTIONS: dict[str, Any] = {"steps": 6, "batch_size": 2, "learning_rate": 5e-3, "save_every": 2}


def build(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]())


class Stopped(Exception):
    """In the place of a power cut."""


def stop(step: int, model: Any) -> dict[str, float]:
    raise Stopped


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_it_ends_the_same(name: str, precision: str, tmp_path: Path) -> None:
    options = OPTIONS | {"precision": precision}
    whole = build(name)
    losses = train_causal(whole, blocks(), **options).losses
    with pytest.raises(Stopped):
        train_causal(build(name), blocks(), output_dir=tmp_path, evaluate_at=[5], evaluate=stop, **options)
    resumed = build(name)
    found = train_causal(resumed, blocks(), output_dir=tmp_path, **options)
    assert found.resumed_from == 4 and (found.losses == losses).all()
    for (key, value), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(value, other), key


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_causal(
            build("gpt_neox"), blocks(), output_dir=tmp_path, evaluate_at=[5], evaluate=stop, **OPTIONS
        )
    file = tmp_path / "checkpoint-4" / "model.safetensors"
    kept = load_file(file)
    save_file({name.replace("lm_head", "embed_out"): value for name, value in kept.items()}, file)
    with pytest.raises(TrainingError, match=r"other weights than the model's, such as lm_head\.weight"):
        train_causal(build("gpt_neox"), blocks(), output_dir=tmp_path, **OPTIONS)


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_gradient_that_is_no_number_reaches_no_weight(clip: float, tmp_path: Path) -> None:
    model = build("llama_tied")
    calls = 0

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient * (float("nan") if calls == 4 else 1.0)

    model.model.norm.weight.register_hook(spoil)
    options = OPTIONS | {"gradient_clip": clip, "precision": "float32"}
    with pytest.raises(TrainingError, match="a gradient norm of nan at step 4; expected a finite number"):
        train_causal(model, blocks(), output_dir=tmp_path, **options)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.parametrize("cached", [True, False])
def test_the_models_config_stays(cached: bool) -> None:
    model = tiny_llama()
    model.config.use_cache = cached
    train_causal(model, blocks(), **OPTIONS | {"save_every": None})
    assert model.config.use_cache is cached


def test_the_plans_precision_counts_and_not_accelerates(monkeypatch: pytest.MonkeyPatch) -> None:
    options = OPTIONS | {"precision": "float32", "save_every": None}
    plain = train_causal(tiny_llama(), blocks(), **options).losses
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert (train_causal(tiny_llama(), blocks(), **options).losses == plain).all()
