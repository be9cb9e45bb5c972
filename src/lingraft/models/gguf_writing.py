"""Write a GGUF file, one tensor at a time: the only file that imports the `gguf` package."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from lingraft.errors import MissingExtraError, ModelError
from lingraft.files import replacing, require_free_space
from lingraft.models.gguf_layout import GgufLayout, Value, gguf_tensors
from lingraft.progress import track

FileType = Literal["float32", "float16", "bfloat16", "q8_0"]
FILE_TYPES: dict[str, tuple[str, float]] = {
    "float32": ("F32", 4.0),
    "float16": ("F16", 2.0),
    "bfloat16": ("BF16", 2.0),
    "q8_0": ("Q8_0", 34 / 32),
}
"""Name in GGUF and bytes a weight."""
_BLOCK = 32
"""Weights that q8_0 gives one scale."""


def import_gguf() -> Any:
    """Return the package that writes GGUF files.

    Returns:
        The module.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("gguf", "gguf", "writing GGUF files") from error
    return gguf


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    layout: GgufLayout,
    fields: Mapping[str, Any],
    *,
    file_type: FileType,
    name: str,
) -> int:
    """Write a model and its metadata as one GGUF file, atomically.

    Matrices are stored as `file_type` (rows that q8_0 cannot part into blocks of 32 as float16), everything with one
    dimension as float32.

    Args:
        path: The file.
        model: A causal LM of a known family.
        layout: What `gguf_layout` says of it.
        fields: The tokenizer's fields, by whole key; bytes and lists become arrays, None is left out.
        file_type: How matrices are stored.
        name: The model's name, for people.

    Returns:
        How many tensors were written.

    Raises:
        ModelError: A weight has no name in GGUF, or is not finite in `file_type`.
        MissingExtraError: The extra is not installed.
        OutputError: The disk is full or not writable.
    """
    gguf = import_gguf()
    names = _tensor_names(gguf, layout, model)
    kinds = {key: _kind(gguf, shape, file_type) for key, shape in names.values()}
    require_free_space(
        path, int(sum(math.prod(shape) for _, shape in names.values()) * FILE_TYPES[file_type][1])
    )
    with replacing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, layout.architecture)
        writer.add_name(name)
        writer.add_file_type(_file_type(gguf, file_type))
        for key, value in layout.fields.items():
            _add(writer, layout.architecture + key if key.startswith(".") else key, value)
        for key, value in fields.items():
            if value is not None:
                _add(writer, key, value)
        for key, shape in names.values():
            stored = gguf.quants.quant_shape_to_byte_shape(shape, kinds[key])
            writer.add_tensor_info(
                key, shape, torch.empty(0).numpy().dtype, math.prod(stored), raw_dtype=kinds[key]
            )
        factors = layout.rope_factors
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.numpy().dtype, factors.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for original, weight in track(gguf_tensors(model), description="writing tensors", total=len(names)):
            key, _ = names[original]
            with np.errstate(over="ignore"):
                stored = gguf.quants.quantize(weight.cpu().float().contiguous().numpy(), kinds[key])
            _require_finite(stored, original, file_type)
            writer.write_tensor_data(stored)
        if factors is not None:
            writer.write_tensor_data(factors.numpy())
        writer.close()
    return len(names) + (factors is not None)


def _tensor_names(
    gguf: Any, layout: GgufLayout, model: PreTrainedModel
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name and shape in the file for each name of transformers, in the order of writing."""
    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == layout.architecture)
    known = gguf.get_tensor_name_map(architecture, model.config.num_hidden_layers)
    names = {}
    for original, tensor in gguf_tensors(model):
        short = known.get_name(original, try_suffixes=(".weight", ".bias"))
        if short is None:
            raise ModelError(
                f"the weight {original}",
                f"those of a plain {layout.architecture} model",
                "save a plain checkpoint",
            )
        names[original] = (short, tuple(tensor.shape))
    return names


def _kind(gguf: Any, shape: tuple[int, ...], file_type: FileType) -> Any:
    kinds = gguf.GGMLQuantizationType
    if len(shape) < 2:
        return kinds.F32
    if file_type == "q8_0" and shape[-1] % _BLOCK:
        return kinds.F16
    return kinds[FILE_TYPES[file_type][0]]


def _file_type(gguf: Any, file_type: FileType) -> int:
    kind = FILE_TYPES[file_type][0]
    return int(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])


def _require_finite(stored: Any, name: str, file_type: FileType) -> None:
    """Refuse what float16 is too small for."""
    if stored.dtype == np.float16 and not np.isfinite(stored).all():
        raise ModelError(
            f"{name} holds values beyond {file_type}",
            "values up to 65504",
            "give --dtype bfloat16 or float32",
        )


def _add(writer: Any, key: str, value: Value | bytes | list[Any]) -> None:
    """Add one field, in the type that GGUF readers expect."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
