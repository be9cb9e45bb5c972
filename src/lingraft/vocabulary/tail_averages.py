"""The mean of a model's weights over the steps before it is scored.

At a constant rate and with small batches the score of a single step scatters by more than methods differ. The mean
over the last steps scatters less, brings part of what a falling rate would (arXiv 2405.18392), and leaves the training
itself alone, so that one run can be scored at several steps. The share of the steps and their number in a mean are our
choice.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

MOST_SUMMED = 16
"""Steps in a mean: more of them, evenly spaced, change little and cost a pass over the weights each."""


def tail_steps(step: int, share: float) -> tuple[int, ...]:
    """Return the steps whose weights are averaged to score a model after `step`.

    Args:
        step: 0 is before training.
        share: Share of the steps before, 0 to 1; 0 takes the weights after `step` alone.

    Returns:
        Rising steps that end with `step`, 16 at most, evenly spaced.
    """
    length = max(1, math.floor(step * share))
    spacing = math.ceil(length / MOST_SUMMED)
    return tuple(sorted(step - back for back in range(0, length, spacing)))


class TailAverages:
    """Sums of a model's weights, in float32, for each step that is to be scored."""

    def __init__(self, steps: Iterable[int], share: float) -> None:
        self._tails = {step: tail_steps(step, share) for step in steps}
        self._sums: dict[int, list[Tensor]] = {}

    @property
    def steps(self) -> list[int]:
        """Every step after which `add` is to be called."""
        return sorted({step for tail in self._tails.values() for step in tail})

    @torch.no_grad()
    def add(self, step: int, model: nn.Module) -> None:
        """Add the weights after a step to the sums that it belongs to."""
        for scored, tail in self._tails.items():
            # A tail of one step is the model as it is.
            if step not in tail or len(tail) == 1:
                continue
            if scored not in self._sums:
                self._sums[scored] = [p.to(torch.float32, copy=True) for p in model.parameters()]
                continue
            for total, parameter in zip(self._sums[scored], model.parameters(), strict=True):
                total.add_(parameter)

    @contextlib.contextmanager
    def scored_weights(self, step: int, model: nn.Module) -> Iterator[None]:
        """Give the model the mean weights of a step's tail for the block, and its own back after it."""
        sums = self._sums.pop(step, None)
        if sums is None:
            yield
            return
        own = [parameter.detach().clone() for parameter in model.parameters()]
        with torch.no_grad():
            for parameter, total in zip(model.parameters(), sums, strict=True):
                parameter.copy_(total / len(self._tails[step]))
        del sums
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), own, strict=True):
                    parameter.copy_(value)
