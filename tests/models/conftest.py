"""A tiny random model of every supported architecture, with odd sizes and perturbed norms and biases."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

ROWS = 611
COMMON: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GATED: dict[str, Any] = {**COMMON, "num_key_value_heads": 2, "intermediate_size": 44}
MAKERS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**GATED),
    "mistral": lambda: MistralConfig(**GATED, sliding_window=4),
    "qwen2": lambda: Qwen2Config(**GATED),
    "qwen3": lambda: Qwen3Config(**GATED, head_dim=8),
    "gemma": lambda: GemmaConfig(**GATED, head_dim=8),
    "gemma2": lambda: Gemma2Config(**GATED, head_dim=8, sliding_window=4, final_logit_softcapping=2.0),
    "gemma3_text": lambda: Gemma3TextConfig(**GATED, head_dim=8, sliding_window=4),
    "phi": lambda: PhiConfig(**GATED),
    "phi3": lambda: Phi3Config(**GATED),
    "gpt_neox": lambda: GPTNeoXConfig(**COMMON, intermediate_size=44),
    "gpt_neox_serial": lambda: GPTNeoXConfig(**COMMON, intermediate_size=44, use_parallel_residual=False),
    "gpt2": lambda: GPT2Config(
        vocab_size=ROWS, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
    ),
    "olmo2": lambda: Olmo2Config(**GATED),
    "bloom": lambda: BloomConfig(vocab_size=ROWS, hidden_size=32, n_layer=3, n_head=4),
}
ARCHITECTURES = sorted(MAKERS)


def build(name: str, *, tied: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    """Return a tiny model whose norms, biases and embeddings all differ from their neutral initial values."""
    from transformers import AutoModelForCausalLM

    config = MAKERS[name]()
    config.tie_word_embeddings = tied
    torch.manual_seed(7)
    # Not .to(dtype), which would round the rotary frequencies too: a checkpoint does not store those.
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=dtype).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator).to(dtype))
    return model


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """The builder above."""
    return build


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """The name of every supported architecture in turn."""
    return str(request.param)


@pytest.fixture
def ids() -> torch.Tensor:
    """Two prompts of nine random tokens, none of them padding."""
    return torch.randint(3, 480, (2, 9), generator=torch.Generator().manual_seed(5))
