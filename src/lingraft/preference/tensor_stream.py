"""Reading and writing safetensors block by block, so that merging models needs memory for no whole tensor."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lingraft.errors import ModelError
from lingraft.models.checkpoints import INDEX, WEIGHTS, read_header, tensor_entries

BLOCK = 2**18
"""Elements that are in memory at once of each input."""

FLOATS: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
}
"""Floating-point dtypes that can be merged, by their names in safetensors headers."""
NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in FLOATS.items()}

_OTHERS: Mapping[str, torch.dtype] = {
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor's bytes lie.

    Attributes:
        name: The tensor's name in its file.
        owner: What the user typed for the checkpoint, for messages.
        file: The safetensors file.
        start: Offset of the first byte in the file.
        dtype: As in safetensors headers: `F32`, `BF16`, ...
        shape: Sizes.
    """

    name: str
    owner: str
    file: Path
    start: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes the tensor takes in its file."""
        return self.elements * torch_dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor to write.

    Attributes:
        name: Its name in the new checkpoint.
        file: Name of the file that it goes to.
        dtype: As in safetensors headers.
        shape: Sizes.
    """

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * torch_dtype(self.dtype).itemsize


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's dtype for a name in a safetensors header."""
    found = FLOATS.get(name) or _OTHERS.get(name)
    if found is None:
        raise ModelError(
            f"a tensor of dtype {name}",
            f"one of {', '.join([*FLOATS, *_OTHERS])}",
            "give an unquantised checkpoint",
        )
    return found


def read_slots(directory: Path, owner: str) -> dict[str, Slot]:
    """Return where every tensor of a checkpoint lies, all files checked, shards included.

    Args:
        directory: The checkpoint.
        owner: What the user typed for it.

    Returns:
        Slots by the names in the files.

    Raises:
        ModelError: A weight file is missing, pickled, truncated or quantised.
    """
    entries = tensor_entries(directory)
    slots = {}
    for file in sorted({entry.file for entry in entries.values()}):
        header, raw = read_header(file)
        for name, entry in header.items():
            torch_dtype(str(entry["dtype"]))
            start = 8 + len(raw) + int(entry["data_offsets"][0])
            slots[name] = Slot(name, owner, file, start, str(entry["dtype"]), tuple(entry["shape"]))
    return slots


def read_blocks(slots: Sequence[Slot], block: int = BLOCK) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same stretch of several equally long tensors at a time.

    Args:
        slots: Tensors with the same number of elements.
        block: Elements a stretch.

    Yields:
        One flat tensor a slot, in its stored dtype.

    Raises:
        ModelError: A floating-point tensor holds NaN or infinity; it is named.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(slot.file.open("rb", buffering=0)) for slot in slots]
        for begin in range(0, slots[0].elements, block):
            count = min(block, slots[0].elements - begin)
            yield tuple(_read(file, slot, begin, count) for file, slot in zip(files, slots, strict=True))


def _read(file: BinaryIO, slot: Slot, begin: int, count: int) -> Tensor:
    """Read a stretch of a tensor."""
    dtype = torch_dtype(slot.dtype)
    content = bytearray(count * dtype.itemsize)
    file.seek(slot.start + begin * dtype.itemsize)
    read, view = 0, memoryview(content)
    while read < len(content) and (more := file.readinto(view[read:])):  # type: ignore[attr-defined]
        read += more
    if read < len(content):
        raise ModelError(f"{slot.file} ends early", "the size of its header", "fetch the model again")
    tensor = torch.frombuffer(content, dtype=dtype)
    if slot.dtype in FLOATS and not bool(torch.isfinite(tensor).all()):
        raise ModelError(
            f"{slot.name} of {slot.owner} holds NaN or infinity",
            "finite weights",
            "fetch the model again, or use a checkpoint from before its training diverged",
        )
    return tensor


def read_metadata(file: Path) -> dict[str, str]:
    """Return the free metadata of a safetensors file, at least the `format` that transformers asks for."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        metadata = json.loads(opened.read(length)).get("__metadata__") or {}
    return {"format": "pt", **metadata}


def write_file(
    path: Path, outputs: Sequence[Output], blocks: Iterable[Iterable[Tensor]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file from a stream.

    Args:
        path: The file.
        outputs: Its tensors, in the order of `file_order`.
        blocks: For each of them its stretches in its dtype, together all its elements.
        metadata: The file's free metadata.

    Raises:
        ModelError: A stream gave more or fewer bytes than its tensor has.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for output in outputs:
        header[output.name] = {
            "dtype": output.dtype,
            "shape": list(output.shape),
            "data_offsets": [end, end := end + output.bytes],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for output, stretches in zip(outputs, blocks, strict=True):
            written = 0
            for stretch in stretches:
                written += file.write(stretch.contiguous().view(torch.uint8).numpy().data)
            if written != output.bytes:
                raise ModelError(
                    f"{written} bytes of {output.name}",
                    f"{output.bytes} bytes",
                    "report this as a mistake of ours",
                )


def file_order(outputs: Iterable[Output]) -> list[Output]:
    """Return tensors with the widest numbers first, then by name: every one lies aligned, as readers want it."""
    return sorted(outputs, key=lambda output: (-torch_dtype(output.dtype).itemsize, output.name))


def write_index(directory: Path, outputs: Sequence[Output]) -> None:
    """Write the index of a sharded checkpoint; nothing where there is one file.

    Args:
        directory: The checkpoint.
        outputs: All its tensors.
    """
    if {output.file for output in outputs} == {WEIGHTS}:
        return
    index = {
        "metadata": {"total_size": sum(output.bytes for output in outputs)},
        "weight_map": {output.name: output.file for output in sorted(outputs, key=lambda item: item.name)},
    }
    text = json.dumps(index, ensure_ascii=False, indent=2)
    (directory / INDEX).write_text(text + "\n", encoding="utf-8")
