"""Loading a sequence-to-sequence model, such as a translation model, from what the user typed."""

from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForSeq2SeqLM

from lingraft.errors import ModelError
from lingraft.models.checkpoints import fingerprint_weights, read_config, snapshot_commit, tensor_entries
from lingraft.models.devices import choose_device
from lingraft.models.loading import LoadedModel, parse_dtype
from lingraft.models.opening import one_line, open_tokenizer
from lingraft.models.references import resolve_reference


def load_seq2seq(
    reference: str,
    *,
    dtype: torch.dtype | str | None = None,
    device: str = "auto",
    tokenizer: str | None = None,
) -> LoadedModel:
    """Load an encoder-decoder model and its tokenizer.

    Args:
        reference: Hub id (optionally `@revision`) or directory.
        dtype: Type to compute in; None keeps the checkpoint's.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        tokenizer: Reference of the tokenizer where it is not beside the model.

    Returns:
        The model in evaluation mode on its device, with its tokenizer and revision.

    Raises:
        ModelError: The model is missing, truncated, pickled, or no encoder-decoder model.
        TokenizerError: It has no tokenizer, or an unreadable one.
        ConfigError: `device` or `dtype` is not usable.
    """
    chosen_dtype, chosen_device = parse_dtype(dtype), choose_device(device)
    directory = resolve_reference(reference)
    if not read_config(directory).get("is_encoder_decoder", False):
        raise ModelError(
            f"{reference} is no encoder-decoder model",
            "a sequence-to-sequence model, such as Marian, M2M100, NLLB, mBART or T5",
            "give a translation model",
        )
    tensor_entries(directory)
    opened = open_tokenizer(
        directory if tokenizer is None else resolve_reference(tokenizer, tokenizer_only=True),
        tokenizer or reference,
        False,
    )
    with one_line(reference, "sequence-to-sequence model"):
        auto: Any = AutoModelForSeq2SeqLM
        model, report = auto.from_pretrained(
            directory,
            dtype="auto" if chosen_dtype is None else chosen_dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{reference} lacks {len(missing)} weights of a {type(model).__name__} (first: {missing[0]})",
            "a sequence-to-sequence model with all its weights",
            "fetch the model again",
        )
    revision = snapshot_commit(directory) or fingerprint_weights(directory)
    return LoadedModel(model.to(chosen_device).eval(), opened, reference, revision)


def stated_licence(directory: Path) -> str | None:
    """Return the licence that a model card states in its head, or None.

    Args:
        directory: The checkpoint, whose README.md is the card.

    Returns:
        The licence as it is written there.
    """
    try:
        parts = (directory / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    licence = head.get("license") if isinstance(head, dict) else None
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return str(licence) if licence else None
