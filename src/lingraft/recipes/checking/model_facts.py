"""How large a model is and how far it reads, from its files' headers: nothing is loaded or fetched."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from lingraft.assets.catalog import find_asset, is_asset_name


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's size.

    Attributes:
        parameters: Numbers in its tensors.
        layers: Its layers.
        width: Of its residual stream.
        matrices: Embedding matrices: 1 where tied, else 2.
        bytes_each: Bytes a number on disk.
    """

    parameters: int
    layers: int
    width: int
    matrices: int
    bytes_each: int

    def with_rows(self, rows: int) -> "ModelFacts":
        """Return the size with so many more tokens."""
        return replace(self, parameters=self.parameters + rows * self.width * self.matrices)


def model_facts(reference: str) -> ModelFacts | None:
    """Return a model's size where its files are on this machine.

    Args:
        reference: Directory, asset's name or hub id.

    Returns:
        The size, or None.
    """
    directory = _directory(reference)
    config = None if directory is None else _config(directory)
    if directory is None or config is None:
        return None
    try:
        shapes = [entry for file in sorted(directory.glob("*.safetensors")) for entry in _tensors(file)]
    except (OSError, ValueError, struct.error):
        return None
    inner = config.get("text_config", config)
    numbers = sum(prod(shape) for shape, _ in shapes)
    if not numbers:
        return None
    sizes = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
    return ModelFacts(
        parameters=numbers,
        layers=int(inner.get("num_hidden_layers") or inner.get("n_layer") or 1),
        width=int(inner.get("hidden_size") or inner.get("n_embd") or 1),
        matrices=1 if config.get("tie_word_embeddings", True) else 2,
        bytes_each=max(sizes.get(dtype, 4) for _, dtype in shapes),
    )


def model_positions(reference: str) -> int | None:
    """Return how many tokens a model can read at once, where its configuration is on this machine and says so.

    Args:
        reference: Directory, asset's name or hub id.

    Returns:
        Tokens, or None.
    """
    directory = _directory(reference)
    config = None if directory is None else _config(directory)
    if config is None:
        return None
    inner = config.get("text_config", config)
    positions = inner.get("max_position_embeddings") or inner.get("n_positions")
    return positions if isinstance(positions, int) else None


def _directory(reference: str) -> Path | None:
    path = Path(reference).expanduser()
    if path.is_dir():
        return path
    if is_asset_name(reference):
        return find_asset(reference)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name, _, revision = reference.partition("@")
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision or None)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _config(directory: Path) -> dict[str, Any] | None:
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _tensors(file: Path) -> Iterator[tuple[list[int], str]]:
    """Go through the shapes and types in the header of a safetensors file."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header: dict[str, Any] = json.loads(opened.read(min(length, 2**27)))
    for name, entry in header.items():
        if name != "__metadata__":
            yield entry["shape"], entry["dtype"]
