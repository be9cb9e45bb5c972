"""The loading shell: references become models, tokenizers and donors. Everything below takes objects."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from lingraft.errors import ConfigError, ModelError
from lingraft.models.checkpoints import (
    fingerprint_weights,
    read_config,
    snapshot_commit,
    tensor_entries,
)
from lingraft.models.devices import choose_device
from lingraft.models.opening import one_line, open_tokenizer, require_finite_rows, require_matching_tokenizer
from lingraft.models.references import resolve_reference

_EMBEDDING_NAMES = (
    r"embeddings\.word_embeddings\.weight",  # BERT, RoBERTa, XLM-R, DistilBERT, ELECTRA, DeBERTa
    r"embeddings\.tok_embeddings\.weight",  # ModernBERT
    r"shared\.weight",  # T5, mT5, BART, NLLB
    r"embed_tokens\.weight",  # Llama and its many relatives
    r"wte\.weight",  # GPT-2
    r"embed_in\.weight",  # GPT-NeoX
    r"word_embeddings\.weight",  # BLOOM
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal LM in evaluation mode, with its tokenizer.

    Attributes:
        model: The model, on its device.
        tokenizer: Its tokenizer.
        reference: What the user typed.
        revision: The hub's commit hash, or a sha256 over the weight files.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    reference: str
    revision: str


@dataclass(frozen=True, slots=True)
class LoadedDonor:
    """The input embeddings of a target-language model, the only part of it that a transfer uses.

    Attributes:
        embeddings: Rows as stored (no embedding scale applied), float32 `[donor_vocab, donor_dim]`, CPU.
        tokenizer: The donor's tokenizer.
        reference: What the user typed.
        revision: The hub's commit hash, or a sha256 over the weight files.
    """

    embeddings: torch.Tensor
    tokenizer: PreTrainedTokenizerBase
    reference: str
    revision: str


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return a floating-point dtype for its name (`float32`, `bfloat16`, `float16`); None stays None.

    Args:
        dtype: A dtype, its name, or None.

    Returns:
        The dtype, or None.

    Raises:
        ConfigError: The name is none of them.
    """
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and (not isinstance(chosen, torch.dtype) or not chosen.is_floating_point):
        raise ConfigError(f"dtype {dtype!r}", "float32, bfloat16 or float16", "give another --dtype")
    return chosen


def load_model(
    reference: str,
    *,
    dtype: torch.dtype | str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> LoadedModel:
    """Load a causal LM and its tokenizer.

    Args:
        reference: Hub id (optionally `@revision`), directory, .gguf file, or a catalogued asset's name.
        dtype: Type to compute in; None keeps the checkpoint's.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        trust_remote_code: Run Python code that the model's repository carries.
        accept_terms: Accept the terms of use of a catalogued asset.

    Returns:
        The model in evaluation mode on its device, with its tokenizer and revision.

    Raises:
        ModelError: The model is missing, truncated, pickled, no causal LM, or holds NaN embedding rows.
        TokenizerError: It has no tokenizer, or an unreadable one.
        AssetError: The catalogue cannot fetch the asset.
        ConfigError: `device` or `dtype` is not usable.
    """
    chosen_dtype, chosen_device = parse_dtype(dtype), choose_device(device)
    directory = resolve_reference(reference, accept_terms=accept_terms, with_code=trust_remote_code)
    read_config(directory)
    tensor_entries(directory)
    tokenizer = open_tokenizer(directory, reference, trust_remote_code)
    with one_line(reference, "causal LM"):
        auto: Any = AutoModelForCausalLM
        model, report = auto.from_pretrained(
            directory,
            dtype="auto" if chosen_dtype is None else chosen_dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{reference} lacks {len(missing)} weights of a {type(model).__name__} (first: {missing[0]})",
            "a causal LM with all its weights",
            "give the causal LM itself; an encoder can only be a donor",
        )
    for name, module in (("input", model.get_input_embeddings()), ("output", model.get_output_embeddings())):
        if module is not None:
            require_finite_rows(module.weight.detach(), f"the {name} embeddings of {reference}")
    _refuse_float8(model, reference)
    try:
        model = model.to(chosen_device).eval()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{reference} ({model.get_memory_footprint() / 2**30:.1f} GiB) does not fit on {chosen_device}",
            "enough free memory on the device",
            "give --dtype bfloat16, --device cpu or a smaller model",
        ) from error
    return LoadedModel(model, tokenizer, reference, _revision(directory))


