"""A run in five lines: what became of the language and of English, and what the other stages found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.recipes.running.outputs import REPORT_FILE
from lingraft.recipes.showing.finished import RecipeRun, StageRun

MOST_LINES = 5


def summary_lines(run: RecipeRun) -> list[str]:
    """Sum a run up.

    Args:
        run: The run.

    Returns:
        At most five lines, and where the report is.
    """
    kinds: dict[str, list[StageRun]] = {}
    for stage in run.stages:
        kinds.setdefault(stage.kind, []).append(stage)
    found = [line for kind, say in _SAID.items() if kind in kinds for line in say(kinds[kind])]
    minutes = sum(stage.seconds for stage in run.stages) / 60
    report = run.directory / REPORT_FILE
    here = Path.cwd()
    shown = report.relative_to(here) if report.is_relative_to(here) else report
    return [*found[:MOST_LINES], f"{len(run.stages)} stages, {minutes:.1f} minutes; report: {shown}"]


def _evaluated(stages: Sequence[StageRun]) -> Iterator[str]:
    """Say the numbers of the first and the last model."""
    metrics = stages[-1].result.metrics
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


def _vocabulary(stages: Sequence[StageRun]) -> Iterator[str]:
    """Say how many tokens a word takes, with every vocabulary that was made."""
    found = [
        (stage.name, fertility)
        for stage in stages
        if (fertility := (stage.result.metrics.get("inspection") or {}).get("fertility"))
    ]
    if found:
        after = ", ".join(
            f"{fertility['after']['tokens_per_word']:.2f} ({name})" for name, fertility in found
        )
        yield f"tokens a word: {found[0][1]['before']['tokens_per_word']:.2f} -> {after}"


def _selected(stages: Sequence[StageRun]) -> Iterator[str]:
    rows = stages[-1].result.metrics.get("sets", ())
    shares = {row["name"]: row["pivot_share"]["value"] for row in rows}
    if {"selected", "random"} <= shares.keys():
        yield (
            f"pivots in the chosen documents: {100 * shares['selected']:.1f} % of tokens,"
            f" {100 * shares['random']:.1f} % at random"
        )


def _patched(stages: Sequence[StageRun]) -> Iterator[str]:
    metrics = stages[-1].result.metrics
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


_SAID: Mapping[str, Callable[[Sequence[StageRun]], Iterator[str]]] = {
    "evaluate": _evaluated,
    "vocabulary": _vocabulary,
    "select": _selected,
    "patching": _patched,
}
"""What each kind of stage has to say, the most asked for first."""
