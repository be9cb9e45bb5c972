"""Which parameters learn: attention's projections as in the paper, all, low-rank additions, or all and then back.

The paper trains attention alone. It reports that in Swahili, which Llama-2 hardly knows, this loses to training all
parameters (win rates of 29.7 and 69.6), so the policy is a choice, and `low_resource_warning` says when to think again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from lingraft.errors import TrainingError
from lingraft.models.architecture import attention_parameters

Policy = Literal["attention", "full", "lora", "train_then_revert"]
POLICIES: tuple[str, ...] = get_args(Policy)
LOW_RESOURCE = 1.5
"""How many times its bits a byte of English a model needs in a language that we call hard for it (our choice)."""


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """Low-rank additions to attention's projections; the numbers are our choice.

    Attributes:
        rank: Their rank.
        alpha: Their scale, times 1/rank.
        dropout: Dropout before them.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class Learning:
    """What a policy does beyond letting parameters learn.

    Attributes:
        finish: Gives the plain model that came out, when the training is over.
        as_kept: While its context is open, the model has the weights that it would be kept with at that moment.
    """

    finish: Callable[[], Any]
    as_kept: Callable[[], AbstractContextManager[None]] = nullcontext


def check_policy(policy: str) -> None:
    """Refuse a policy that there is not.

    Args:
        policy: Its name.

    Raises:
        TrainingError: It is not one of `POLICIES`.
    """
    if policy not in POLICIES:
        raise TrainingError(f"parameters {policy!r}", f"one of {', '.join(POLICIES)}", "name one of them")


@contextmanager
def learning_parameters(
    model: Any, policy: str, lora: LoraOptions | None = None, *, seed: int = 0
) -> Iterator[Learning]:
    """Let the policy's parameters learn, and no other.

    Args:
        model: A causal LM of a known architecture.
        policy: One of `POLICIES`.
        lora: For the policy `lora`.
        seed: Of the additions' first values.

    Yields:
        How to measure on the way and how to end. Under `train_then_revert` everything but attention then has its first
        values again (our reading of the name).

    Raises:
        TrainingError: Another policy.
        MissingExtraError: `lora` without peft.
    """
    check_policy(policy)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        if policy == "lora":
            with _with_lora(model, lora or LoraOptions(), seed) as finish:
                yield Learning(finish)
            return
        attention = attention_parameters(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(policy != "attention" or name in attention)
        if policy == "train_then_revert":
            first = {
                n: p.detach().to("cpu", copy=True) for n, p in model.named_parameters() if n not in attention
            }
            yield Learning(lambda: _reverted(model, first), lambda: _as_reverted(model, first))
        else:
            yield Learning(lambda: model)
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before.get(name, True))


@contextmanager
def _with_lora(model: Any, options: LoraOptions, seed: int) -> Iterator[Callable[[], Any]]:
    """Wrap the model in place; if the training fails, it is itself again."""
    from lingraft.training.lora import add_lora, merge_lora

    adapted = add_lora(
        model, rank=options.rank, alpha=options.alpha, dropout=options.dropout, targets="attention", seed=seed
    )
    try:
        yield lambda: merge_lora(adapted)
    except BaseException:
        adapted.unload()
        raise


@torch.no_grad()
def _reverted(model: Any, first: dict[str, torch.Tensor]) -> Any:
    for name, parameter in model.named_parameters():
        if name in first:
            parameter.copy_(first[name])
    return model


@contextmanager
def _as_reverted(model: Any, first: dict[str, torch.Tensor]) -> Iterator[None]:
    trained = {n: p.detach().to("cpu", copy=True) for n, p in model.named_parameters() if n in first}
    _reverted(model, first)
    try:
        yield
    finally:
        _reverted(model, trained)


def low_resource_warning(policy: str, english_bits: float, target_bits: float) -> str | None:
    """Say when training attention alone is likely too little.

    Args:
        policy: The policy.
        english_bits: Bits per byte of English answers under the initial model.
        target_bits: The same of target answers.

    Returns:
        A sentence, or None.
    """
    if policy not in {"attention", "lora"} or target_bits <= LOW_RESOURCE * english_bits:
        return None
    return (
        f"the model needs {target_bits:.2f} bits a byte in the target language and {english_bits:.2f} in English; where"
        " it knows a language so little, training attention alone was published to lose to training all parameters:"
        " consider --parameters full"
    )
