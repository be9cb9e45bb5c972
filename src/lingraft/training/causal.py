"""Continued pre-training of a causal language model on packed blocks."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.errors import TrainingError
from lingraft.files import open_run_directory, require_free_space
from lingraft.progress import progress_task
from lingraft.training.allocation import kept_memory
from lingraft.training.attention import cpu_attention
from lingraft.training.flops import training_flops
from lingraft.training.optimization import Schedule
from lingraft.training.packing import block_order, pack_blocks
from lingraft.training.plan import Precision, TrainingPlan
from lingraft.training.trainer import (
    BlockDataset,
    CausalTrainer,
    Evaluation,
    latest_checkpoint,
    require_accelerate,
)

__all__ = ["Precision", "TrainingResult", "pack_blocks", "train_causal", "training_flops"]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        losses: float64 [steps], mean nats a token of each step, before that step's update.
        gradient_norms: float64 [steps], before clipping.
        evaluations: What `evaluate` returned, by step.
        steps: Steps taken, those before an interruption included.
        tokens: Tokens in all sequences trained on.
        seconds: Time in steps, without evaluating, saving and loading; over interruptions.
        flops: Estimated floating-point operations, see `training_flops`.
        resumed_from: The step that training went on from, 0 for a fresh start.
    """

    losses: NDArray[np.float64]
    gradient_norms: NDArray[np.float64]
    evaluations: Mapping[int, Mapping[str, Any]]
    steps: int
    tokens: int
    seconds: float
    flops: float
    resumed_from: int = 0


def train_causal(
    model: Any,
    blocks: NDArray[np.int32],
    *,
    output_dir: Path | None = None,
    steps: int,
    batch_size: int,
    learning_rate: float,
    gradient_accumulation: int = 1,
    embedding_learning_rate: float | None = None,
    warmup_steps: int = 0,
    schedule: Schedule = "constant",
    weight_decay: float = 0.0,
    gradient_clip: float = 1.0,
    body_after: int = 0,
    precision: Precision = "float32",
    seed: int = 0,
    save_every: int | None = None,
    resume: bool = True,
    evaluate_at: Sequence[int] = (),
    evaluate: Evaluation | None = None,
    progress: bool = False,
) -> TrainingResult:
    """Train `model` in place with AdamW; on return its parameters are float32.

    The order of the blocks depends on the seed and the number of blocks alone. Under `accelerate launch` the batch is
    shared between the processes. The random generators of torch, numpy and Python are seeded.

    Args:
        model: A transformers causal language model; it is trained on the device it is on.
        blocks: int [blocks, block_length], from `pack_blocks`; gone through again when used up.
        output_dir: Directory of the run, for checkpoints. None keeps everything in memory.
        steps: Optimiser steps.
        batch_size: Sequences a step, over all processes and all of `gradient_accumulation`.
        learning_rate: Peak rate.
        gradient_accumulation: Pieces that a process's share of a batch is computed in: less memory, same result.
        embedding_learning_rate: Peak rate of input and output embeddings, where it differs.
        warmup_steps: Steps of linear rise.
        schedule: What follows the rise: "constant", "cosine" or "linear" to zero.
        weight_decay: AdamW's, on matrices of the body.
        gradient_clip: Largest norm of the gradient.
        body_after: For so many first steps only the embeddings learn.
        precision: "float32"; "bf16-autocast" (float32 weights, products in bfloat16); "bfloat16" (bfloat16 weights and
            activations, float32 master weights in the optimiser, the fastest).
        seed: Seed of the order and of dropout.
        save_every: Steps between checkpoints; only the newest is kept. None saves at the end alone.
        resume: Go on from a checkpoint in `output_dir`; False refuses a directory that has one.
        evaluate_at: Steps after which `evaluate` is called; 0 is before training.
        evaluate: `evaluate(step, model) -> mapping` of JSON values, kept in the result; its random draws do not
            disturb the training's.
        progress: Show a progress bar.

    Returns:
        Losses, evaluations and costs.

    Raises:
        MissingExtraError: accelerate is not installed.
        OutputError: `output_dir` holds something else, or too little space is free.
        TrainingError: Options that do not fit, or a loss that is no finite number.
    """
    require_accelerate()
    plan = TrainingPlan(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        embedding_learning_rate=learning_rate if embedding_learning_rate is None else embedding_learning_rate,
        warmup_steps=warmup_steps,
        schedule=schedule,
        weight_decay=weight_decay,
        gradient_clip=gradient_clip,
        body_after=body_after,
        precision=precision,
        seed=seed,
    )
    plan.check(model, blocks)
    with _directory(output_dir) as directory, _bar(progress, steps) as advance:
        save_steps = None if output_dir is None else save_every or steps
        arguments = _arguments(model, plan, directory, gradient_accumulation, save_steps)
        if output_dir is not None:
            _open_directory(arguments, directory, plan.command(model, blocks), model, resume)
        device = next(model.parameters()).device.type
        with kept_memory(device), cpu_attention(model), _training_dtype(model, precision) as masters:
            trainer = CausalTrainer(
                model,
                arguments,
                BlockDataset(blocks, block_order(len(blocks), steps * batch_size, seed)),
                plan,
                masters=masters,
                evaluate_at=evaluate_at,
                evaluate=evaluate,
                advance=advance,
            )
            return _run(trainer, plan, blocks.shape[1], latest_checkpoint(directory))


