"""The loop: transformers.Trainer on accelerate, with what our trainings need and no more.

Because of it trainings need the extra `train`. Trainer keeps its optimiser and random states as torch pickles inside
the run directory. They are only ever read back from checkpoints that carry our own completion marker and sit in a
directory that this same command made; weights are safetensors.
"""

import importlib.util
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from lingraft.errors import MissingExtraError, TrainingError
from lingraft.files import fsync_directory, write_json
from lingraft.models.opening import quiet_bars
from lingraft.training.checkpoints import COMPLETE, check_restored
from lingraft.training.optimization import (
    MasterAdamW,
    body_parameters,
    parameter_groups,
    rate_factor,
)
from lingraft.training.plan import TrainingPlan
from lingraft.training.sharding import gather_parameters, refuse_under_fsdp

Evaluation = Callable[[int, Any], Mapping[str, Any]]


def require_accelerate() -> None:
    """Refuse early where the extra is not installed.

    Raises:
        MissingExtraError: accelerate is missing.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "train", "continued pre-training")


Collate = Callable[[list[Any]], dict[str, Any]]


def cast_forward(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """Return what casts a forward pass, where the precision asks for it."""
    if precision == "bf16-autocast":
        return torch.autocast(device_type, torch.bfloat16)
    return nullcontext()


class StepCallback(TrainerCallback):
    """Switches the body on after `body_after` steps, times steps, and evaluates at the wanted ones."""

    def __init__(self, owner: "RunTrainer", evaluate_at: Sequence[int], evaluate: Evaluation | None) -> None:
        self.owner, self.evaluate = owner, evaluate
        self.evaluate_at = frozenset(evaluate_at) if evaluate else frozenset()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate before the first step."""
        self._evaluate(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock; let the body learn, or not."""
        self.owner.set_body(state.global_step >= self.owner.plan.body_after)
        self.owner.step_started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock, then evaluate."""
        self.owner.step_seconds = time.perf_counter() - self.owner.step_started
        self._evaluate(state)

    def _evaluate(self, state: Any) -> None:
        step = state.global_step
        done = {entry["step"] for entry in state.log_history if "evaluation" in entry}
        if step in self.evaluate_at and step not in done and self.evaluate is not None:
            state.log_history.append({"step": step, "evaluation": self.owner.measured(step, self.evaluate)})


class RunTrainer(Trainer):
    """Trainer with our data order, parameter groups, schedules and checkpoints that survive kill -9; no loss yet."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        dataset: Dataset[Any],
        plan: TrainingPlan,
        *,
        collate: Collate,
        masters: dict[int, torch.Tensor] | None,
        evaluate_at: Sequence[int],
        evaluate: Evaluation | None,
        advance: Callable[..., None],
    ) -> None:
        if evaluate and max(evaluate_at, default=0) > plan.steps:
            raise TrainingError(
                f"an evaluation at step {max(evaluate_at)}",
                f"at most {plan.steps}, the last step",
                "it would never come: name steps of the training",
            )
        self.plan, self.masters, self.advance = plan, masters, advance
        self.step_started = self.step_seconds = 0.0
        self._body = body_parameters(model)
        self._body_on = True
        super().__init__(model=model, args=args, train_dataset=dataset, data_collator=collate)
        refuse_under_fsdp(self, masters=masters is not None, evaluate_at=evaluate_at if evaluate else ())
        # One process uses one device; several are what accelerate launch is for. Trainer would use DataParallel.
        self.args._n_gpu = min(1, self.args._n_gpu)
        # Losses are those of a micro-batch, which Trainer then divides by their number.
        self.loss_is_scaled_for_ga = False
        self.pop_callback(PrinterCallback)
        self.add_callback(StepCallback(self, evaluate_at, evaluate))

    def run(self, checkpoint: Path | None) -> None:
        """Train, from a checkpoint where there is one; whole parameters come out, sharded or not."""
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        gather_parameters(cast(torch.nn.Module, self.model))

    def set_body(self, on: bool) -> None:
        """Let the body learn or hold it still.

        Alone, a held body needs no weight gradients at all. DistributedDataParallel fixes what it reduces when it is
        made, so with several processes the gradients are made and thrown away instead: the same result.
        """
        self._body_on = on
        if self.args.world_size == 1:
            for parameter in self._body:
                parameter.requires_grad_(on)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make AdamW, fused, over our groups."""
        if self.optimizer is None:
            plan = self.plan
            groups = parameter_groups(
                self.model, plan.learning_rate, plan.embedding_learning_rate, plan.weight_decay
            )
            betas = (self.args.adam_beta1, self.args.adam_beta2)
            options: dict[str, Any] = {"betas": betas, "eps": self.args.adam_epsilon}
            if self.masters is not None:
                self.optimizer = MasterAdamW(groups, self.masters, **options)
            else:
                self.optimizer = torch.optim.AdamW(groups, fused=True, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Make a schedule for each group; the body's warm-up starts when it begins to learn (our choice)."""
        if self.lr_scheduler is None:
            optimizer = optimizer or self.optimizer
            factors = [
                rate_factor(
                    self.plan.schedule,
                    num_training_steps,
                    self.plan.warmup_steps,
                    self.plan.body_after if group["part"] == "body" else 0,
                )
                for group in optimizer.param_groups
            ]
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def casting(self, device_type: str) -> AbstractContextManager[Any]:
        """Return what casts the forward pass, where the precision asks for it."""
        return cast_forward(self.plan.precision, device_type)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Take one forward and backward pass; see `set_body` for several processes."""
        loss: torch.Tensor = super().training_step(model, inputs, None)
        if not self._body_on:
            for parameter in self._body:
                parameter.grad = None
        return loss

    def _clip_grad_norm(self, model: Any) -> torch.Tensor:
        """Clip as Trainer does, but leave the gradients alone where they are within bounds.

        An optimiser that scales gradients on their way through its kernel is told the scale instead.
        """
        learning = [p for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([cast(torch.Tensor, p.grad) for p in learning])
        beyond = not norm <= self.args.max_grad_norm
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        if isinstance(optimizer, MasterAdamW):
            optimizer.grad_scale = norm.float() / self.args.max_grad_norm if beyond else None
        elif beyond:
            torch.nn.utils.clip_grads_with_norm_(learning, self.args.max_grad_norm, norm)
        return norm

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm as Trainer does, which asks for it before every update of the weights."""
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        self.settle_step(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
        return norm

    def settle_step(self, norm: float) -> None:
        """Stop at a loss or a gradient that is no number, before it reaches the weights and what is kept of them."""
        loss = self.accelerator.reduce(self._tr_loss.detach().clone(), reduction="mean").item()
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise TrainingError(
                    f"a {name} of {value} at step {self.state.global_step + 1}",
                    "a finite number",
                    "lower the learning rate, warm up longer, or check the weights for NaN rows",
                )

    def take_measures(self) -> dict[str, float]:
        """Return what else is to be kept of the step that has ended, and begin anew."""
        return {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep what a step gave in the state, which checkpoints carry, and tell trackers; print nothing."""
        if "loss" not in logs:
            return
        kept = {"step": self.state.global_step, "loss": logs["loss"], "gradient_norm": logs["grad_norm"]}
        measures = self.take_measures()
        self.state.log_history.append(kept | {"seconds": self.step_seconds} | measures)
        # Only trackers listen: nothing else that prints is among the callbacks.
        shown = {**logs, **measures}
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, shown)
        self.advance(1, f"training, loss {logs['loss']:.3f}")

    def measured(self, step: int, evaluate: Evaluation) -> dict[str, Any]:
        """Evaluate on the main process, leave no trace on the training, and tell every process."""
        from accelerate.utils import broadcast_object_list

        outcome: list[Any] = [None]
        if self.is_world_process_zero():
            cpu_state, numpy_state = torch.get_rng_state(), np.random.get_state()
            device_state = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
            model: Any = self.model
            model.eval()
            outcome = [dict(evaluate(step, model))]
            model.train()
            torch.set_rng_state(cpu_state)
            np.random.set_state(numpy_state)
            if device_state:
                torch.cuda.set_rng_state_all(device_state)
        if self.args.world_size > 1:
            broadcast_object_list(outcome)
        result: dict[str, Any] = outcome[0]
        return result

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save the weights under their names in memory, under which Trainer reads them back.

        Its own way saves them under the published names. Of models that name them otherwise in memory (GPT-NeoX,
        Gemma 3, mixtures of experts) a training that goes on would then miss some.
        """
        if self.args.should_save:
            model: Any = self.model
            directory = output_dir or self.args.output_dir
            model.save_pretrained(directory, state_dict=state_dict, save_original_format=False)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse to go on without some of the weights, which Trainer only notes; tied ones come with each other."""
        check_restored(cast(torch.nn.Module, self.model), load_result, str(self.args.output_dir))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save, mark the checkpoint complete, and only then remove the older ones."""
        with quiet_bars():
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            directory = Path(str(self.args.output_dir))
            current = directory / f"checkpoint-{self.state.global_step}"
            write_json(current / COMPLETE, {"step": self.state.global_step})
            fsync_directory(directory)
            for other in directory.glob("checkpoint-*"):
                if other != current:
                    shutil.rmtree(other, ignore_errors=True)
        self.accelerator.wait_for_everyone()
