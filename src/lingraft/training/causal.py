"""Continued pre-training of a causal language model on packed blocks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import TrainingError
from lingraft.training.allocation import kept_memory
from lingraft.training.attention import cpu_attention
from lingraft.training.causal_trainer import BlockDataset, CausalTrainer, stack
from lingraft.training.checkpoints import latest_checkpoint
from lingraft.training.flops import training_flops
from lingraft.training.optimization import Schedule
from lingraft.training.packing import block_order, pack_blocks
from lingraft.training.plan import Precision, TrainingPlan
from lingraft.training.running import (
    open_training_directory,
    trainer_arguments,
    training_bar,
    training_directory,
    training_dtype,
)
from lingraft.training.trainer import Evaluation, require_accelerate

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
    order: NDArray[np.int64] | None = None,
    trackers: Sequence[str] = (),
    progress: bool = False,
) -> TrainingResult:
    """Train `model` in place with AdamW; on return its parameters are float32.

    The order of the blocks depends on the seed and the number of blocks alone, unless it is given. Under
    `accelerate launch` the batch is shared between the processes. The random generators of torch, numpy and Python are
    seeded.

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
        order: int64 [steps * batch_size], the block that each sequence of the training is.
        trackers: Trackers that Trainer knows, such as `tensorboard`.
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
    if order is None:
        order = block_order(len(blocks), steps * batch_size, seed)
        ordered = {}
    else:
        _check_order(order, len(blocks), steps * batch_size)
        ordered = {"order": hashlib.sha256(order.tobytes()).hexdigest()[:16]}
    with training_directory(output_dir) as directory, training_bar(progress, steps) as advance:
        save_steps = None if output_dir is None else save_every or steps
        arguments = trainer_arguments(
            model,
            plan,
            directory,
            pieces=gradient_accumulation,
            save_steps=save_steps,
            trackers=trackers,
        )
        if output_dir is not None:
            command = plan.command(model, blocks) | ordered
            open_training_directory(arguments, directory, command, model, resume=resume)
        device = next(model.parameters()).device.type
        with kept_memory(device), cpu_attention(model), training_dtype(model, precision) as masters:
            trainer = CausalTrainer(
                model,
                arguments,
                BlockDataset(blocks, order),
                plan,
                collate=stack,
                masters=masters,
                evaluate_at=evaluate_at,
                evaluate=evaluate,
                advance=advance,
            )
            return _run(trainer, plan, blocks.shape[1], latest_checkpoint(directory))


def _check_order(order: NDArray[np.int64], blocks: int, needed: int) -> None:
    if order.shape != (needed,) or not 0 <= int(order.min()) <= int(order.max()) < blocks:
        raise TrainingError(
            f"an order of {len(order)} blocks from {order.min()} to {order.max()}",
            f"{needed} numbers from 0 to {blocks - 1}",
            "give one for each sequence of the training",
        )


def _run(trainer: Any, plan: TrainingPlan, block_length: int, checkpoint: Path | None) -> TrainingResult:
    """Train from the checkpoint, if there is one, and read the result out of the trainer's state."""
    resumed_from = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    trainer.advance(resumed_from)
    trainer.run(checkpoint)
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