def _refuse_float8(model: Any, reference: str) -> None:
    """Refuse weights of one byte: they mean nothing without scales, which this library would part them from."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.element_size() < 2:
            raise ModelError(
                f"{reference} has {str(parameter.dtype).removeprefix('torch.')} weights ({name})",
                "weights of bfloat16, float16 or float32",
                "give the checkpoint that it was quantised from",
            )


def load_tokenizer(
    reference: str, *, trust_remote_code: bool = False, accept_terms: bool = False
) -> PreTrainedTokenizerBase:
    """Load a tokenizer alone: from a reference as `load_model` takes, or from a tokenizer.json file.

    Args:
        reference: As for `load_model`, or a tokenizer.json file.
        trust_remote_code: Run Python code that the repository carries.
        accept_terms: Accept the terms of use of a catalogued asset.

    Returns:
        The tokenizer.

    Raises:
        ModelError: The reference leads nowhere.
        TokenizerError: There is no tokenizer, or an unreadable one.
        AssetError: The catalogue cannot fetch the asset.
    """
    path = resolve_reference(
        reference, accept_terms=accept_terms, tokenizer_only=True, with_code=trust_remote_code
    )
    return open_tokenizer(path, reference, trust_remote_code)


def load_donor(reference: str, *, trust_remote_code: bool = False, accept_terms: bool = False) -> LoadedDonor:
    """Load the input embeddings and the tokenizer of a target-language model: encoder, T5 or decoder.

    One tensor is read straight from the safetensors file where its name is known; else the model is loaded.

    Args:
        reference: As for `load_model`.
        trust_remote_code: Run Python code that the repository carries.
        accept_terms: Accept the terms of use of a catalogued asset.

    Returns:
        The embeddings in float32 on the CPU, with tokenizer and revision.

    Raises:
        ModelError: The donor is missing, truncated or pickled, holds no input embeddings, its tokenizer has
            ids beyond its matrix, or rows are not finite.
        TokenizerError: It has no tokenizer, or an unreadable one.
        AssetError: The catalogue cannot fetch the asset.
    """
    directory = resolve_reference(reference, accept_terms=accept_terms, with_code=trust_remote_code)
    read_config(directory)
    tokenizer = open_tokenizer(directory, reference, trust_remote_code)
    with one_line(reference, "language model"):
        config = AutoConfig.from_pretrained(
            directory, trust_remote_code=trust_remote_code, local_files_only=True
        )
    matrix = _stored_embeddings(directory, getattr(config.get_text_config(), "vocab_size", -1))
    if matrix is None:
        with one_line(reference, "language model"):
            whole, found = AutoModel.from_pretrained(
                directory,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            matrix = _read_embeddings(whole, found["missing_keys"], reference)
    if not matrix.is_floating_point():
        raise ModelError(
            f"the input embeddings of {reference} are {matrix.dtype}",
            "floating-point rows",
            "give the donor's unquantised checkpoint",
        )
    require_matching_tokenizer(tokenizer, matrix.shape[0], reference)
    require_finite_rows(matrix, f"the input embeddings of {reference}")
    return LoadedDonor(matrix.float().contiguous(), tokenizer, reference, _revision(directory))


def _read_embeddings(model: Any, missing: Collection[str], reference: str) -> torch.Tensor:
    """Return the input embeddings, unless transformers made them up for want of a tensor in the checkpoint."""
    matrix = model.get_input_embeddings().weight
    tied = {name for name, tensor in model.state_dict(keep_vars=True).items() if tensor is matrix}
    if tied and tied <= set(missing):
        raise ModelError(
            f"{reference} holds no input embeddings ({min(tied)} is missing)",
            "a checkpoint with the rows of its tokens",
            "fetch it again, or give another donor",
        )
    return matrix.detach()  # type: ignore[no-any-return]


def _stored_embeddings(directory: Path, vocabulary_size: int) -> torch.Tensor | None:
    """Read the one tensor that by name and row count is the input embeddings; None where that is unclear."""
    entries = tensor_entries(directory)
    for pattern in _EMBEDDING_NAMES:
        names = [name for name in entries if re.search(rf"(^|\.){pattern}$", name)]
        fitting = [name for name in names if len(entries[name].shape) == 2]
        fitting = [name for name in fitting if entries[name].shape[0] == vocabulary_size]
        if len(fitting) == 1:
            with safe_open(entries[fitting[0]].file, framework="pt") as opened:
                tensor: torch.Tensor = opened.get_tensor(fitting[0])
            return tensor
    return None


def _revision(directory: Path) -> str:
    return snapshot_commit(directory) or fingerprint_weights(directory)
