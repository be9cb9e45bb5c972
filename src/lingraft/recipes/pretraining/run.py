"""Continued pre-training from files: pack, train, measure on the way, keep the checkpoint, write the report."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.files import find_run, require_replaceable
from lingraft.models.loading import LoadedModel, load_model, parse_dtype
from lingraft.models.saving import save_checkpoint
from lingraft.recipes.pretraining.compute import equal_compute_steps, model_shape
from lingraft.recipes.pretraining.inputs import (
    BLOCKS,
    HeldOut,
    PackedTexts,
    TextReading,
    packed_texts,
    read_held_out,
    text_revisions,
)
from lingraft.recipes.pretraining.options import PretrainingOptions
from lingraft.recipes.pretraining.report import STEPS_FILE, write_pretraining_report, write_steps
from lingraft.reports.intervals import ratio_interval
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result
from lingraft.training.causal import TrainingResult, train_causal
from lingraft.training.processes import is_main_process
from lingraft.training.running import check_trackers
from lingraft.training.trainer import require_accelerate

Say = Callable[[str], None]
TRAINING = "training"
"""Directory with the checkpoints of a training that is not finished."""
FEWEST_STEPS = 25
"""Steps between checkpoints at least, where the user names none: writing one takes as long as several steps."""


@dataclass(frozen=True, slots=True)
class _Running:
    """How, where it does not change the result."""

    out: Path
    gradient_accumulation: int
    save_every: int | None
    trackers: tuple[str, ...]
    say: Say


def run_pretraining(
    options: PretrainingOptions,
    *,
    out: Path,
    device: str = "auto",
    gradient_accumulation: int = 1,
    save_every: int | None = None,
    trackers: tuple[str, ...] = (),
    trust_remote_code: bool = False,
    accept_terms: bool = False,
    say: Say = lambda _: None,
) -> RunResult:
    """Train and write; a killed run continues, a finished one is read.

    Every process of `accelerate launch` calls this; the first one alone writes, and all return the result.

    Args:
        options: What to do.
        out: Run directory. It gets `model` (a checkpoint that plain transformers loads), steps.parquet, rejected lines,
            result.json, a picture and report.html; packed text and checkpoints of the training only until it is done.
        device: Where to train.
        gradient_accumulation: Pieces that a process's share of a batch is computed in; changes memory, not the result.
        save_every: Steps between checkpoints; None takes a tenth of the training, `FEWEST_STEPS` at least.
        trackers: Trackers that Trainer knows.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of catalogued models.
        say: Called with one line at each step of the work.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or a directory that holds something else.
    """
    require_accelerate()
    check_trackers(trackers)
    options.check(gradient_accumulation)
    dtype = parse_dtype(options.dtype)
    # Text first: a wrong path should not wait for a model to load.
    held_out = _held_out(options)
    command = options.command()
    again = find_run(out, command)
    if again and (out / "result.json").exists():
        _clean(out)
        return read_result(out)
    if not again:
        require_replaceable(out)
    started = time.monotonic()
    loaded = load_model(
        options.model, device=device, trust_remote_code=trust_remote_code, accept_terms=accept_terms
    )
    steps, equal = _steps(options, loaded, trust_remote_code=trust_remote_code, accept_terms=accept_terms)
    plan = options.plan(steps)
    plan.check(loaded.model, np.zeros((1, options.block_length), dtype=np.int32))
    say("packing the text into blocks")
    texts = packed_texts(
        out,
        command,
        loaded.tokenizer,
        corpus=options.corpus,
        english=options.english if options.share else (),
        held_out=(text for found in held_out.values() for text in found.known),
        block_length=options.block_length,
        reading=TextReading(options.text_field, options.max_bad_lines),
    )
    wanted = loaded.model.dtype if dtype is None else dtype
    running = _Running(out, gradient_accumulation, save_every, trackers, say)
    trained = _train(options, loaded, texts, held_out, steps, running)
    result = _result(options, loaded, texts, trained, equal, time.monotonic() - started)
    if is_main_process():
        _write(options, loaded, trained, result, wanted, out)
    return result


def _held_out(options: PretrainingOptions) -> dict[str, HeldOut]:
    reading = TextReading(options.text_field, options.max_bad_lines)
    found = {
        side: read_held_out(reference, options.held_out_bytes, reading, options.seed)
        for side, reference in (("target", options.held_out), ("english", options.english_held_out))
    }
    return {side: texts for side, texts in found.items() if texts is not None}


def _steps(
    options: PretrainingOptions, loaded: LoadedModel, **codes: bool
) -> tuple[int, dict[str, Any] | None]:
    """Return the steps to train, and where they come from if from another model's."""
    if options.equal_compute_with is None:
        return options.steps, None
    other = model_shape(options.equal_compute_with, **codes)
    steps = equal_compute_steps(
        loaded.model,
        other,
        options.steps,
        batch_size=options.batch_size,
        block_length=options.block_length,
        body_after=options.body_after,
    )
    return steps, {"model": options.equal_compute_with, "steps": options.steps}


