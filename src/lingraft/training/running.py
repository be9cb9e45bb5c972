"""What every training does around its loop: Trainer's arguments, the run directory, the progress bar, dtypes."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lingraft.errors import TrainingError
from lingraft.files import open_run_directory, require_free_space
from lingraft.progress import progress_task
from lingraft.training.checkpoints import latest_checkpoint
from lingraft.training.plan import Precision, TrainingPlan
from lingraft.training.sharding import is_fsdp


def check_trackers(trackers: Sequence[str]) -> None:
    """Refuse trackers that Trainer does not know or that are not installed.

    Args:
        trackers: Their names.

    Raises:
        TrainingError: One cannot be used.
    """
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    try:
        made = get_reporting_integration_callbacks(list(trackers))  # type: ignore[no-untyped-call]
        for callback in made:
            callback()
    except ValueError as error:
        known = str(error).rpartition("only ")[2].rpartition(" are supported")[0]
        raise TrainingError(
            f"the trackers {', '.join(trackers)}", f"some of {known}", "name one of them"
        ) from error
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise TrainingError(
            f"the trackers {', '.join(trackers)} ({reason})", "installed ones", "install it"
        ) from error


def trainer_arguments(
    model: Any,
    plan: TrainingPlan,
    directory: Path,
    *,
    pieces: int,
    save_steps: int | None,
    trackers: Sequence[str] = (),
) -> Any:
    """Make Trainer's arguments; this also joins the processes that accelerate launch started.

    Args:
        model: The model, on its device.
        plan: What is to be done.
        directory: For checkpoints.
        pieces: Pieces that a process's share of a batch is computed in.
        save_steps: Steps between checkpoints; None saves none.
        trackers: Names of trackers that Trainer knows, such as `tensorboard`.

    Returns:
        TrainingArguments.

    Raises:
        TrainingError: A batch that does not divide, or an unknown tracker.
    """
    from transformers import TrainingArguments

    check_trackers(trackers)
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
        report_to=list(trackers) or "none",
        disable_tqdm=True,
        use_cpu=next(model.parameters()).device.type == "cpu",
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        include_num_input_tokens_seen="no",
        # Trainer writes its own into the model's config; ours says so at every call instead.
        use_cache=bool(getattr(model.config, "use_cache", True)),
    )
    if not is_fsdp():
        # What casts is the plan's precision, not accelerate's config; under FSDP that says what layers are gathered in.
        arguments.mixed_precision = "no"
    shares = pieces * arguments.world_size
    if pieces < 1 or plan.batch_size % shares:
        raise TrainingError(
            f"a batch of {plan.batch_size} in {pieces} pieces on {arguments.world_size} processes",
            "a batch that divides evenly",
            f"give a batch_size that is a multiple of {max(1, shares)}",
        )
    arguments.per_device_train_batch_size = plan.batch_size // shares
    return arguments


def open_training_directory(
    arguments: Any, directory: Path, command: Mapping[str, Any], model: Any, *, resume: bool
) -> None:
    """Take the directory on the main process, before the others look for a checkpoint in it.

    Args:
        arguments: From `trainer_arguments`.
        directory: Where the run is kept.
        command: What identifies the training.
        model: The model; what learns in it decides how much space is needed.
        resume: Go on from a checkpoint that is there; False refuses one.

    Raises:
        OutputError: It holds something else, or too little space is free.
        TrainingError: It holds a checkpoint, and `resume` is off.
    """
    with arguments.main_process_first(desc="opening the run directory"):
        if arguments.process_index == 0:
            again = open_run_directory(directory, command)
            if again and not resume and latest_checkpoint(directory):
                raise TrainingError(
                    f"{directory} holds a checkpoint of this training",
                    "an empty directory where resume is off",
                    "give another output_dir, or let it resume",
                )
            # Weights, and two moments of what learns, in float32; the newest checkpoint beside the one it replaces.
            sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
            require_free_space(directory, 2 * sum(size * (12 if learns else 4) for size, learns in sizes))


@contextmanager
def training_directory(output_dir: Path | None) -> Iterator[Path]:
    """Yield the run's directory, or a temporary one where nothing is kept."""
    if output_dir is not None:
        yield Path(output_dir)
        return
    with tempfile.TemporaryDirectory(prefix="lingraft-") as name:
        yield Path(name)


@contextmanager
def training_bar(progress: bool, steps: int) -> Iterator[Callable[..., None]]:
    """Yield what moves the progress bar."""
    if progress:
        with progress_task("training", total=steps) as advance:
            yield advance
    else:
        yield lambda *_: None


@contextmanager
def training_dtype(model: Any, precision: Precision) -> Iterator[dict[int, torch.Tensor] | None]:
    """Give parameters (not buffers, such as rotary frequencies) the dtype of the training; float32 at the end.

    Yields the float32 masters, by `id(parameter)`, of parameters that learn, where the training's dtype is narrower.
    The optimiser steps these very tensors, so their values at the end are the trained ones. Frozen parameters get
    their old values back; a narrow one has lost nothing and is not kept twice.
    """
    narrow = precision == "bfloat16"
    dtype = torch.bfloat16 if narrow else torch.float32
    # clone(), as the masters must not share memory with a model that was float32 already.
    wide = (
        {
            id(p): p.detach().float().clone()
            for p in model.parameters()
            if p.requires_grad or p.dtype != torch.bfloat16
        }
        if narrow
        else {}
    )
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    try:
        yield wide if narrow else None
    finally:
        for parameter in model.parameters():
            parameter.grad = None
            kept = wide.get(id(parameter))
            parameter.data = parameter.data.float() if kept is None else kept.to(parameter.device)
