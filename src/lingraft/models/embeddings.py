"""Read and write a model's input and output matrices: tied or untied, padded rows, output biases."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lingraft.errors import ModelError

FINITE_ROWS = 4096
"""Rows checked for NaN at once: the check makes temporary tensors as large as what it checks."""


@dataclass(frozen=True, slots=True)
class EmbeddingMatrices:
    """The two matrices whose rows belong to tokens, padding rows included.

    Attributes:
        input: Input embeddings as stored, `[rows, d_model]`. Gemma multiplies them by sqrt(d_model) in its
            forward pass; the rows here are without that factor.
        output: Rows of the head, `[rows, d_model]`; None where the head is the input matrix.
        output_bias: Bias of the head, `[rows]` (Phi has one); None where it has none.
        tied: Whether the head is the input matrix.
    """

    input: torch.Tensor
    output: torch.Tensor | None
    output_bias: torch.Tensor | None
    tied: bool


def read_embeddings(model: PreTrainedModel) -> EmbeddingMatrices:
    """Return the model's matrices: detached views in the model's dtype and on its device, not copies.

    Tied means that both modules hold the same parameter, whatever the config says: a checkpoint that stores
    two different matrices is loaded untied even where its config says otherwise.

    Args:
        model: A causal LM.

    Returns:
        The matrices; changing them in place changes the model.

    Raises:
        ModelError: The model has no input embeddings or no head, or they differ in shape.
    """
    embedding, head = _modules(model)
    tied = head.weight is embedding.weight
    if not tied and head.weight.shape != embedding.weight.shape:
        raise ModelError(
            f"an input matrix of {list(embedding.weight.shape)} and a head of {list(head.weight.shape)}",
            "two matrices of one shape",
            "use a model whose embeddings are not factorised",
        )
    bias = getattr(head, "bias", None)
    return EmbeddingMatrices(
        input=embedding.weight.detach(),
        output=None if tied else head.weight.detach(),
        output_bias=None if bias is None else bias.detach(),
        tied=tied,
    )


def write_embeddings(model: PreTrainedModel, matrices: EmbeddingMatrices, *, copy: bool = True) -> None:
    """Put new matrices into the model, which may have another number of rows; the config follows.

    Values are copied (see `copy`), into the model's own dtype and onto its device; ties are kept. A padding id
    beyond the new rows is cleared from module and config, since no model could be built from such a config. New
    parameters replace the old, so an optimizer must be made afterwards.

    Args:
        model: Changed in place.
        matrices: Input `[rows, d_model]`, output the same or None, bias `[rows]` just where the head has one.
        copy: False lets the model keep tensors that already have its dtype and device, instead of copies of them:
            the caller gives them away, and a large vocabulary is not held twice.

    Raises:
        ModelError: The matrices do not fit the model or each other, or hold values that are not finite.
    """
    embedding, head = _modules(model)
    _check(matrices, embedding, head)
    rows, before = matrices.input.shape[0], embedding.weight.shape[0]
    embedding.weight = _parameter(matrices.input, embedding.weight, copy)
    embedding.num_embeddings = rows
    if embedding.padding_idx is not None and embedding.padding_idx >= rows:
        embedding.padding_idx = None
    if matrices.output is None:
        head.weight = embedding.weight
    else:
        head.weight = _parameter(matrices.output, head.weight, copy)
    head.out_features = rows
    if matrices.output_bias is not None:
        head.bias = _parameter(matrices.output_bias, head.bias, copy)
    _update_config(model, rows, before, matrices.tied)


def _modules(model: PreTrainedModel) -> tuple[Any, Any]:
    """Return the input embedding module and the head module."""
    whole: Any = model
    embedding, head = whole.get_input_embeddings(), whole.get_output_embeddings()
    for name, module in (("input embeddings", embedding), ("output head", head)):
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
            raise ModelError(
                f"{type(model).__name__} has no {name} with a weight matrix",
                "a causal LM with an embedding and a linear head",
                "give a causal LM (AutoModelForCausalLM)",
            )
        if not weight.is_floating_point() or weight.device.type == "meta":
            state = "offloaded" if weight.device.type == "meta" else str(weight.dtype)
            raise ModelError(
                f"the {name} of {type(model).__name__} are {state}",
                "floating-point weights in memory",
                "load the model unquantised and on one device",
            )
    _refuse_further_tables(model, embedding)
    return embedding, head


def _refuse_further_tables(model: PreTrainedModel, embedding: Any) -> None:
    """Refuse a model that looks an id up in more than one table: the others would keep the old vocabulary's rows."""
    rows = getattr(model.config.get_text_config(), "vocab_size_per_layer_input", None)
    for name, module in model.named_modules():
        if rows and module is not embedding and getattr(module, "num_embeddings", None) == rows:
            raise ModelError(
                f"{type(model).__name__} with a second table of {rows} rows for its tokens ({name})",
                "a model with one embedding, and an output head",
                "give a model without embeddings in its layers (Gemma 3n and 4 small have them)",
            )


def _check(matrices: EmbeddingMatrices, embedding: Any, head: Any) -> None:
    """Refuse matrices that do not fit the model, before anything is changed."""
    rows, width = matrices.input.shape[0], embedding.weight.shape[1]
    tied, biased = head.weight is embedding.weight, getattr(head, "bias", None) is not None
    parts = {"input": matrices.input, "output": matrices.output, "output bias": matrices.output_bias}
    shapes = {"input": (rows, width), "output": (rows, width), "output bias": (rows,)}
    for name, part in parts.items():
        if part is None:
            continue
        if tuple(part.shape) != shapes[name] or rows == 0:
            raise ModelError(
                f"an {name} of shape {list(part.shape)}",
                f"{list(shapes[name])} with at least one row",
                "give matrices with one row for each target token",
            )
        if not all(bool(torch.isfinite(block).all()) for block in torch.split(part, FINITE_ROWS)):
            raise ModelError(
                f"new {name} values that are NaN or infinite", "finite values", "check the initialisation"
            )
    if matrices.tied != tied or (matrices.output is None) != tied:
        raise ModelError(
            f"matrices that are {'tied' if matrices.output is None else 'untied'}",
            f"{'no' if tied else 'an'} output matrix, since the model is {'tied' if tied else 'untied'}",
            "keep the ties that read_embeddings reported",
        )
    if (matrices.output_bias is not None) != biased:
        raise ModelError(
            f"{'no' if matrices.output_bias is None else 'an'} output bias",
            f"{'one' if biased else 'none'}, as in this model's head",
            "keep what read_embeddings reported",
        )


def _parameter(values: torch.Tensor, like: torch.Tensor, copy: bool) -> nn.Parameter:
    """Return a fresh parameter with these values in the dtype, device and trainability of `like`."""
    kept = values.detach().to(device=like.device, dtype=like.dtype, copy=copy).contiguous()
    return nn.Parameter(kept, requires_grad=like.requires_grad)


def _update_config(model: PreTrainedModel, rows: int, before: int, tied: bool) -> None:
    """Let the config and the modules' own copies of the vocabulary size say what the matrices are."""
    config = model.config.get_text_config()
    config.vocab_size = rows
    for module in model.modules():
        if getattr(module, "vocab_size", None) == before:
            module.vocab_size = rows  # type: ignore[assignment]
    for level in {id(config): config, id(model.config): model.config}.values():
        level.tie_word_embeddings = tied
        if isinstance(getattr(level, "pad_token_id", None), int) and level.pad_token_id >= rows:
            level.pad_token_id = None
