"""Tiny models and blocks that the training tests share; run as a script, one training in a process of its own."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def tiny_llama(*, tied: bool = True, rows: int = 61, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
        )
    )


def tiny_gpt2_with_dropout() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=24, n_layer=2, n_head=4, n_positions=32))


def blocks(count: int = 40, length: int = 12, rows: int = 61) -> NDArray[np.int32]:
    generator = np.random.default_rng(7)
    steps = generator.integers(1, 4, size=(count, 1))
    return ((np.arange(length) * steps + generator.integers(rows, size=(count, 1))) % rows).astype(np.int32)


def train(directory: Path | None, **chosen: Any) -> dict[str, Any]:
    """Train a tiny model; `die_at` kills the process at an evaluation, `dropout` takes a model that draws numbers."""
    from lingraft.training.causal import train_causal

    die_at = chosen.pop("die_at", None)
    model = tiny_gpt2_with_dropout() if chosen.pop("dropout", False) else tiny_llama(tied=False)

    def evaluate(step: int, current: torch.nn.Module) -> dict[str, float]:
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"value": float(next(current.parameters()).detach().double().sum())}

    result = train_causal(model, blocks(), output_dir=directory, evaluate=evaluate, **chosen)
    return {
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
        "losses": result.losses.tolist(),
        "norms": result.gradient_norms.tolist(),
        "evaluations": {step: dict(value) for step, value in result.evaluations.items()},
        "resumed_from": result.resumed_from,
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = train(Path(sys.argv[1]), **json.loads(sys.argv[3]))
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(outcome, sys.argv[2])
