"""What a comparison of models says: before and after with intervals and differences, pictures, answers side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.recipes.evaluating.summary import BITS, SHARE, Measure, evaluation_lines, present_measures
from lingraft.reports.figures import dot_chart
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import RunResult
from lingraft.reports.samples import SampleRow, Samples

SAMPLES_FILE = "samples.jsonl"


_INTERVALS = (
    "Intervals are 95 %. Differences are paired by document, prompt or word, so that one can be sure where the"
    " intervals of two models overlap."
)
_KINDS = {
    "target": "Answers to prompts in the language",
    "english": "Answers to English prompts",
    "continuation": "Held-out text of the language, carried on from its first words",
    "English continuation": "Held-out English text, carried on from its first words",
}


def write_evaluation_report(out: Path, result: RunResult) -> None:
    """Write report.html.

    Args:
        out: The run directory, with the samples in it.
        result: The run's result.

    Raises:
        OutputError: The disk is full.
    """
    write_page(
        out / "report.html",
        evaluation_sections(out, result),
        title="Models side by side",
        summary=" ".join(evaluation_lines(result.metrics)),
        result=result,
    )


def evaluation_sections(out: Path, result: RunResult) -> list[Section]:
    """Say how the models compare; read from what the run left.

    Args:
        out: The run directory.
        result: The run's result.

    Returns:
        Sections for a page.
    """
    metrics = result.metrics
    sections = []
    if present_measures(metrics):
        sections.append(Section("Side by side", _side_by_side(metrics)))
    tasks = _tasks(metrics)
    if tasks:
        sections.append(Section("Tasks", [tasks]))
    samples = _samples(out, list(metrics["models"]), int(metrics["max_new_tokens"]))
    return [*sections, *([Section("What the models write", samples)] if samples else [])]


def _side_by_side(metrics: Mapping[str, Any]) -> list[Block]:
    models, measures = metrics["models"], present_measures(metrics)
    rows: list[list[Cell]] = [
        [name, *(measure.read(found) for measure in measures)] for name, found in models.items()
    ]
    blocks: list[Block] = [
        Paragraph(" ".join([*dict.fromkeys(measure.meaning for measure in measures), _INTERVALS])),
        Table("Each model", ["model", *(measure.name for measure in measures)], rows),
    ]
    changes: list[list[Cell]] = [
        [f"{name} less {metrics['baseline']}", *(_change(found.get(one.key)) for one in measures)]
        for name, found in metrics["differences"].items()
    ]
    if changes:
        names = ["difference", *(measure.name for measure in measures)]
        blocks.append(Table("Differences, paired", names, changes))
    blocks += [
        Paragraph(f"{name} has become worse: {line}", warning=True) for name, line in _losses(metrics).items()
    ]
    blocks += [Paragraph(line, warning=True) for line in _charges(models)]
    for unit in (BITS, SHARE):
        some = [measure for measure in measures if measure.unit == unit]
        if some:
            blocks.append(_picture(models, some, unit))
    tokens = _tokens(models)
    return [*blocks, *([tokens] if tokens else [])]


def _change(found: Mapping[str, Any] | None) -> Cell:
    return None if found is None else Estimate(**found)


def _losses(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the losses of English beyond chance, which nobody must overlook, by model."""
    losses = {}
    for name, found in metrics["differences"].items():
        change = found.get("english")
        if change is not None and change["low"] is not None and change["low"] > 0:
            losses[f"The English of {name}"] = (
                f"{change['value']:+.3f} bits per byte ({change['low']:+.3f} to {change['high']:+.3f})."
            )
    return losses


def _charges(models: Mapping[str, Any]) -> list[str]:
    """Say of which models the scores are not the models' alone."""
    return [
        f"{name}: its tokenizer hides {found[side]['charged_bytes']:,} of the {found[side]['bytes']:,} bytes of"
        f" {said} (unknown, or normalised away), which are charged 8 bits each."
        for name, found in models.items()
        for side, said in (("target", "the language's text"), ("english", "the English text"))
        if found.get(side, {}).get("charged_bytes")
    ]


def _picture(models: Mapping[str, Any], measures: Sequence[Measure], unit: str) -> Figure:
    series = {
        name: {
            measure.name.removesuffix(f", {unit}"): estimate
            for measure in measures
            if (estimate := measure.read(found)) is not None
        }
        for name, found in models.items()
    }
    said = "; ".join(
        f"{name}: " + ", ".join(f"{label} {estimate.value:.3f}" for label, estimate in row.items())
        for name, row in series.items()
    )
    return Figure(
        f"{unit[0].upper()}{unit[1:]}, with 95 % intervals.", f"{said}.", dot_chart(series, x_label=unit)
    )


def _tokens(models: Mapping[str, Any]) -> Table | None:
    sides = [side for side in ("target", "english") if any(side in found for found in models.values())]
    if not sides:
        return None
    rows: list[list[Cell]] = []
    for name, found in models.items():
        cells: list[Cell] = [name, found["vocabulary"], found["parameters"]]
        for side in sides:
            cells += [found[side]["tokens"], found[side]["tokens_per_byte"]]
        rows.append(cells)
    columns = ["model", "vocabulary", "parameters"]
    for side in sides:
        name = "English" if side == "english" else side
        columns += [f"{name}, tokens", f"{name}, tokens a byte"]
    return Table("Tokens that the same texts take", columns, rows)


def _tasks(metrics: Mapping[str, Any]) -> Table | None:
    models = metrics["models"]
    names = dict.fromkeys(
        (task, metric)
        for found in models.values()
        for task, values in found.get("tasks", {}).items()
        for metric in values
    )
    rows: list[list[Cell]] = []
    for task, metric in names:
        cells: list[Cell] = [task, metric]
        for found in models.values():
            value = found.get("tasks", {}).get(task, {}).get(metric)
            cells.append(None if value is None else Estimate(value["value"], value["low"], value["high"]))
        rows.append(cells)
    if not rows:
        return None
    return Table("lm-eval's tasks, 95 % intervals", ["task", "metric", *models], rows)


def _samples(out: Path, names: list[str], most: int) -> list[Block]:
    path = out / SAMPLES_FILE
    # Not splitlines(), which also cuts at line separators inside the texts.
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    rows = [json.loads(line) for line in lines if line]
    blocks: list[Block] = []
    for kind, title in _KINDS.items():
        some = [row for row in rows if row["kind"] == kind]
        if some:
            caption = f"{title}: the first {len(some)}, greedy, up to {most} tokens."
            blocks.append(Samples(caption, names, [_sample(row) for row in some]))
    return blocks


def _sample(row: Mapping[str, Any]) -> SampleRow:
    judged = row.get("judged", {})
    note = f"Found to be: {'; '.join(f'{name} {said}' for name, said in judged.items())}." if judged else ""
    return SampleRow(row["prompt"], list(row["answers"].values()), note, row["language"])
