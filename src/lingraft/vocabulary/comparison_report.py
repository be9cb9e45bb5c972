"""What a comparison leaves for its reader: a table of runs, curves, dots with intervals, a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.files import replacing
from lingraft.reports.figures import Curve, Picture, dot_chart, loss_curves
from lingraft.reports.page import Figure, Paragraph, Section, Table
from lingraft.vocabulary.comparison_summary import UNCHANGED, ComparedMethod
from lingraft.vocabulary.probe import ProbeRun, ProbeSettings


def write_runs_table(path: Path, runs: Sequence[ProbeRun]) -> None:
    """Write one row a run, scored step and text: mode, method, seed, step, text, bits_per_byte, flops, seconds."""
    rows = [
        {
            "mode": run.mode,
            "method": run.method,
            "seed": run.seed,
            "step": step,
            "text": text,
            "bits_per_byte": score,
            "tokens": run.tokens,
            "flops": run.flops,
            "seconds": run.seconds,
        }
        for run in runs
        for step, scores in run.scores.items()
        for text, score in scores.items()
    ]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def comparison_sections(
    lines: Sequence[ComparedMethod], runs: Sequence[ProbeRun], settings: ProbeSettings
) -> list[Section]:
    """The page's sections: how it was measured, then for each mode a table, dots and training curves."""
    sections = [Section("How this was measured", [Paragraph(text) for text in measurement_notes(settings)])]
    for mode in dict.fromkeys(line.mode for line in lines):
        members = [line for line in lines if line.mode == mode]
        blocks: list[Any] = [mode_table(members, text, settings) for text in members[0].scores]
        first_text = next(iter(members[0].scores))
        blocks += [
            Figure(
                f"Bits per byte of {first_text} text after each probe",
                "Dots with intervals over seeds; the same numbers are in the table above.",
                score_dots(members, first_text, settings),
            ),
            Figure(
                "Training loss in nats a token",
                "One curve a method, mean over seeds, smoothed over ten steps. Losses a token of different"
                " tokenizers cannot be compared; bits per byte can.",
                training_curves(runs, mode),
            ),
        ]
        sections.append(Section(f"Mode {mode}", blocks))
    return sections


def measurement_notes(settings: ProbeSettings) -> list[str]:
    """What a reader must know to trust the numbers."""
    share = settings.averaged_share
    averaged = f" Weights are averaged over the last {share:g} of the steps before a score." if share else ""
    return [
        f"Every method starts from the same overlap and reads the same documents, of one tokenizer in the same order:"
        f" {settings.batch_size} blocks of {settings.block_length} tokens a step, AdamW, learning rate"
        f" {settings.learning_rate:g} (embeddings {settings.embedding_learning_rate or settings.learning_rate:g}),"
        f" {settings.warmup_steps} steps of warm-up, constant after it, {settings.precision}.{averaged}",
        "The unchanged model trains with its own tokenizer for the same floating-point operations; a smaller or"
        " larger head makes that fewer or more steps of equally many tokens. Its row at a step is its score at"
        " equal compute, not at equal text.",
        "Scores are bits per UTF-8 byte of held-out text, mean over seeds; intervals of scores are 95% over seeds"
        " (Student's t), intervals of differences are 95% over documents (bootstrap, paired, seeds averaged).",
    ]


def mode_table(members: Sequence[ComparedMethod], text: str, settings: ProbeSettings) -> Table:
    """One row a method: scores at every step and the difference to the unchanged model at the last."""
    steps = (0, *settings.steps)
    rows = [
        (
            line.method,
            *(line.scores[text][step] for step in steps),
            _difference_cell(line, text, steps[-1]),
            line.runs,
        )
        for line in members
    ]
    columns = (
        "method",
        *(f"step {step}" for step in steps),
        f"minus unchanged, step {steps[-1]}",
        "seeds",
    )
    return Table(f"Bits per byte, {text} text", columns, rows, best=len(steps))


def _difference_cell(line: ComparedMethod, text: str, step: int) -> Any:
    return None if line.method == UNCHANGED else line.versus_unchanged[text][step]


def score_dots(members: Sequence[ComparedMethod], text: str, settings: ProbeSettings) -> Picture:
    """Dots a method for every probe; the unchanged model at the last is the line."""
    series = {
        f"step {step}": {line.method: line.scores[text][step] for line in members} for step in settings.steps
    }
    unchanged = next((line for line in members if line.method == UNCHANGED), None)
    return dot_chart(
        series,
        x_label="bits per byte (lower is better)",
        reference=None if unchanged is None else unchanged.scores[text][settings.steps[-1]].value,
        reference_label="unchanged model, equal compute",
    )


def training_curves(runs: Sequence[ProbeRun], mode: str) -> Picture:
    """Mean training loss of each method over seeds, smoothed over ten steps."""
    curves = []
    for method in dict.fromkeys(run.method for run in runs if run.mode == mode):
        losses = [run.losses for run in runs if run.mode == mode and run.method == method]
        mean = np.mean(losses, axis=0)
        width = min(10, len(mean))
        smooth = np.convolve(mean, np.ones(width) / width, mode="valid")
        curves.append(Curve(method, [float(i) for i in range(width, width + len(smooth))], smooth.tolist()))
    return loss_curves(curves, x_label="step", y_label="loss (nats a token)")


def comparison_metrics(lines: Sequence[ComparedMethod]) -> dict[str, Any]:
    """The table as `result.json` holds it."""
    return {
        f"{line.mode}/{line.method}": {
            text: {
                str(step): {
                    "bits_per_byte": scores[step].as_json(),
                    "minus_unchanged": line.versus_unchanged[text][step].as_json(),
                }
                for step in scores
            }
            for text, scores in line.scores.items()
        }
        for line in lines
    }


def markdown_table(members: Sequence[ComparedMethod], text: str, settings: ProbeSettings) -> list[str]:
    """A mode's table in Markdown, for a results page and for the terminal."""
    table = mode_table(members, text, settings)
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    for row in table.rows:
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    return lines


def _markdown_cell(cell: Any) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str | int):
        return str(cell)
    if isinstance(cell, float):
        return f"{cell:.3f}"
    bounds = "" if cell.low is None else f" ({cell.low:.3f} to {cell.high:.3f})"
    return f"{cell.value:.3f}{bounds}"
