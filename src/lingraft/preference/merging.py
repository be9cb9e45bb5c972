"""Merging checkpoints without training: the arithmetic on tensors, and carrying it out block by block."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lingraft.errors import ModelError
from lingraft.preference.tensor_stream import (
    FLOATS,
    Output,
    Slot,
    file_order,
    read_blocks,
    read_metadata,
    torch_dtype,
    write_file,
    write_index,
)
from lingraft.progress import progress_task


def copy(first: Tensor, amount: float = 1.0) -> Tensor:
    """Return the tensor itself; `amount` has no meaning."""
    del amount
    return first


def interpolate(base: Tensor, tuned: Tensor, amount: float) -> Tensor:
    """Return `(1 - amount) * base + amount * tuned`, computed in float64.

    Elements on which both agree keep every bit, as do all of them at 0 and at 1.

    Args:
        base: Any shape, any floating-point dtype.
        tuned: The same shape.
        amount: Share of `tuned`, from 0 to 1.

    Returns:
        Float64, the same shape.
    """
    start, end = base.double(), tuned.double()
    if amount in (0, 1):
        return end if amount else start
    return torch.where(start == end, start, (1 - amount) * start + amount * end)


def add_difference(target: Tensor, chat: Tensor, base: Tensor, amount: float) -> Tensor:
    """Return `target + amount * (chat - base)`, computed in float64: the chat vector, added (arXiv 2310.04799).

    Elements on which `chat` and `base` agree keep every bit of `target`.

    Args:
        target: Any shape, any floating-point dtype.
        chat: The same shape.
        base: The same shape.
        amount: Scale of the difference; the paper's is 1.

    Returns:
        Float64, the same shape.
    """
    kept, difference = target.double(), chat.double() - base.double()
    return torch.where(difference == 0, kept, kept + amount * difference)


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "copy": copy,
    "interpolate": interpolate,
    "add-difference": add_difference,
}
"""What can be done with the tensors of a plan, in the order of its slots."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """How one tensor of the result is made.

    Attributes:
        output: What is written, and where.
        operation: One of `OPERATIONS`.
        slots: The tensors that it takes, in its order, all of the output's shape.
        amount: Its number.
        origin: Where the tensor comes from, in words for the reader.
        layer: The layer it belongs to; None outside the layers.
    """

    output: Output
    operation: str
    slots: tuple[Slot, ...]
    amount: float
    origin: str
    layer: int | None


@dataclass(frozen=True, slots=True)
class MergePlan:
    """A whole merge, before any weight is read.

    Attributes:
        tensors: One plan a tensor of the result.
        first: Role of the input whose config, tensor names and division into files the result takes.
        warnings: What the user should know, a line each.
    """

    tensors: tuple[TensorPlan, ...]
    first: str
    warnings: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """How many bytes the weights of the result take."""
        return sum(tensor.output.bytes for tensor in self.tensors)

    def origins(self) -> dict[str, dict[str, int]]:
        """Return tensors, parameters and bytes of the result by where they come from."""
        found: dict[str, dict[str, int]] = {}
        for tensor in self.tensors:
            entry = found.setdefault(tensor.origin, {"tensors": 0, "parameters": 0, "bytes": 0})
            entry["tensors"] += 1
            entry["parameters"] += tensor.slots[0].elements
            entry["bytes"] += tensor.output.bytes
        return found

    def dtypes(self) -> dict[str, int]:
        """Return how many tensors are written in each dtype."""
        names = [str(torch_dtype(tensor.output.dtype)).removeprefix("torch.") for tensor in self.tensors]
        return {name: names.count(name) for name in sorted(set(names))}


def merged_blocks(tensor: TensorPlan) -> Iterator[Tensor]:
    """Yield a tensor of the result, a stretch at a time.

    Args:
        tensor: Its plan.

    Yields:
        Flat stretches in the output's dtype.

    Raises:
        ModelError: An input holds NaN or infinity, or a result does not fit the dtype; the tensor is named.
    """
    dtype = torch_dtype(tensor.output.dtype)
    for stretch in read_blocks(tensor.slots):
        value = OPERATIONS[tensor.operation](*stretch, amount=tensor.amount)
        written = value.to(dtype)
        if written is not stretch[0] and tensor.output.dtype in FLOATS and not torch.isfinite(written).all():
            raise ModelError(
                f"values of {tensor.output.name} up to {float(value.abs().max()):.3g} do not fit {dtype}",
                "finite results",
                "give --dtype float32 or bfloat16, or a smaller scale",
            )
        yield written


def write_merge(directory: Path, tensors: Sequence[TensorPlan]) -> None:
    """Write the weights of a merge, one stretch of one tensor in memory at a time.

    Args:
        directory: An existing directory.
        tensors: The plan.

    Raises:
        ModelError: An input is not finite or ends early, or a result does not fit its dtype.
    """
    plans = {tensor.output.name: tensor for tensor in tensors}
    outputs = [tensor.output for tensor in tensors]
    with progress_task("merging (MiB)", sum(output.bytes for output in outputs) / 2**20) as advance:
        for name in sorted({output.file for output in outputs}):
            ordered = file_order(output for output in outputs if output.file == name)
            source = plans[ordered[0].name].slots[0].file

            def stretches(plan: TensorPlan) -> Iterator[Tensor]:
                for stretch in merged_blocks(plan):
                    yield stretch
                    advance(stretch.nbytes / 2**20)

            blocks = (stretches(plans[output.name]) for output in ordered)
            write_file(directory / name, ordered, blocks, read_metadata(source))
    write_index(directory, outputs)
