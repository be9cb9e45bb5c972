"""LoRA: adding low-rank weights, merging them, and reading adapters from disk; the only file that imports peft."""

import contextlib
import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lingraft.errors import ConfigError, MissingExtraError, ModelError
from lingraft.files import replacing_directory, sha256_of
from lingraft.models.architecture import resolve
from lingraft.models.checkpoints import CONVERT, INDEX, WEIGHTS, read_header, refuse_pickle
from lingraft.models.loading import LoadedModel, load_model
from lingraft.models.opening import one_line, open_tokenizer

Targets = Literal["attention", "all-linear"]

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def add_lora(
    model: PreTrainedModel,
    *,
    rank: int = 16,
    alpha: float = 32.0,
    dropout: float = 0.0,
    targets: Targets = "attention",
    reference: str | None = None,
    seed: int = 0,
) -> Any:
    """Put LoRA weights beside a model's linear maps; they alone require gradients afterwards.

    The model's own modules are wrapped in place; until the first step its logits stay as they were, since every B
    is zero. The LoRA weights are float32 even beside half-precision weights (peft's default).

    Args:
        model: A causal LM of a known architecture, changed in place.
        rank: Rank of every update.
        alpha: The update is `alpha / rank * B A`.
        dropout: Share of inputs that A does not see in training.
        targets: `attention`: every layer's q, k, v, o (fused where the architecture fuses them). `all-linear`: every
            linear map inside the layers; the head never.
        reference: What names the base model in a saved adapter; None leaves what the model was loaded from.
        seed: Seeds A; torch's own random state is left as it is.

    Returns:
        The `peft.PeftModel` around the model, in the same mode (training or evaluation).

    Raises:
        MissingExtraError: peft is missing.
        ConfigError: An option is out of range, or the model carries an adapter already.
        ArchitectureError: The architecture is unknown.
    """
    peft = _peft()
    if rank < 1 or not alpha > 0 or not 0 <= dropout < 1:
        raise ConfigError(
            f"LoRA of rank {rank}, alpha {alpha:g}, dropout {dropout:g}",
            "a rank of at least 1, an alpha above 0, a dropout of at least 0 and below 1",
            "correct it",
        )
    if any(".lora_" in name for name, _ in model.named_parameters()):
        raise ConfigError(
            "a model that carries LoRA weights", "a plain model", "merge them first (merge_lora)"
        )
    modules = lora_modules(model, targets)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=sorted(modules),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in modules.values()),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), _no_warnings():
        torch.manual_seed(seed)
        wrapped = peft.get_peft_model(model, config)
    if reference is not None:
        wrapped.peft_config["default"].base_model_name_or_path = reference
    # New modules start in training mode, whatever mode the model is in.
    wrapped.train(model.training)
    return wrapped


def lora_modules(model: PreTrainedModel, targets: Targets = "attention") -> dict[str, nn.Module]:
    """Return the linear maps that LoRA goes beside, by their names in the model.

    Args:
        model: A causal LM of a known architecture.
        targets: As for `add_lora`.

    Returns:
        `torch.nn.Linear` or GPT-2's `Conv1D` modules by name, in the model's order.

    Raises:
        ConfigError: `targets` is neither of the two.
        ArchitectureError: The architecture is unknown.
    """
    if targets not in ("attention", "all-linear"):
        raise ConfigError(f"LoRA targets {targets!r}", "attention or all-linear", "name one of them")
    layers = resolve(model).layers
    wanted = {
        id(module)
        for layer in layers
        for module in (layer.projections.values() if targets == "attention" else layer.layer.modules())
        if isinstance(module, nn.Linear | Conv1D)
    }
    return {name: module for name, module in model.named_modules() if id(module) in wanted}


def merge_lora(peft_model: Any) -> PreTrainedModel:
    """Add the LoRA updates to the weights and return the plain model, without copying it.

    Weights without LoRA keep every bit. All parameters require gradients again, as in a model just loaded.

    Args:
        peft_model: What `add_lora` returned; it must not be used afterwards.

    Returns:
        The transformers model that was wrapped.

    Raises:
        ModelError: A LoRA weight or a merged weight is NaN or infinite (both are named), or LoRA is on one of two tied
            matrices, where merging would change the other too.
    """
    base = peft_model.get_base_model()
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    if ends[0].weight is getattr(ends[1], "weight", None) and any(hasattr(end, "base_layer") for end in ends):
        raise ModelError(
            "LoRA weights on embeddings that are the head too, which merging would change along with them",
            "LoRA on the layers, or an untied model",
            "use this adapter unmerged, or untie the base model first",
        )
    for name, parameter in peft_model.named_parameters():
        if ".lora_" in name:
            _require_finite(name, parameter)
    names = [
        name for name, module in peft_model.get_base_model().named_modules() if hasattr(module, "lora_A")
    ]
    with _no_warnings():
        model: PreTrainedModel = peft_model.merge_and_unload()
    for name in names:
        weight = model.get_submodule(name).weight
        _require_finite(f"{name}.weight (merged)", weight)  # type: ignore[arg-type]
    # Left behind by peft, and read by transformers as the sign of a loaded adapter.
    if hasattr(model, "_hf_peft_config_loaded"):
        model._hf_peft_config_loaded = False
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return model


