"""A comparison of runs for the terminal and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lingraft.files import open_run_directory, write_json
from lingraft.recipes.showing.comparing_runs import RunComparison, StageRow
from lingraft.recipes.showing.outcome import Measure
from lingraft.recipes.showing.recipe_report import duration
from lingraft.reports.figures import dot_chart
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import (
    Block,
    Cell,
    Command,
    Figure,
    Paragraph,
    Section,
    Table,
    format_cell,
    write_page,
)
from lingraft.reports.result import collect_provenance

MOST_DIFFERENCES = 40
"""Differences between recipes that the terminal lists; the page has all."""
SHORT_KEY = 8
"""Letters of a stage's key that tell stages apart for people."""


def comparison_lines(comparison: RunComparison) -> list[str]:
    """Return what a person reads of a comparison.

    Args:
        comparison: The runs.

    Returns:
        Warnings, then what came out, what differs in the recipes, and the stages.
    """
    names = list(comparison.names)
    lines = [f"warning: {text}" for text in comparison.warnings]
    outcome = [
        [label, *(_shown(value, 3) for value in values)] for label, values in _outcome_rows(comparison)
    ]
    lines += (
        _aligned(["what came out", *names], outcome) if outcome else ["nothing was measured in these runs"]
    )
    differences = [[key, *(_text(value) for value in values)] for key, values in comparison.recipe.items()]
    more = len(differences) - MOST_DIFFERENCES
    if differences:
        lines += ["", *_aligned(["recipe", *names], differences[:MOST_DIFFERENCES])]
    else:
        lines += ["", "the recipes are the same"]
    if more > 0:
        lines.append(f"... and {more} more; --out DIR writes a page with all of them")
    stages = [[row.name, *_stage_cells(row), "same" if row.shared else ""] for row in comparison.stages]
    stages = [[cell.replace("\u00a0", " ") for cell in row] for row in stages]
    return [*lines, "", *_aligned(["stage (key, time)", *names, ""], stages)]


def write_comparison(comparison: RunComparison, out: Path) -> Path:
    """Write `comparison.json` and `report.html`.

    Args:
        comparison: The runs.
        out: A new or empty directory, or that of an earlier comparison of the same runs.

    Returns:
        The page's path.

    Raises:
        OutputError: The directory holds something else, the disk is full, or it cannot be written.
    """
    runs = [run.directory.resolve().as_posix() for run in comparison.runs]
    open_run_directory(out, {"verb": "report compare", "runs": runs})
    write_json(out / "comparison.json", comparison.as_json())
    provenance = collect_provenance()
    repeat = Section("How to repeat this", [Command(provenance.command)])
    sections = [
        _came_out(comparison),
        _recipes(comparison),
        _stages(comparison),
        _numbers(comparison),
        repeat,
    ]
    told = [f"{len(comparison.recipe)} settings of the recipes differ"]
    shared = sum(row.shared for row in comparison.stages)
    told.append(f"{shared} of {len(comparison.stages)} stages are the same")
    title = "Runs compared: " + ", ".join(comparison.names)
    return write_page(out / "report.html", sections, title=title, summary="; ".join(told) + ".")


def _outcome_rows(comparison: RunComparison) -> list[tuple[str, list[Cell]]]:
    rows: list[tuple[str, list[Cell]]] = []
    for found in comparison.measures.values():
        label = _label(found)
        rows.append((f"{label}: before", [_value(one, one.before) if one else None for one in found]))
        rows.append((f"{label}: after", [_value(one, one.after) if one else None for one in found]))
        if any(one is not None and one.difference is not None for one in found):
            changes: list[Cell] = [one.difference if one is not None else None for one in found]
            rows.append((f"{label}: change", changes))
    return rows


def _value(measure: Measure, estimate: Estimate | None) -> Cell:
    if estimate is None or measure.digits or estimate.low is not None:
        return estimate
    return round(estimate.value)


def _came_out(comparison: RunComparison) -> Section:
    blocks: list[Block] = [Paragraph(text, warning=True) for text in comparison.warnings]
    rows: list[Sequence[Cell]] = [(label, *values) for label, values in _outcome_rows(comparison)]
    if not rows:
        return Section("What came out", [*blocks, Paragraph("Nothing was measured in these runs.")])
    caption = "Before and after, and the change where it was measured on the same documents; 95 % intervals"
    source = "From the last evaluate stage of each run (result.json: metrics.models, metrics.differences)"
    blocks.append(Table(caption, ("measure", *comparison.names), rows, source=source))
    series = {}
    for name, found in comparison.measures.items():
        if name.endswith("bits_per_byte"):
            pairs = zip(comparison.names, found, strict=True)
            series[_label(found)] = {run: one.after for run, one in pairs if one is not None}
    if series:
        alt = "; ".join(
            f"{label}, {run}: {format_cell(value, 3)}"
            for label, values in series.items()
            for run, value in values.items()
        )
        picture = dot_chart(series, x_label="bits per byte after (lower is better)")
        blocks.append(Figure("What each run ended with, 95 % intervals.", alt, picture, source))
    return Section("What came out", blocks)


def _label(found: Sequence[Measure | None]) -> str:
    return next(measure.label for measure in found if measure is not None)


def _recipes(comparison: RunComparison) -> Section:
    rows = [(key, *(_text(value) for value in values)) for key, values in comparison.recipe.items()]
    if not rows:
        return Section("What differs in the recipes", [Paragraph("Nothing: the recipes are the same.")])
    table = Table("Settings that differ, key by key", ("key", *comparison.names), rows)
    return Section("What differs in the recipes", [table])


def _stages(comparison: RunComparison) -> Section:
    rows = [
        (row.name, row.kind, *_stage_cells(row), "yes" if row.shared else "no") for row in comparison.stages
    ]
    totals = [duration(sum(stage.seconds for stage in run.stages)) for run in comparison.runs]
    columns = ("stage", "kind", *comparison.names, "the same")
    return Section(
        "Stages in common",
        [
            Paragraph("Stages with one key had the same inputs and settings, and so the same result."),
            Table("First letters of each stage's key, and its time", columns, rows),
            Table("Time in all", ("run", "time"), list(zip(comparison.names, totals, strict=True))),
        ],
    )


def _numbers(comparison: RunComparison) -> Section:
    rows: list[Sequence[Cell]] = [
        (f"{stage}: {key}", *values) for (stage, key), values in comparison.numbers.items()
    ]
    if not rows:
        return Section("Other numbers", [Paragraph("No other number differs.")])
    caption = f"All {len(rows)} numbers that differ, by stage and key in its result.json"
    return Section("Other numbers", [Table(caption, ("number", *comparison.names), rows, folded=True)])


def _stage_cells(row: StageRow) -> list[str]:
    return [
        "–" if key is None else f"{key[:SHORT_KEY]}, {duration(seconds or 0)}".replace(" ", "\u00a0")
        for key, seconds in zip(row.keys, row.seconds, strict=True)
    ]


def _shown(value: Cell, digits: int) -> str:
    return format_cell(value, digits)


def _text(value: Any) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Set columns of text below each other."""
    table = [head, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
