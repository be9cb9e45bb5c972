"""The report of a preference training: before and after in both languages, the way there, answers side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.preference.items import PairedItem
from lingraft.preference.training import PreferenceResult
from lingraft.reports.figures import Curve, loss_curves
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import RunResult

SIDES = ("target", "english")


def write_preference_report(
    out: Path,
    trained: PreferenceResult,
    held_out: Sequence[PairedItem] | None,
    result: RunResult,
    *,
    warning: str | None,
) -> None:
    """Write report.html.

    Args:
        out: The run directory.
        trained: The training.
        held_out: What was measured on.
        result: The run's result.
        warning: What the reader must not overlook.

    Raises:
        OutputError: The disk is full.
    """
    sections = []
    if trained.evaluations:
        sections += [_outcome(trained, warning), _way(trained)]
        if held_out:
            sections.append(_answers(trained, held_out))
    sections.append(_training(trained))
    metrics = result.metrics
    write_page(
        out / "report.html",
        sections,
        title=f"{metrics['objective']} into {metrics['target_language']}",
        summary=" ".join(summary_lines(metrics)),
        result=result,
    )


def summary_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Say in a few sentences what came out."""
    kept = metrics["step_kept"]
    lines = [
        f"{metrics['steps']} steps of {metrics['objective']} on {metrics['parameters']}"
        f" ({metrics['numbers that learn']:,} numbers), {metrics['answer_tokens']:,} tokens of answers,"
        f" {metrics['training_seconds']:,.0f} seconds."
    ]
    evaluations = metrics["evaluations"]
    if not evaluations:
        return lines
    before, after = evaluations["0"], evaluations[str(kept)]
    for side in SIDES:
        text = (
            f"{side}: {before[f'{side}_bits_per_byte']:.3f} -> {after[f'{side}_bits_per_byte']:.3f}"
            " bits per byte of held-out answers"
        )
        if after.get(f"{side}_fidelity") is not None and before.get(f"{side}_fidelity") is not None:
            text += (
                f", answers in the language {100 * before[f'{side}_fidelity']:.0f} ->"
                f" {100 * after[f'{side}_fidelity']:.0f} % ({after[f'{side}_skipped']} skipped)"
            )
        lines.append(f"{text}.")
    if kept != metrics["steps"]:
        lines.append(f"The weights are those of step {kept}, the best of those measured.")
    return lines


def _estimate(found: Mapping[str, Any], name: str, interval: str) -> Estimate | None:
    if found.get(name) is None:
        return None
    low, high = found[interval] or (None, None)
    return Estimate(float(found[name]), low, high)


def _outcome(trained: PreferenceResult, warning: str | None) -> Section:
    rows = []
    for step, found in trained.evaluations.items():
        cells: list[Any] = [f"step {step}" + (" (kept)" if step == trained.step else "")]
        for side in SIDES:
            cells.append(_estimate(found, f"{side}_bits_per_byte", f"{side}_interval"))
            cells.append(_estimate(found, f"{side}_fidelity", f"{side}_fidelity_interval"))
            cells += [found.get(f"{side}_skipped"), found[f"{side}_preferred"]]
        rows.append(tuple(cells))
    columns = ["model"]
    for side in ("target", "English"):
        columns += [
            f"{side}, bits per byte",
            f"{side}, answers in the language",
            "skipped",
            "own answer likelier",
        ]
    notes = [Paragraph(warning, warning=True)] if warning else []
    text = (
        "Held-out items. Bits per byte of the answer after its prompt, lower is better. Answers in the language: share"
        " of greedy answers with no line in another language; answers too short to judge are skipped. Own answer"
        " likelier: share of prompts whose answer in the prompt's language costs fewer bits a byte than the other."
        " 95% intervals over items."
    )
    return Section("Before and after", [*notes, Paragraph(text), Table("Held-out items", columns, rows)])


def _way(trained: PreferenceResult) -> Section:
    steps = [float(step) for step in trained.evaluations]
    curves = []
    for side in SIDES:
        found = [trained.evaluations[int(step)] for step in steps]
        bounds = [f[f"{side}_interval"] for f in found]
        values = [f[f"{side}_bits_per_byte"] for f in found]
        lows = [v if b[0] is None else b[0] for v, b in zip(values, bounds, strict=True)]
        highs = [v if b[1] is None else b[1] for v, b in zip(values, bounds, strict=True)]
        curves.append(Curve("English" if side == "english" else side, steps, values, low=lows, high=highs))
    figure = Figure(
        "Bits per byte of held-out answers",
        "Curves of target and English answers by step; the numbers are in the table above.",
        loss_curves(curves, x_label="step", y_label="bits per byte"),
    )
    return Section("On the way", [figure])


def _answers(trained: PreferenceResult, held_out: Sequence[PairedItem]) -> Section:
    first, last = trained.evaluations[0], trained.evaluations[trained.step]
    if not first.get("target_answers"):
        return Section("Answers", [Paragraph("No prompt was answered.")])
    rows = []
    for number, (before, after) in enumerate(
        zip(first["target_answers"], last["target_answers"], strict=True)
    ):
        rows.append((held_out[number].target_prompt, before, after, held_out[number].target_response))
    columns = ("prompt", "before", "after", "held-out answer")
    return Section("Answers before and after", [Table("Greedy answers to held-out prompts", columns, rows)])


def _training(trained: PreferenceResult) -> Section:
    steps = [float(row["step"]) for row in trained.measures]
    blocks: list[Any] = [
        Figure(
            "Training loss",
            "The loss of each step.",
            loss_curves(
                [Curve("loss", steps, [row["loss"] for row in trained.measures])],
                x_label="step",
                y_label="loss",
            ),
        )
    ]
    for name, text in (("nats_a_token", "nats a token of the prompt's own answer"), ("margin", "margin")):
        curves = [
            Curve(side, steps, [row[f"{side}_{name}"] for row in trained.measures])
            for side in SIDES
            if all(f"{side}_{name}" in row for row in trained.measures)
        ]
        if curves:
            caption = f"By direction: {text}"
            blocks.append(Figure(caption, caption, loss_curves(curves, x_label="step", y_label=text)))
    return Section("Training", blocks)
