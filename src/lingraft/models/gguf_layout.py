"""What a GGUF file says about a model, and how it orders its tensors: pure, without the library that writes it.

llama.cpp builds a model from a few numbers and a name; what those cannot say (another attention scale, a bias that it
does not know) is refused here, since the file would load and give other logits.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from lingraft.errors import ModelError
from lingraft.models.embeddings import read_embeddings

Value = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Family:
    """How llama.cpp knows a family of models.

    Attributes:
        architecture: Its name there.
        norm_shift: Added to the weights of norms: Gemma's are stored as the distance from 1.
        interleaved: Rows of queries and keys are in the order of the original Llama code.
        activation: The activation that it takes for granted.
        gemma: Soft caps, windows and an attention scale that have to be as published.
    """

    architecture: str
    norm_shift: float = 0.0
    interleaved: bool = False
    activation: str = "silu"
    gemma: bool = False


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", interleaved=True),
    "mistral": Family("llama", interleaved=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
    "gemma2": Family("gemma2", norm_shift=1.0, activation="gelu_pytorch_tanh", gemma=True),
    "gemma3_text": Family("gemma3", norm_shift=1.0, activation="gelu_pytorch_tanh", gemma=True),
}
"""By the `model_type` of transformers: what llama.cpp runs and `load_model` reads back."""

WINDOW_EVERY = {"gemma2": 2, "gemma3_text": 6}
"""Every how many layers one sees the whole text; the others see a window."""
LOCAL_BASE = 10_000.0
"""Rotary base of Gemma 3's windowed layers."""


@dataclass(frozen=True, slots=True)
class GgufLayout:
    """A model as a GGUF file states it.

    Attributes:
        architecture: llama.cpp's name of the family.
        fields: Numbers by key; those that begin with a dot belong to the architecture.
        rope_factors: Divisors of the rotary frequencies `[head_dim / 2]` (Llama 3), or None.
    """

    architecture: str
    fields: Mapping[str, Value]
    rope_factors: torch.Tensor | None = None


def gguf_layout(config: PretrainedConfig) -> GgufLayout:
    """Return what the file says about a model with this config.

    Args:
        config: The config of a causal LM.

    Returns:
        The layout.

    Raises:
        ModelError: An unknown family, or a setting that llama.cpp cannot be told.
    """
    kind = str(config.model_type)
    if kind not in FAMILIES:
        raise ModelError(
            f"a model of type {kind}",
            "one of " + ", ".join(FAMILIES),
            "use llama.cpp's own converter, convert_hf_to_gguf.py, which knows more families",
        )
    family = FAMILIES[kind]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    _refuse_the_unsayable(config, family, head_dim)
    ropes = _rope_parameters(config)
    rope = ropes.get("full_attention", ropes)
    fields: dict[str, Value] = {
        ".vocab_size": config.vocab_size,
        ".context_length": config.max_position_embeddings,
        ".embedding_length": config.hidden_size,
        ".block_count": config.num_hidden_layers,
        ".feed_forward_length": config.intermediate_size,
        ".attention.head_count": config.num_attention_heads,
        ".attention.head_count_kv": config.num_key_value_heads,
        ".attention.key_length": head_dim,
        ".attention.value_length": head_dim,
        ".attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        ".rope.dimension_count": head_dim,
        ".rope.freq_base": float(rope["rope_theta"]),
    }
    if rope["rope_type"] == "linear":
        fields |= {".rope.scaling.type": "linear", ".rope.scaling.factor": float(rope["factor"])}
    if kind in WINDOW_EVERY:
        fields[".attention.sliding_window"] = config.sliding_window
    for name, key in (("attn_logit_softcapping", "attn"), ("final_logit_softcapping", "final")):
        if getattr(config, name, None) is not None:
            fields[f".{key}_logit_softcapping"] = float(getattr(config, name))
    factors = _llama3_factors(rope, head_dim) if rope["rope_type"] == "llama3" else None
    return GgufLayout(family.architecture, fields, factors)


