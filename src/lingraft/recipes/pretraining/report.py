"""What continued pre-training says: the table of its steps, the picture of its loss, and the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.files import replacing
from lingraft.reports.figures import Curve, Picture, loss_curves
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import RunResult
from lingraft.training.causal import TrainingResult

STEPS_FILE, PICTURE_FILE = "steps.parquet", "loss.png"
SIDES = {"target": "target language", "english": "English"}
MANY_PASSES = 4
"""Passes over a text from which on repeating it is known to be worth less than new text (arXiv 2305.16264)."""


def write_steps(path: Path, trained: TrainingResult, tokens_a_step: int) -> None:
    """Write the table of steps: loss (nats a token, before the step's update), gradient norm, tokens so far.

    Args:
        path: The parquet file.
        trained: The training.
        tokens_a_step: Tokens of a step.

    Raises:
        OutputError: The disk is full.
    """
    steps = np.arange(1, trained.steps + 1)
    columns = {
        "step": steps,
        "loss": trained.losses,
        "gradient_norm": trained.gradient_norms,
        "tokens": steps * tokens_a_step,
    }
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def write_pretraining_report(out: Path, result: RunResult) -> None:
    """Write the picture of the loss and report.html.

    Args:
        out: The run directory, with the table of steps in it.
        result: The run's result.

    Raises:
        OutputError: The disk is full.
    """
    with replacing(out / PICTURE_FILE) as temporary:
        temporary.write_bytes(_loss_picture(out).light)
    write_page(
        out / "report.html",
        pretraining_sections(out, result),
        title="Continued pre-training",
        summary=" ".join(summary_lines(result)),
        result=result,
    )


def pretraining_sections(out: Path, result: RunResult) -> list[Section]:
    """Say what a training did; read from what it left.

    Args:
        out: The run directory.
        result: The run's result.

    Returns:
        Sections for a page.
    """
    metrics = result.metrics
    sections = []
    if metrics["evaluations"]:
        sections.append(Section("Before and after", _outcome(metrics)))
    sections.append(Section("Training", _training(out, result)))
    return sections


def _short(reference: str) -> str:
    """Return a model's name as a sentence can hold it: of a whole path the end."""
    path = Path(reference)
    return "/".join(path.parts[-2:]) if path.is_absolute() else reference


def summary_lines(result: RunResult) -> list[str]:
    """Say in a few sentences what came out.

    Args:
        result: The run's result.

    Returns:
        The sentences.
    """
    metrics = result.metrics
    share = f", {100 * metrics['english_share']:.0f} % of them English" if metrics["english_share"] else ""
    lines = [
        f"{metrics['steps']:,} steps, {metrics['tokens']:,} tokens{share}, {metrics['flops']:.3g} FLOPs."
    ]
    equal = metrics["equal_compute_with"]
    if equal is not None:
        lines.append(f"That is the compute of {equal['steps']:,} steps on {_short(equal['model'])}.")
    loss = metrics["loss"]
    lines.append(f"Loss {loss['first']:.3f} -> {loss['mean of the last tenth']:.3f} nats a token.")
    for side, name in SIDES.items():
        if side in metrics["differences"]:
            before, after = metrics["evaluations"]["0"][side], _last(metrics)[side]
            change = _bounded(metrics["differences"][side])
            lines.append(
                f"{name[0].upper()}{name[1:]}: {before['bits_per_byte']:.3f} -> {after['bits_per_byte']:.3f}"
                f" bits per byte of held-out text ({change})."
            )
    return lines


def _bounded(difference: Mapping[str, Any]) -> str:
    if difference["low"] is None:
        return f"{difference['value']:+.3f}, one document"
    return f"{difference['value']:+.3f}, 95% interval {difference['low']:+.3f} to {difference['high']:+.3f}"


def _last(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    last: Mapping[str, Any] = metrics["evaluations"][str(metrics["steps"])]
    return last


def _outcome(metrics: Mapping[str, Any]) -> list[Block]:
    evaluations = metrics["evaluations"]
    sides = [side for side in SIDES if side in evaluations["0"]]
    rows: list[list[Cell]] = []
    for step, found in evaluations.items():
        name = {"0": "before", str(metrics["steps"]): "after"}.get(step, f"step {int(step):,}")
        rows.append([name, *(_estimate(found[side]) for side in sides)])
    rows.append(["after less before", *(Estimate(**metrics["differences"][side]) for side in sides)])
    blocks: list[Block] = [
        Paragraph(
            "Bits per UTF-8 byte of held-out text, lower is better, 95% intervals by bootstrap over documents; the"
            " difference is paired by document. Documents of the held-out files were left out of the training text."
        ),
        Table("Bits per byte", ["model", *(SIDES[side] for side in sides)], rows),
    ]
    if "english" in evaluations["0"]:
        change = metrics["differences"]["english"]
        if change["low"] is not None and change["low"] > 0:
            blocks.append(
                Paragraph(
                    f"English has become worse by {change['value']:.3f} bits per byte. A larger share of English text"
                    " (--english, --english-share) or a lower learning rate keeps more of it.",
                    warning=True,
                )
            )
    return [*blocks, _way(evaluations, sides)]


def _estimate(found: Mapping[str, Any]) -> Estimate:
    low, high = found["interval"]
    return Estimate(found["bits_per_byte"], low, high, found["documents"])


def _way(evaluations: Mapping[str, Any], sides: list[str]) -> Figure:
    steps = [float(step) for step in evaluations]
    curves = []
    for side in sides:
        found = [_estimate(evaluations[step][side]) for step in evaluations]
        lows = [one.value if one.low is None else one.low for one in found]
        highs = [one.value if one.high is None else one.high for one in found]
        curves.append(Curve(SIDES[side], steps, [one.value for one in found], low=lows, high=highs))
    said = "; ".join(f"{curve.name} from {curve.y[0]:.3f} to {curve.y[-1]:.3f}" for curve in curves)
    return Figure(
        "Bits per byte of held-out text on the way.",
        f"Curves by step: {said}.",
        loss_curves(curves, x_label="step", y_label="bits per byte"),
    )


def _loss_picture(out: Path) -> Picture:
    table = pq.read_table(out / STEPS_FILE)
    curve = Curve("loss", table["step"].to_pylist(), table["loss"].to_pylist())
    return loss_curves([curve], x_label="step", y_label="nats a token")


def _training(out: Path, result: RunResult) -> list[Block]:
    metrics = result.metrics
    loss, passes = metrics["loss"], metrics["passes"]
    blocks: list[Block] = [Paragraph(" ".join(summary_lines(result)[:2]))]
    for name, count in passes.items():
        if count > MANY_PASSES:
            blocks.append(
                Paragraph(
                    f"The training went {count:.1f} times over the text of --{name}: more text would help more.",
                    warning=True,
                )
            )
    rows: list[tuple[Cell, ...]] = [
        (name, found["documents"], found["bytes"], found["tokens"], found["left out: held out"], passes[name])
        for name, found in result.counts.items()
    ]
    columns = ("text", "documents", "bytes", "tokens", "left out: held out", "times gone over")
    return [
        *blocks,
        Table("What was trained on", columns, rows, digits=2),
        Figure(
            "Training loss, of each step before its update.",
            f"A curve from {loss['first']:.3f} to {loss['last']:.3f} nats a token.",
            _loss_picture(out),
        ),
    ]