def save_adapter(peft_model: Any, directory: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, whole or not at all.

    Args:
        peft_model: What `add_lora` returned.
        directory: Missing or empty.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    with replacing_directory(directory) as temporary, _no_warnings():
        # peft would otherwise look on the hub whether the base model's vocabulary was changed.
        peft_model.save_pretrained(str(temporary), save_embedding_layers=False)


def is_adapter(directory: Path) -> bool:
    """Say whether a directory holds an adapter as peft saves it, and no model's own weights."""
    whole = (directory / WEIGHTS).is_file() or (directory / INDEX).is_file()
    return (directory / CONFIG_FILE).is_file() and not whole


def load_adapter_merged(
    directory: Path,
    *,
    base: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    accept_terms: bool = False,
) -> LoadedModel:
    """Load the base model of a LoRA adapter, and merge the adapter into it.

    Args:
        directory: As peft saves it: adapter_config.json and adapter_model.safetensors, a tokenizer or not.
        base: Reference of the base model; None for what the adapter's config names.
        dtype: Type to merge in; None keeps the base checkpoint's.
        device: Where the model is put.
        accept_terms: Accept the terms of use of a catalogued base model.

    Returns:
        The plain merged model, with the adapter's tokenizer where it carries one, else the base's. Its revision is
        the base's and a sha256 of the adapter's weights.

    Raises:
        MissingExtraError: peft is missing.
        ModelError: The adapter is no LoRA, pickled, truncated, not finite, or not one of this base model.
        LingraftError: The base model cannot be loaded.
    """
    peft = _peft()
    config = _read_adapter_config(directory)
    stored = _stored_tensors(directory)
    reference = base or config["base_model_name_or_path"]
    if not isinstance(reference, str) or not reference:
        raise ModelError(
            f"{directory / CONFIG_FILE} names no base model",
            "base_model_name_or_path",
            "write it there: a hub id, a directory or an asset's name",
        )
    loaded = load_model(reference, dtype=dtype, device=device, accept_terms=accept_terms)
    with one_line(str(directory), f"LoRA adapter of {reference}"), _no_warnings():
        wrapped = peft.PeftModel.from_pretrained(loaded.model, str(directory), local_files_only=True)
        applied = set(peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False))
        # Whole matrices that were trained along with LoRA are stored under the model's own names.
        applied |= stored & set(wrapped.state_dict())
    if stray := sorted(stored ^ applied):
        raise ModelError(
            f"{len(stray)} tensors of {directory} and of the LoRA weights that its config gives {reference} do not"
            f" match (first: {stray[0]})",
            "an adapter of this base model",
            "give the base model that it was trained on",
        )
    tokenizer = loaded.tokenizer
    if any((directory / name).is_file() for name in _TOKENIZER_FILES):
        tokenizer = open_tokenizer(directory, str(directory), trust_remote_code=False)
    revision = f"{loaded.revision} + sha256:{sha256_of(directory / WEIGHTS_FILE)}"
    merged = merge_lora(wrapped)
    merged.train(False)
    return LoadedModel(merged, tokenizer, str(directory), revision)


def _peft() -> Any:
    """Import peft, which takes seconds, only where LoRA is wanted."""
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise MissingExtraError("peft", "train", "LoRA weights") from error


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep peft's advice to itself: what matters of it is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _require_finite(name: str, tensor: torch.Tensor) -> None:
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise ModelError(
            f"{name} holds NaN or infinity",
            "finite weights",
            "use an adapter from before its training diverged",
        )


def _read_adapter_config(directory: Path) -> dict[str, Any]:
    """Return adapter_config.json, refusing every kind of adapter but LoRA."""
    file = directory / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read ({error})", "a JSON file", "save the adapter again"
        ) from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise ModelError(
            f"{directory} holds an adapter of type {kind}",
            "LORA",
            "merge it with peft itself: merge_and_unload(), save_pretrained(NEW_DIR), then give NEW_DIR",
        )
    return {"base_model_name_or_path": None, **config}


def _stored_tensors(directory: Path) -> set[str]:
    """Return the names in adapter_model.safetensors, all read once and finite."""
    file = directory / WEIGHTS_FILE
    if not file.is_file():
        for other in sorted(directory.glob("adapter_model.*")):
            refuse_pickle(other)
        raise ModelError(f"{directory} holds no {WEIGHTS_FILE}", "safetensors weights", CONVERT)
    entries, _ = read_header(file)
    with safe_open(file, framework="pt") as opened:
        for name in entries:
            _require_finite(f"{name} of {directory}", opened.get_tensor(name))
    return set(entries)
