"""The report of a preference training: before and after in both languages, the way there, answers side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.files import replacing, write_text
from lingraft.preference.items import PairedItem
from lingraft.preference.training import PreferenceResult
from lingraft.reports.figures import Curve, loss_curves
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import RunResult

SIDES = ("target", "english")
STEPS, ANSWERS = "steps.parquet", "answers.jsonl"


def write_preference_report(
    out: Path, trained: PreferenceResult, held_out: Sequence[PairedItem] | None, result: RunResult
) -> None:
    """Write steps.parquet, answers.jsonl where prompts were answered, and report.html.

    Args:
        out: The run directory.
        trained: The training.
        held_out: What was measured on.
        result: The run's result.

    Raises:
        OutputError: The disk is full.
    """
    names = sorted({name for row in trained.measures for name in row}, key=lambda n: (n != "step", n))
    rows = [{name: row.get(name) for name in names} for row in trained.measures]
    with replacing(out / STEPS) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    if held_out:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _answer_rows(trained, held_out)]
        write_text(out / ANSWERS, "".join(lines))
    metrics = result.metrics
    write_page(
        out / "report.html",
        kept_preference_sections(out, metrics),
        title=f"{metrics['objective']} into {metrics['target_language']}",
        summary=" ".join(summary_lines(metrics)),
        result=result,
    )


def kept_preference_sections(directory: Path, metrics: Mapping[str, Any]) -> list[Section]:
    """Lay out the page of a training from what it left.

    Args:
        directory: The run directory, with steps.parquet and, where prompts were answered, answers.jsonl.
        metrics: Of its result.

    Returns:
        The sections.
    """
    sections = []
    if metrics["evaluations"]:
        sections += [_outcome(metrics), _way(metrics["evaluations"])]
        if (directory / ANSWERS).exists():
            lines = (directory / ANSWERS).read_text(encoding="utf-8").split("\n")
            sections.append(_answers([json.loads(line) for line in lines if line]))
    return [*sections, _training(pq.read_table(directory / STEPS).to_pylist())]


def _answer_rows(trained: PreferenceResult, held_out: Sequence[PairedItem]) -> list[dict[str, str]]:
    """Return prompts of both languages with the answers before and after, and the held-out ones."""
    first, last = trained.evaluations[0], trained.evaluations[trained.step]
    return [
        {
            "language": item.target_language if side == "target" else "en",
            "prompt": getattr(item, f"{side}_prompt"),
            "before": before,
            "after": after,
            "held_out": getattr(item, f"{side}_response"),
        }
        for side in SIDES
        for item, before, after in zip(
            held_out, first.get(f"{side}_answers") or (), last.get(f"{side}_answers") or (), strict=False
        )
    ]


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


def _outcome(metrics: Mapping[str, Any]) -> Section:
    rows, warning = [], metrics["warning"]
    for step, found in metrics["evaluations"].items():
        kept = int(step) == metrics["step_kept"]
        cells: list[Any] = [f"step {step}" + (" (kept)" if kept else "")]
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


def _way(evaluations: Mapping[str, Mapping[str, Any]]) -> Section:
    steps = [float(step) for step in evaluations]
    curves = []
    for side in SIDES:
        found = list(evaluations.values())
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


def _answers(rows: Sequence[Mapping[str, str]]) -> Section:
    if not rows:
        return Section("Answers", [Paragraph("No prompt was answered.")])
    columns = ("prompt", "before", "after", "held-out answer")
    tables = []
    for language in dict.fromkeys(row["language"] for row in rows):
        cells = [
            tuple(row[name] for name in ("prompt", "before", "after", "held_out"))
            for row in rows
            if row["language"] == language
        ]
        tables.append(Table(f"Greedy answers to held-out prompts, {language}", columns, cells))
    return Section("Answers before and after", tables)


def _training(measures: Sequence[Mapping[str, float]]) -> Section:
    steps = [float(row["step"]) for row in measures]
    blocks: list[Any] = [
        Figure(
            "Training loss",
            "The loss of each step.",
            loss_curves(
                [Curve("loss", steps, [row["loss"] for row in measures])],
                x_label="step",
                y_label="loss",
            ),
        )
    ]
    for name, text in (("nats_a_token", "nats a token of the prompt's own answer"), ("margin", "margin")):
        curves = [
            Curve(side, steps, [row[f"{side}_{name}"] for row in measures])
            for side in SIDES
            if all(row.get(f"{side}_{name}") is not None for row in measures)
        ]
        if curves:
            caption = f"By direction: {text}"
            blocks.append(Figure(caption, caption, loss_curves(curves, x_label="step", y_label=text)))
    return Section("Training", blocks)