def gguf_tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a model's weights under transformers' names, with the values that llama.cpp expects.

    A head that is the input matrix is left out, as llama.cpp takes it from there.

    Args:
        model: A causal LM of one of `FAMILIES`.

    Yields:
        Name and tensor, one at a time; norms in float32.
    """
    config = model.config
    family = FAMILIES[config.model_type]
    tied = read_embeddings(model).tied
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        weight = tensor.detach()
        if family.norm_shift and name.endswith("norm.weight"):
            weight = weight.float() + family.norm_shift
        elif family.interleaved and ".q_proj." in name:
            weight = interleaved(weight, config.num_attention_heads)
        elif family.interleaved and ".k_proj." in name:
            weight = interleaved(weight, config.num_key_value_heads)
        yield name, weight


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of each head so that the two halves that rotate together alternate.

    Args:
        weight: `[heads * head_dim, ...]`, as transformers has it: first halves, then second halves.
        heads: Number of heads.

    Returns:
        The same rows, in the order of the original Llama code.
    """
    halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


def _rope_parameters(config: PretrainedConfig) -> dict[str, Any]:
    ropes = getattr(config, "rope_parameters", None) or {}
    return {"rope_type": "default", **ropes} if "full_attention" not in ropes else dict(ropes)


def _refuse_the_unsayable(config: PretrainedConfig, family: Family, head_dim: int) -> None:
    """Raise for the first setting that a file of this family cannot state."""
    ropes = _rope_parameters(config)
    rope = ropes.get("full_attention", ropes)
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    biased = [
        name
        for name in ("attention_bias", "mlp_bias")
        if getattr(config, name, False) and config.model_type != "qwen2"
    ]
    windowed = not family.gemma and "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if config.model_type == "mistral":
        window = getattr(config, "sliding_window", None)
        windowed = window is not None and window < config.max_position_embeddings
    found = None
    if activation != family.activation:
        found = f"hidden_act {activation}", family.activation
    elif biased:
        found = f"{biased[0]} true", "false"
    elif windowed:
        found = f"sliding_window {config.sliding_window}", "attention over the whole text"
    elif rope["rope_type"] not in {"default", "linear", "llama3"}:
        found = f"rope_type {rope['rope_type']}", "default, linear or llama3"
    elif rope.get("partial_rotary_factor") not in {None, 1.0}:
        found = f"partial_rotary_factor {rope['partial_rotary_factor']}", "1"
    elif family.gemma:
        found = _odd_gemma(config, head_dim, ropes)
    if found is not None:
        raise ModelError(
            f"a {config.model_type} model with {found[0]}",
            f"{found[1]}, which is all that llama.cpp knows of {family.architecture}",
            "use the checkpoint in transformers",
        )


def _odd_gemma(config: PretrainedConfig, head_dim: int, ropes: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what a Gemma model has otherwise than published, and what is published."""
    every = WINDOW_EVERY[config.model_type]
    types = [
        "full_attention" if (i + 1) % every == 0 else "sliding_attention"
        for i in range(config.num_hidden_layers)
    ]
    largest = config.num_hidden_layers == (46 if config.model_type == "gemma2" else 62)
    scale = config.hidden_size // config.num_attention_heads if largest else head_dim
    local = ropes.get("sliding_attention", {}).get("rope_theta", LOCAL_BASE)
    if list(config.layer_types) != types:
        return f"layer_types {config.layer_types[:6]}...", f"every {every}th layer with full attention"
    if config.query_pre_attn_scalar != scale:
        return f"query_pre_attn_scalar {config.query_pre_attn_scalar}", str(scale)
    if local != LOCAL_BASE:
        return f"a rotary base of {local} in windowed layers", str(LOCAL_BASE)
    if getattr(config, "use_bidirectional_attention", False):
        return "use_bidirectional_attention true", "causal attention"
    return None


def _llama3_factors(rope: Mapping[str, Any], head_dim: int) -> torch.Tensor:
    """Divisors of the rotary frequencies, by wavelength: 1 for short ones, `factor` for long ones."""
    base, factor = float(rope["rope_theta"]), float(rope["factor"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    trained = float(rope["original_max_position_embeddings"])
    divisors = []
    for pair in range(0, head_dim, 2):
        wavelength = 2 * math.pi * base ** (pair / head_dim)
        share = (trained / wavelength - low) / (high - low)
        share = min(1.0, max(0.0, share))
        divisors.append(1.0 / (share + (1.0 - share) / factor))
    return torch.tensor(divisors, dtype=torch.float32)
