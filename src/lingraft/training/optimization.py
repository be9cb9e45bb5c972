"""AdamW for continued pre-training: parameter groups, schedules, and float32 masters of bfloat16 weights."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.optim.adamw import adamw

Schedule = Literal["constant", "cosine", "linear"]


def embedding_parameters(model: Any) -> list[nn.Parameter]:
    """Return the parameters of the input and output embeddings, each once (tied ones are one)."""
    modules = [model.get_input_embeddings(), model.get_output_embeddings()]
    found = {id(p): p for module in modules if module is not None for p in module.parameters()}
    return list(found.values())


def body_parameters(model: Any) -> list[nn.Parameter]:
    """Return all trainable parameters that are not input or output embeddings."""
    embeddings = {id(p) for p in embedding_parameters(model)}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in embeddings]


def parameter_groups(
    model: Any, learning_rate: float, embedding_learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return AdamW groups: embeddings, body matrices, and body vectors (norms, biases).

    Weight decay applies to body matrices alone (our choice): decayed embeddings of rare tokens would only shrink.

    Args:
        model: A transformers causal language model.
        learning_rate: Peak rate of the body.
        embedding_learning_rate: Peak rate of the embeddings.
        weight_decay: AdamW's decay.

    Returns:
        Groups, each with `part` "embeddings" or "body"; empty ones are left out.
    """
    embeddings = [p for p in embedding_parameters(model) if p.requires_grad]
    body = body_parameters(model)
    parts: list[tuple[str, list[nn.Parameter], float, float]] = [
        ("embeddings", embeddings, embedding_learning_rate, 0.0),
        ("body", [p for p in body if p.ndim > 1], learning_rate, weight_decay),
        ("body", [p for p in body if p.ndim <= 1], learning_rate, 0.0),
    ]
    return [
        {"params": params, "lr": rate, "weight_decay": decay, "part": part}
        for part, params, rate, decay in parts
        if params
    ]


def rate_factor(schedule: Schedule, steps: int, warmup_steps: int, start: int = 0) -> Callable[[int], float]:
    """Return the factor on the peak learning rate at each step.

    Args:
        schedule: "constant", or a fall to zero at `steps` as a cosine or a line.
        steps: Steps of the whole training.
        warmup_steps: Steps of linear rise, counted from `start`.
        start: Step at which these parameters begin to train; their factor is 0 before.

    Returns:
        A function of the step, counted from 0.
    """

    def factor(step: int) -> float:
        if step < start:
            return 0.0
        rise = min(1.0, (step - start + 1) / max(1, warmup_steps))
        done = min(1.0, max(0.0, (step - warmup_steps) / max(1, steps - warmup_steps)))
        if schedule == "cosine":
            return rise * 0.5 * (1 + math.cos(math.pi * done))
        return rise * (1 - done) if schedule == "linear" else rise

    return factor


class MasterAdamW(torch.optim.AdamW):
    """AdamW that steps float32 copies of bfloat16 weights and rounds the result into the model.

    AdamW on bfloat16 weights themselves loses every update below 2^-9 of a weight, and its second moment stands still.

    Args:
        groups: Parameter groups of bfloat16 parameters.
        masters: The float32 value of each parameter, by `id(parameter)`; stepped in place.
        **options: AdamW's.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], masters: dict[int, torch.Tensor], **options: Any
    ) -> None:
        groups = list(groups)
        self._model_parameters = [p for group in groups for p in group["params"]]
        self._masters = [nn.Parameter(masters[id(p)]) for p in self._model_parameters]
        by_id = {id(p): master for p, master in zip(self._model_parameters, self._masters, strict=True)}
        self.grad_scale: torch.Tensor | None = None
        super().__init__(
            [{**group, "params": [by_id[id(p)] for p in group["params"]]} for group in groups],
            fused=True,
            **options,
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step the masters with the model's gradients; write them back in the model's dtype.

        Gradients are divided by `grad_scale`, where it is set, on their way through the kernel: clipping costs nothing.
        """
        result = None if closure is None else closure()
        by_master = dict(zip(map(id, self._masters), self._model_parameters, strict=True))
        for group in self.param_groups:
            pairs = [(by_master[id(master)], master) for master in group["params"]]
            for together in self._portions([pair for pair in pairs if pair[0].grad is not None]):
                self._step_together(group, together)
        return result

    def _portions(
        self, pairs: list[tuple[nn.Parameter, nn.Parameter]]
    ) -> list[list[tuple[nn.Parameter, nn.Parameter]]]:
        """One tensor at a time on a processor, whose caches then hold it; all at once where a launch costs more."""
        if pairs and pairs[0][0].device.type == "cpu":
            return [[pair] for pair in pairs]
        return [pairs] if pairs else []

    def _step_together(self, group: dict[str, Any], pairs: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
        parameters, masters = [p for p, _ in pairs], [m for _, m in pairs]
        states = [self._state_of(master) for master in masters]
        beta1, beta2 = group["betas"]
        adamw(
            masters,  # type: ignore[arg-type]
            [cast(torch.Tensor, p.grad).float() for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            grad_scale=self.grad_scale,
        )
        for parameter, master in pairs:
            parameter.copy_(master)

    def _state_of(self, master: nn.Parameter) -> dict[str, torch.Tensor]:
        """AdamW's state of a tensor, made when it first learns."""
        state: dict[str, torch.Tensor] = self.state[master]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
            state["exp_avg"] = torch.zeros_like(master)
            state["exp_avg_sq"] = torch.zeros_like(master)
        return state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the model's own parameters."""
        for parameter in self._model_parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return AdamW's state with the masters."""
        return {**super().state_dict(), "masters": [master.detach() for master in self._masters]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore AdamW's state and the masters."""
        for master, value in zip(self._masters, state_dict["masters"], strict=True):
            master.copy_(value)
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "masters"})
