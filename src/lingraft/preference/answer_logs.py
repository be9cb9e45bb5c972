"""Log-probabilities of given next tokens from hidden states, without ever holding all the logits.

Where the head does not learn, as under the policy `attention`, the gradient of a log-probability with respect to its
state is known in the forward pass up to a factor: it is kept instead of the logits, `d_model` values a position in the
place of a vocabulary's.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

CHUNK = 2**24
"""Logits computed at once: 64 MiB in float32."""


def next_token_logs(
    states: torch.Tensor, targets: torch.Tensor, head: nn.Module, softcap: float | None
) -> torch.Tensor:
    """Return each target's log-probability, nats, float32.

    Args:
        states: Normed final states `[positions, d_model]`.
        targets: int64 `[positions]`.
        head: The linear output head.
        softcap: Gemma's cap on logits.

    Returns:
        `[positions]`, which can be differentiated once.
    """
    weight: Any = head.weight
    bias: Any = getattr(head, "bias", None)
    rows = max(1, CHUNK // weight.shape[0])
    if not torch.is_grad_enabled() or not (weight.requires_grad or (bias is not None and bias.requires_grad)):
        logs: torch.Tensor = _FrozenHead.apply(states, targets, weight, bias, softcap, rows)  # type: ignore[no-untyped-call]
        return logs
    parts = []
    for begin in range(0, len(states), rows):
        chunk = (states[begin : begin + rows], targets[begin : begin + rows], head, softcap)
        parts.append(checkpoint(_learning_head, *chunk, use_reentrant=False))
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def _learning_head(
    states: torch.Tensor, targets: torch.Tensor, head: nn.Module, softcap: float | None
) -> torch.Tensor:
    logits = head(states).float()
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    wanted: torch.Tensor = logits.gather(1, targets[:, None])[:, 0]
    return wanted - torch.logsumexp(logits, dim=1)


class _FrozenHead(torch.autograd.Function):
    """Log-probabilities, and in the same pass their gradient with respect to the states."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        softcap: float | None,
        rows: int,
    ) -> torch.Tensor:
        logs = torch.empty(len(states), dtype=torch.float32, device=states.device)
        wanted = ctx.needs_input_grad[0]
        slopes = torch.empty_like(states) if wanted else None
        # Under autocast the states may be wider than what products are computed in, and the weight too.
        product = weight.to(states.dtype)
        for begin in range(0, len(states), rows):
            some = slice(begin, begin + rows)
            logits = nn.functional.linear(states[some], product, bias).float()
            bent = None
            if softcap is not None:
                bent = torch.tanh(logits / softcap)
                logits = softcap * bent
            index = targets[some, None]
            normaliser = torch.logsumexp(logits, dim=1, keepdim=True)
            logs[some] = (logits.gather(1, index) - normaliser)[:, 0]
            if slopes is None:
                continue
            change = logits.sub_(normaliser).exp_().neg_()
            change.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float32))
            if bent is not None:
                change.mul_(1 - bent.square_())
            slopes[some] = change.to(product.dtype) @ product
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return logs

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradients[0][:, None].to(slopes.dtype), None, None, None, None, None)