def _run(trainer: Any, plan: TrainingPlan, block_length: int, checkpoint: Path | None) -> TrainingResult:
    """Train from the checkpoint, if there is one, and read the result out of the trainer's state."""
    resumed_from = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    trainer.advance(resumed_from)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.set_body(on=True)
    history = trainer.state.log_history
    taken = [entry for entry in history if "loss" in entry]
    a_step = plan.batch_size * block_length
    return TrainingResult(
        losses=np.array([entry["loss"] for entry in taken], dtype=np.float64),
        gradient_norms=np.array([entry["gradient_norm"] for entry in taken], dtype=np.float64),
        evaluations={entry["step"]: entry["evaluation"] for entry in history if "evaluation" in entry},
        steps=len(taken),
        tokens=len(taken) * a_step,
        seconds=sum(entry["seconds"] for entry in taken),
        flops=training_flops(
            trainer.model,
            len(taken) * a_step,
            block_length=block_length,
            frozen_body_tokens=min(plan.body_after, len(taken)) * a_step,
        ),
        resumed_from=resumed_from,
    )


def _arguments(model: Any, plan: TrainingPlan, directory: Path, pieces: int, save_steps: int | None) -> Any:
    """Make Trainer's arguments; this also joins the processes that accelerate launch started."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(directory),
        max_steps=plan.steps,
        gradient_accumulation_steps=pieces,
        warmup_steps=plan.warmup_steps,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.gradient_clip,
        seed=plan.seed,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no" if save_steps is None else "steps",
        save_steps=save_steps or plan.steps,
        report_to="none",
        disable_tqdm=True,
        use_cpu=next(model.parameters()).device.type == "cpu",
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        include_num_input_tokens_seen="no",
    )
    shares = pieces * arguments.world_size
    if pieces < 1 or plan.batch_size % shares:
        raise TrainingError(
            f"a batch of {plan.batch_size} in {pieces} pieces on {arguments.world_size} processes",
            "a batch that divides evenly",
            f"give a batch_size that is a multiple of {max(1, shares)}",
        )
    arguments.per_device_train_batch_size = plan.batch_size // shares
    return arguments


def _open_directory(
    arguments: Any, directory: Path, command: Mapping[str, Any], model: Any, resume: bool
) -> None:
    """Take the directory on the main process, before the others look for a checkpoint in it."""
    with arguments.main_process_first(desc="opening the run directory"):
        if arguments.process_index == 0:
            again = open_run_directory(directory, command)
            if again and not resume and latest_checkpoint(directory):
                raise TrainingError(
                    f"{directory} holds a checkpoint of this training",
                    "an empty directory where resume is off",
                    "give another output_dir, or let it resume",
                )
            # Weights and two moments in float32, and the newest checkpoint beside the one it replaces.
            require_free_space(directory, 2 * 12 * sum(p.numel() for p in model.parameters()))


@contextmanager
def _directory(output_dir: Path | None) -> Iterator[Path]:
    """Yield the run's directory, or a temporary one where nothing is kept."""
    if output_dir is not None:
        yield Path(output_dir)
        return
    with tempfile.TemporaryDirectory(prefix="lingraft-") as name:
        yield Path(name)


@contextmanager
def _bar(progress: bool, steps: int) -> Iterator[Callable[..., None]]:
    """Yield what moves the progress bar."""
    if progress:
        with progress_task("training", total=steps) as advance:
            yield advance
    else:
        yield lambda *_: None


@contextmanager
def _training_dtype(model: Any, precision: Precision) -> Iterator[dict[int, torch.Tensor] | None]:
    """Give parameters (not buffers, such as rotary frequencies) the dtype of the training; float32 at the end.

    Yields the float32 masters by `id(parameter)` where the training's dtype is narrower. The optimiser steps these
    very tensors, so their values at the end are the trained ones.
    """
    # clone(), as the masters must not share memory with a model that was float32 already.
    wide = (
        {id(p): p.detach().float().clone() for p in model.parameters()} if precision == "bfloat16" else None
    )
    dtype = torch.bfloat16 if wide is not None else torch.float32
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    try:
        yield wide
    finally:
        for parameter in model.parameters():
            parameter.grad = None
            parameter.data = (
                parameter.data.float() if wide is None else wide[id(parameter)].to(parameter.device)
            )
