"""Parameters that FSDP has divided between processes: what cannot be done with them, and making them whole again."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lingraft.errors import TrainingError


def is_fsdp() -> bool:
    """Whether `accelerate launch` was told to shard parameters."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in {"1", "true"}


def refuse_under_fsdp(trainer: Any, *, masters: bool, evaluate_at: Sequence[int]) -> None:
    """Refuse what needs whole parameters during a training, before it begins.

    Args:
        trainer: A transformers Trainer.
        masters: Whether the optimiser steps float32 copies of narrower weights.
        evaluate_at: Steps after which something is measured on the main process.

    Raises:
        TrainingError: The parameters will be sharded, and one of these is wanted.
    """
    if not getattr(trainer, "is_fsdp_enabled", False):
        return
    if masters:
        raise TrainingError(
            "--precision bfloat16 under FSDP",
            "float32 or bf16-autocast, whose optimiser steps the sharded parameters themselves",
            "give one of these; mixed_precision: bf16 of accelerate config gathers in bfloat16",
        )
    if evaluate_at:
        raise TrainingError(
            "measuring during a training under FSDP",
            "no held-out items: the main process alone cannot run a sharded model",
            "leave the held-out items out, and measure the checkpoint afterwards",
        )


def gather_parameters(model: nn.Module) -> bool:
    """Give a model whole parameters again, in place; every process has to call it.

    The first process gets the values, on the CPU, one parameter after the other; the others get zeros, which take no
    memory until they are written to: one that saves is enough. The hooks and classes with which FSDP gathers layers
    are taken away.

    Args:
        model: A model, sharded by `fully_shard` or not.

    Returns:
        Whether it was sharded.
    """
    from torch.distributed.tensor import DTensor

    sharded: dict[int, Any] = {id(p): p for p in model.parameters() if isinstance(p, DTensor)}
    if not sharded:
        return False
    first = torch.distributed.get_rank() == 0
    whole: dict[int, nn.Parameter] = {}
    # All processes go through the parameters in one order: each gathering is a collective call.
    for key, parameter in sharded.items():
        values = parameter.detach().full_tensor()
        values = values.to("cpu") if first else torch.zeros_like(values, device="cpu")
        whole[key] = nn.Parameter(values, requires_grad=parameter.requires_grad)
    for module in model.modules():
        for name, held in module._parameters.items():
            if held is not None and id(held) in whole:
                module._parameters[name] = whole[id(held)]
    for module in model.modules():
        _release(module)
    return True


def _release(module: nn.Module) -> None:
    """Take away what `fully_shard` has put on a module."""
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(module, FSDPModule):
        return
    state: Any = module._get_fsdp_state()
    for name in ("_pre_forward_hook_handle", "_post_forward_hook_handle"):
        handle = getattr(state, name, None)
        if handle is not None:
            handle.remove()
    # Its class was made from FSDPModule and the module's own.
    module.__class__ = next(kind for kind in type(module).__bases__ if kind is not FSDPModule)
