"""The language modelling loss, with float32 arithmetic a few rows at a time."""

from typing import Any

import torch

ROWS = 64
"""Positions handled at once: their float32 logits stay within the processor's caches."""


class _CrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of logits that never exist in float32 as a whole."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        normalisers = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
        total = torch.zeros((), dtype=torch.float64 if logits.device.type == "cpu" else torch.float32)
        total = total.to(logits.device)
        for begin in range(0, len(logits), ROWS):
            chunk = logits[begin : begin + ROWS].float()
            normaliser = torch.logsumexp(chunk, dim=1)
            normalisers[begin : begin + ROWS] = normaliser
            wanted = chunk.gather(1, targets[begin : begin + ROWS, None])[:, 0]
            total += (normaliser - wanted).sum()
        ctx.save_for_backward(logits, targets, normalisers)
        return (total / len(logits)).float()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets, normalisers = ctx.saved_tensors
        result = torch.empty_like(logits)
        scale = gradients[0] / len(logits)
        for begin in range(0, len(logits), ROWS):
            rows = slice(begin, begin + ROWS)
            chunk = logits[rows].float().sub(normalisers[rows, None]).exp_()
            index = targets[rows, None]
            chunk.scatter_add_(1, index, torch.full_like(index, -1, dtype=torch.float32))
            result[rows] = chunk.mul_(scale)
        return result, None


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean negative log-likelihood of the targets, nats, float32.

    Args:
        logits: [positions, vocabulary], any float dtype; softmax and loss are computed in float32.
        targets: int64 [positions].

    Returns:
        A scalar that can be differentiated once.
    """
    loss: torch.Tensor = _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    return loss
