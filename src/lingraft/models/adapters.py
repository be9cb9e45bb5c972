"""The adapter table: where each Hugging Face architecture keeps its layers, attention, mlp, norms and head.

Data, not classes: one row for each `model_type`, paths from the model or from a layer. Read from the sources of
transformers 5; `resolve` in `architecture.py` checks a row against the model in hand before anyone relies on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Adapter:
    """Paths and traits of one architecture; the defaults are Llama's.

    Attributes:
        entry: The module whose forward takes `input_ids` and the 2-D attention mask.
        embedding: The input embedding.
        layers: The list of layers.
        final_norm: The norm between the last layer and the head.
        head: The output head.
        attention: Within a layer: the attention module.
        mlp: Within a layer: the feed-forward module.
        attention_norm: Within a layer: the norm before attention; None where there is none.
        mlp_norm: Within a layer: the norm before the mlp; None where there is none.
        attention_post_norm: Within a layer: the norm of attention's output before it is added to the residual.
        mlp_post_norm: The same for the mlp.
        projections: Within the attention module: its projections by role (`q`, `k`, `v`, or fused `qkv`; `o`).
        parallel: Whether attention and mlp both read the layer's input; a text names the config field that says.
        residual_inside: Whether attention and mlp add the residual themselves and return the sum.
        alibi: Whether positions enter as a bias on attention scores, which 4-D masks cannot carry.
    """

    entry: str = "model"
    embedding: str = "model.embed_tokens"
    layers: str = "model.layers"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    attention: str = "self_attn"
    mlp: str = "mlp"
    attention_norm: str | None = "input_layernorm"
    mlp_norm: str | None = "post_attention_layernorm"
    attention_post_norm: str | None = None
    mlp_post_norm: str | None = None
    projections: tuple[tuple[str, str], ...] = (
        ("q", "q_proj"),
        ("k", "k_proj"),
        ("v", "v_proj"),
        ("o", "o_proj"),
    )
    parallel: bool | str = False
    residual_inside: bool = False
    alibi: bool = False


_LLAMA = Adapter()
_GEMMA2 = replace(
    _LLAMA,
    mlp_norm="pre_feedforward_layernorm",
    attention_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        "llama": _LLAMA,
        "mistral": _LLAMA,
        "qwen2": _LLAMA,
        "qwen3": _LLAMA,
        "gemma": _LLAMA,
        "gemma2": _GEMMA2,
        "gemma3_text": _GEMMA2,
        "gemma3": replace(
            _GEMMA2,
            embedding="model.language_model.embed_tokens",
            layers="model.language_model.layers",
            final_norm="model.language_model.norm",
        ),
        "olmo2": replace(_GEMMA2, attention_norm=None, mlp_norm=None),
        "phi": replace(
            _LLAMA,
            final_norm="model.final_layernorm",
            mlp_norm="input_layernorm",
            projections=(("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("o", "dense")),
            parallel=True,
        ),
        "phi3": replace(_LLAMA, projections=(("qkv", "qkv_proj"), ("o", "o_proj"))),
        "gpt_neox": replace(
            _LLAMA,
            entry="gpt_neox",
            embedding="gpt_neox.embed_in",
            layers="gpt_neox.layers",
            final_norm="gpt_neox.final_layer_norm",
            attention="attention",
            projections=(("qkv", "query_key_value"), ("o", "dense")),
            parallel="use_parallel_residual",
        ),
        "gpt2": replace(
            _LLAMA,
            entry="transformer",
            embedding="transformer.wte",
            layers="transformer.h",
            final_norm="transformer.ln_f",
            attention="attn",
            attention_norm="ln_1",
            mlp_norm="ln_2",
            projections=(("qkv", "c_attn"), ("o", "c_proj")),
        ),
        "bloom": replace(
            _LLAMA,
            entry="transformer",
            embedding="transformer.word_embeddings",
            layers="transformer.h",
            final_norm="transformer.ln_f",
            attention="self_attention",
            projections=(("qkv", "query_key_value"), ("o", "dense")),
            residual_inside=True,
            alibi=True,
        ),
    }
)
"""Every supported `model_type`."""
