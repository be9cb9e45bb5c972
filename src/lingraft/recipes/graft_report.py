"""The report of a grafting run: before and after, in both languages, beside the unchanged model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingraft.recipes.graft_schema import GraftRecipe
from lingraft.reports.figures import Curve, dot_chart, loss_curves
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, write_result

UNCHANGED = "unchanged"


def write_graft_report(
    recipe: GraftRecipe, stages: Mapping[str, Mapping[str, Any]], out: Path, *, device: str
) -> RunResult:
    """Write result.json and report.html.

    Args:
        recipe: What was run.
        stages: Each mode's and the unchanged model's scores, losses and costs.
        out: The run directory.
        device: Where it ran.

    Returns:
        What result.json holds.

    Raises:
        OutputError: The disk is full.
    """
    first = stages[recipe.modes[0]]
    result = RunResult(
        kind="graft",
        metrics={
            name: {
                "before": final_scores(stage, 0),
                "after": final_scores(stage, int(stage["steps"])),
                "seconds": stage["seconds"],
                "flops": stage["flops"],
            }
            for name, stage in stages.items()
        },
        counts={f"tokens, {mode}": dict(stages[mode]["origins"]) for mode in recipe.modes},
        inputs=tuple(InputRevision(**item) for item in first["inputs"]),
        seeds={"seed": recipe.seed},
        files={
            "report": "report.html",
            **{f"model, {mode}": stages[mode]["checkpoint"] for mode in recipe.modes},
        },
        provenance=collect_provenance(device=device),
    )
    write_page(
        out / "report.html",
        [_outcome(recipe, stages), _fertility(recipe, stages), _training(recipe, stages)],
        title=recipe.title,
        summary=" ".join(summary_lines(recipe, stages)),
        result=result,
    )
    write_result(out, result)
    return result


def final_scores(stage: Mapping[str, Any], step: int) -> dict[str, float]:
    """Text name to bits per byte at a step."""
    return {text: float(found["bits_per_byte"]) for text, found in stage["scores"][str(step)].items()}


def summary_lines(recipe: GraftRecipe, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence a mode: target and English before and after, beside the unchanged model at equal compute."""
    lines = []
    for mode in recipe.modes:
        stage, unchanged = stages[mode], stages[UNCHANGED]
        before, after = final_scores(stage, 0), final_scores(stage, int(stage["steps"]))
        equal = final_scores(unchanged, int(unchanged["equal_compute_steps"][mode]))
        untouched = final_scores(unchanged, 0)
        lines.append(
            f"{mode}: target {untouched['target']:.2f} (source model) -> {before['target']:.2f} (new vocabulary)"
            f" -> {after['target']:.2f} (trained) bits per byte, unchanged vocabulary at equal compute"
            f" {equal['target']:.2f}; English {untouched['english']:.2f} -> {after['english']:.2f}, unchanged"
            f" {equal['english']:.2f}."
        )
    return lines


def _outcome(recipe: GraftRecipe, stages: Mapping[str, Mapping[str, Any]]) -> Section:
    rows, series = [], dict[str, dict[str, Estimate]]()
    unchanged = stages[UNCHANGED]
    points = [("source model as it is", unchanged, 0)]
    for mode in recipe.modes:
        points += [
            (f"{mode}, before training", stages[mode], 0),
            (f"{mode}, trained", stages[mode], int(stages[mode]["steps"])),
            (f"unchanged, compute of {mode}", unchanged, int(unchanged["equal_compute_steps"][mode])),
        ]
    for label, stage, step in points:
        found = {text: _estimate(value) for text, value in stage["scores"][str(step)].items()}
        tokens = stage["scores"][str(step)]["target"]["tokens"]
        rows.append((label, found["target"], found["english"], tokens))
        for text, estimate in found.items():
            series.setdefault(text, {})[label] = estimate
    return Section(
        "Before and after",
        [
            Paragraph(
                "Bits per UTF-8 byte of held-out text, lower is better, 95% intervals over documents. The unchanged"
                " model was trained with its own tokenizer on the same text for the same floating-point operations."
            ),
            Table(
                "Bits per byte", ("model", "target language", "English", "tokens of the target text"), rows
            ),
            Figure(
                "Bits per byte with intervals",
                "Dots for the target language and English; the same numbers are in the table above.",
                dot_chart(series, x_label="bits per byte (lower is better)"),
            ),
        ],
    )


def _estimate(value: Mapping[str, Any]) -> Estimate:
    low, high = value["interval"]
    return Estimate(float(value["bits_per_byte"]), float(low), float(high))


def _fertility(recipe: GraftRecipe, stages: Mapping[str, Mapping[str, Any]]) -> Section:
    names = ("tokens_per_word", "bytes_per_token", "whole_words", "round_trip", "digits")
    rows: list[tuple[Any, ...]] = []
    warnings: list[Paragraph] = []
    for mode in recipe.modes:
        inspection = stages[mode]["inspection"]
        if not rows:
            rows.append(("source", inspection["vocabulary"]["source"], *_cells(inspection, "before", names)))
        rows.append((mode, inspection["vocabulary"]["target"], *_cells(inspection, "after", names)))
        warnings += [Paragraph(f"{mode}: {text}", warning=True) for text in inspection["warnings"]]
    columns = (
        "vocabulary",
        "tokens",
        "tokens a word",
        "bytes a token",
        "words whole",
        "exact round trip",
        "digits",
    )
    return Section("Vocabularies on target-language text", [Table("Pre-flight", columns, rows), *warnings])


def _cells(inspection: Mapping[str, Any], when: str, names: tuple[str, ...]) -> list[Any]:
    return [inspection["fertility"][when][name] for name in names]


def _training(recipe: GraftRecipe, stages: Mapping[str, Mapping[str, Any]]) -> Section:
    curves = [
        Curve(
            name,
            [float(i + 1) for i in range(len(stage["losses"]))],
            stage["losses"],
            reference=name == UNCHANGED,
        )
        for name, stage in stages.items()
    ]
    rows = [
        (name, stage["steps"], stage["tokens"], stage["flops"] / 1e12, stage["seconds"])
        for name, stage in stages.items()
    ]
    embedding_rate = recipe.embedding_learning_rate or recipe.learning_rate
    rates = f"learning rate {recipe.learning_rate:g}, embeddings {embedding_rate:g}"
    return Section(
        "Training",
        [
            Paragraph(
                f"AdamW, {rates}, {recipe.schedule} after {recipe.warmup_steps} steps of warm-up, {recipe.precision}."
            ),
            Table("Cost", ("model", "steps", "tokens", "TFLOP (estimated)", "seconds"), rows, digits=1),
            Figure(
                "Training loss, nats a token",
                "Falling curves; losses a token of different tokenizers cannot be compared, bits per byte can.",
                loss_curves(curves, x_label="step", y_label="loss (nats a token)"),
            ),
        ],
    )
