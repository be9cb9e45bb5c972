"""Save a checkpoint that plain transformers loads: all of it, or nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from lingraft.errors import ModelError, OutputError
from lingraft.files import replacing_directory, require_free_space
from lingraft.models.opening import quiet_bars
from lingraft.models.tokenizer_class import keep_tokenizer_class

_ID_FIELDS = (
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
    "forced_decoder_ids",
)


def save_checkpoint(
    directory: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    recipe: Mapping[str, Any],
    card: str | None = None,
    end_ids: Sequence[int] | None = None,
) -> None:
    """Write model (safetensors), tokenizer, generation config and `recipe.yaml` as one directory, atomically.

    The special ids of the model's config and generation config are set to the tokenizer's, in the model in
    memory as well, settings of generation that had no effect are unset, and a mark left by a quantised file
    that was dequantised is removed.

    Args:
        directory: Must not exist, or be empty.
        model: A causal LM with floating-point weights.
        tokenizer: Its tokenizer; every id must have a row.
        recipe: What made the checkpoint: plain values only.
        card: Text for README.md.
        end_ids: Ids that end generation. None: those of the generation config that are added tokens of this
            tokenizer, together with its eos.

    Raises:
        OutputError: The directory holds something, the disk is full or not writable.
        ModelError: The weights are quantised or offloaded, or an end id has no row.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory} holds something", "an empty or a new directory", "give another --out")
    _require_plain_weights(model)
    _remove_quantisation_mark(model)
    _align_special_ids(model, tokenizer, end_ids)
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    require_free_space(directory, int(size * 1.05) + 2**24)
    with replacing_directory(directory) as temporary, quiet_bars():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        keep_tokenizer_class(temporary, tokenizer)
        plain = json.loads(json.dumps(dict(recipe), default=str))
        text = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)
        (temporary / "recipe.yaml").write_text(text, encoding="utf-8")
        if card is not None:
            (temporary / "README.md").write_text(card, encoding="utf-8")


def _require_plain_weights(model: PreTrainedModel) -> None:
    """Refuse weights that safetensors could not give back as they are."""
    for name, tensor in model.named_parameters():
        # Of one byte: float8, whose scales are other tensors.
        if tensor.device.type == "meta" or not tensor.is_floating_point() or tensor.element_size() < 2:
            state = "not in memory" if tensor.device.type == "meta" else str(tensor.dtype)
            raise ModelError(
                f"{name} is {state}", "floating-point weights in memory", "load the model unquantised"
            )


def _remove_quantisation_mark(model: PreTrainedModel) -> None:
    """Remove what makes save_pretrained refuse, or the next load dequantise, a model that is plain by now."""
    for config in (model.config, model.config.get_text_config()):
        if hasattr(config, "quantization_config"):
            del config.quantization_config
    for name in (
        "hf_quantizer",
        "quantization_method",
        "is_quantized",
        "is_loaded_in_4bit",
        "is_loaded_in_8bit",
    ):
        if name in vars(model):
            delattr(model, name)


def _align_special_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int] | None
) -> None:
    """Set the special ids of config and generation config to the tokenizer's."""
    text_config = model.config.get_text_config()
    rows = text_config.vocab_size
    ends = list(end_ids) if end_ids is not None else _known_end_ids(model.generation_config, tokenizer)
    if any(not 0 <= i < rows for i in ends):
        raise ModelError(
            f"end ids {ends}", f"ids below the model's {rows} rows", "give ids of the model's own tokenizer"
        )
    end: int | list[int] | None = ends[0] if len(ends) == 1 else ends or None
    bos, pad = (_with_row(i, rows) for i in (tokenizer.bos_token_id, tokenizer.pad_token_id))
    for config in (model.config, text_config):
        config.bos_token_id, config.eos_token_id = bos, end
        # A model without a padding id gets none: torch would stop training the row of that token.
        if getattr(config, "pad_token_id", None) is not None:
            config.pad_token_id = pad
    generation = model.generation_config
    if generation is None:
        generation = model.generation_config = GenerationConfig()
    generation.bos_token_id, generation.eos_token_id = bos, end
    generation.pad_token_id = pad if pad is not None else (ends[0] if ends else None)
    for name in _ID_FIELDS:
        if getattr(generation, name, None) is not None and not _all_within(getattr(generation, name), rows):
            setattr(generation, name, None)
    _unset_idle_settings(generation)


def _unset_idle_settings(generation: GenerationConfig) -> None:
    """Unset what transformers reads but refuses to save: settings of sampling, beams or caches that are not in use."""
    try:
        generation.validate(strict=True)
    except ValueError as error:
        # Only the message says which they are, each at the start of a line.
        for name in re.findall(r"^- `(\w+)`:", str(error), re.MULTILINE):
            setattr(generation, name, None)


def _known_end_ids(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokenizer's eos, and those earlier end ids that name added tokens of this tokenizer."""
    earlier = getattr(generation, "eos_token_id", None)
    earlier = earlier if isinstance(earlier, list | tuple) else [earlier]
    own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    known = tokenizer.added_tokens_decoder
    return own + [i for i in earlier if type(i) is int and i in known and i not in own]


def _with_row(token_id: int | None, rows: int) -> int | None:
    return token_id if token_id is not None and 0 <= token_id < rows else None


def _all_within(value: Any, rows: int) -> bool:
    """Return whether every integer in a nested value is an id with a row."""
    if isinstance(value, Mapping):
        return all(_all_within(list(key), rows) for key in value)
    if isinstance(value, list | tuple):
        return all(_all_within(item, rows) for item in value)
    return not isinstance(value, int) or 0 <= value < rows