def _train(
    options: PretrainingOptions,
    loaded: LoadedModel,
    texts: PackedTexts,
    held_out: Mapping[str, HeldOut],
    steps: int,
    running: _Running,
) -> TrainingResult:
    plan, times = options.plan(steps), options.evaluations
    running.say(f"{steps} steps of {plan.batch_size} x {options.block_length} tokens")

    def evaluate(_: int, model: Any) -> dict[str, Any]:
        return {side: _scored(model, loaded.tokenizer, text.scored) for side, text in held_out.items()}

    return train_causal(
        loaded.model,
        texts.blocks,
        output_dir=running.out / TRAINING,
        steps=steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        gradient_accumulation=running.gradient_accumulation,
        embedding_learning_rate=plan.embedding_learning_rate,
        warmup_steps=plan.warmup_steps,
        schedule=plan.schedule,
        weight_decay=plan.weight_decay,
        gradient_clip=plan.gradient_clip,
        body_after=plan.body_after,
        precision=plan.precision,
        seed=plan.seed,
        save_every=running.save_every or max(FEWEST_STEPS, steps // 10),
        evaluate_at=sorted({steps * part // times for part in range(times + 1)}) if held_out else (),
        evaluate=evaluate if held_out else None,
        order=texts.order(steps * plan.batch_size, options.share, options.seed),
        trackers=running.trackers,
        progress=is_main_process(),
    )


def _scored(model: Any, tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    found = bits_per_byte(model, tokenizer, texts, progress=True)
    estimate = ratio_interval(found.document_bits, found.document_bytes)
    return {
        "bits_per_byte": estimate.value,
        "interval": [estimate.low, estimate.high],
        "tokens": found.tokens,
        "bytes": found.bytes,
        "documents": found.documents,
        "document_bits": found.document_bits.tolist(),
        "document_bytes": found.document_bytes.tolist(),
    }


def _result(
    options: PretrainingOptions,
    loaded: LoadedModel,
    texts: PackedTexts,
    trained: TrainingResult,
    equal: Mapping[str, Any] | None,
    seconds: float,
) -> RunResult:
    short = ("bits_per_byte", "interval", "tokens", "bytes", "documents")
    evaluations = {
        str(step): {side: {name: found[side][name] for name in short} for side in found}
        for step, found in sorted(trained.evaluations.items())
    }
    sequences = trained.steps * options.batch_size
    english = round(options.share * sequences)
    target_blocks = len(texts.blocks) - texts.english_blocks
    passes = {"corpus": (sequences - english) / target_blocks}
    if texts.english_blocks:
        passes["english"] = english / texts.english_blocks
    return RunResult(
        kind="pretrain",
        metrics={
            "steps": trained.steps,
            "equal_compute_with": equal,
            "tokens": trained.tokens,
            "flops": trained.flops,
            "english_share": english / sequences,
            "passes": passes,
            "loss": _losses(trained),
            "evaluations": evaluations,
            "differences": _differences(trained),
            "training_seconds": round(trained.seconds, 3),
            "seconds": round(seconds, 3),
        },
        counts={name: dict(found) for name, found in texts.counts.items()},
        inputs=(
            InputRevision(role="model", reference=loaded.reference, revision=loaded.revision),
            *text_revisions(options.texts()),
        ),
        seeds={"seed": options.seed},
        files={"model": "model", "steps": STEPS_FILE, "picture": "loss.png", "report": "report.html"},
        provenance=collect_provenance(device=next(loaded.model.parameters()).device),
    )


def _losses(trained: TrainingResult) -> dict[str, float]:
    last = trained.losses[-max(1, trained.steps // 10) :]
    return {
        "first": float(trained.losses[0]),
        "last": float(trained.losses[-1]),
        "mean of the last tenth": float(last.mean()),
    }


def _differences(trained: TrainingResult) -> dict[str, Any]:
    """Return after less before in bits per byte, paired by document."""
    if not trained.evaluations:
        return {}
    before, after = trained.evaluations[0], trained.evaluations[trained.steps]
    return {
        side: ratio_interval(
            np.subtract(after[side]["document_bits"], before[side]["document_bits"]),
            before[side]["document_bytes"],
        ).as_json()
        for side in before
    }


def _write(
    options: PretrainingOptions,
    loaded: LoadedModel,
    trained: TrainingResult,
    result: RunResult,
    dtype: torch.dtype,
    out: Path,
) -> None:
    if not (out / "model").exists():
        for parameter in loaded.model.parameters():
            parameter.data = parameter.data.to(dtype)
        save_checkpoint(out / "model", loaded.model, loaded.tokenizer, recipe=options.command())
    write_steps(out / STEPS_FILE, trained, options.batch_size * options.block_length)
    write_pretraining_report(out, result)
    write_result(out, result)
    _clean(out)


def _clean(out: Path) -> None:
    """Remove what only a training that goes on needs, several times the checkpoint's size; keep TensorBoard's logs."""
    if is_main_process():
        if (logs := out / TRAINING / "runs").is_dir():
            logs.rename(out / "tensorboard")
        for name in (TRAINING, BLOCKS):
            shutil.rmtree(out / name, ignore_errors=True)
