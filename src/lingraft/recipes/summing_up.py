"""A run in five lines: what became of the language and of English, and what the other stages found."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lingraft.recipes.recipe_run import RecipeRun, StageRun
from lingraft.recipes.run_outputs import REPORT_FILE

MOST_LINES = 5


def summary_lines(run: RecipeRun) -> list[str]:
    """Sum a run up.

    Args:
        run: The run.

    Returns:
        At most five lines, and where the report is.
    """
    last: dict[str, StageRun] = {stage.kind: stage for stage in run.stages}
    # What was asked for first, and the same kind of stage once: its last.
    found = [line for kind, say in _SAID.items() if kind in last for line in say(last[kind].result.metrics)]
    minutes = sum(stage.seconds for stage in run.stages) / 60
    report = run.directory / REPORT_FILE
    here = Path.cwd()
    shown = report.relative_to(here) if report.is_relative_to(here) else report
    return [*found[:MOST_LINES], f"{len(run.stages)} stages, {minutes:.1f} minutes; report: {shown}"]


def _evaluated(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Say the numbers of the first and the last model."""
    models: Mapping[str, Any] = metrics.get("models", {})
    if len(models) < 2:
        return
    (first, before), *_, (last, after) = models.items()
    if before.get("target") and after.get("target"):
        cells = [
            f"{side} {before[key]['bits_per_byte']:.2f} -> {after[key]['bits_per_byte']:.2f}"
            for key, side in (("target", "the language"), ("english", "English"))
            if before.get(key) and after.get(key)
        ]
        yield f"bits per byte, {first} -> {last}: {'; '.join(cells)}"
    counts = [_in_language(models[name].get("fidelity")) for name in (first, last)]
    if all(counts):
        yield f"answers in the language, of those judged: {' -> '.join(filter(None, counts))}"


def _in_language(found: Mapping[str, Any] | None) -> str | None:
    """Say how many of the judged answers are in the language; None where none could be judged."""
    rate = (found or {}).get("line_pass_rate")
    if found is None or rate is None:
        return None
    return f"{round(rate['value'] * found['judged'])} of {found['judged']}"


def _vocabulary(metrics: Mapping[str, Any]) -> Iterator[str]:
    fertility = (metrics.get("inspection") or {}).get("fertility")
    if fertility:
        before, after = (fertility[name]["tokens_per_word"] for name in ("before", "after"))
        yield f"a word takes {before:.2f} -> {after:.2f} tokens ({metrics['method']})"


def _selected(metrics: Mapping[str, Any]) -> Iterator[str]:
    shares = {row["name"]: row["pivot_share"]["value"] for row in metrics.get("sets", ())}
    if {"selected", "random"} <= shares.keys():
        yield (
            f"pivots in the chosen documents: {100 * shares['selected']:.1f} % of tokens,"
            f" {100 * shares['random']:.1f} % at random"
        )


def _patched(metrics: Mapping[str, Any]) -> Iterator[str]:
    bound, plain = metrics.get("upper_bound"), metrics.get("unpatched")
    controls = {
        name: found["upper_bound"]["value"] for name, found in (metrics.get("controls") or {}).items()
    }
    if bound and plain and controls:
        name, value = max(controls.items(), key=lambda item: item[1])
        yield (
            f"right by some transplant: {100 * bound['value']:.0f} %, by {name} donors {100 * value:.0f} %,"
            f" unpatched {100 * plain['value']:.0f} %"
        )


_SAID: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "evaluate": _evaluated,
    "vocabulary": _vocabulary,
    "select": _selected,
    "patching": _patched,
}
"""What each kind of stage has to say, the most asked for first."""
