"""AdamW over bfloat16 weights, against torch's own on float32 ones."""

import pytest
import torch
from torch import nn

from lingraft.training.optimization import MasterAdamW


@pytest.mark.parametrize("scale", [None, 3.0])
def test_masters_step_as_torchs_adamw_steps_float32_weights(scale: float | None) -> None:
    """Two groups, one gradient missing at first, clipped by division: torch's AdamW sees the divided gradients."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(5, 3, generator=generator), torch.randn(7, generator=generator), torch.randn(2, 2)]
    weights = [nn.Parameter(value.bfloat16()) for value in values]
    masters = {id(p): p.detach().float().clone() for p in weights}
    reference = [nn.Parameter(p.detach().float().clone()) for p in weights]

    def groups(params: list[nn.Parameter]) -> list[dict[str, object]]:
        return [
            {"params": params[:2], "lr": 3e-3, "weight_decay": 0.1},
            {"params": params[2:], "lr": 1e-2, "weight_decay": 0.0},
        ]

    options = {"betas": (0.8, 0.95), "eps": 1e-7}
    ours = MasterAdamW(groups(weights), masters, **options)  # type: ignore[arg-type]
    theirs = torch.optim.AdamW(groups(reference), fused=False, foreach=False, **options)  # type: ignore[arg-type]
    for step in range(5):
        for index, (mine, other) in enumerate(zip(weights, reference, strict=True)):
            missing = index == 1 and step < 2
            gradient = torch.randn(mine.shape, generator=generator).bfloat16()
            mine.grad = None if missing else gradient
            other.grad = None if missing else gradient.float() / (scale or 1.0)
        ours.grad_scale = None if scale is None else torch.tensor(scale)
        ours.step()
        theirs.step()
    for mine, other in zip(weights, reference, strict=True):
        torch.testing.assert_close(masters[id(mine)], other.detach(), rtol=1e-5, atol=1e-7)
        assert torch.equal(mine.detach(), masters[id(mine)].bfloat16())
