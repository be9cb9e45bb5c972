"""What stages that run a verb share: its result as the stage's own, and the page's first words."""

from collections.abc import Iterable, Mapping
from typing import Any

from lingraft.recipes.stages.contract import StageContext, StageSettings
from lingraft.reports.page import Paragraph, Section
from lingraft.reports.result import RunResult

TIMES = frozenset({"seconds", "training_seconds", "words_a_second", "words_translated_now", "seconds_a_word"})
"""Metrics that differ from one run of the same command to the next: a stage's result has none of them."""


def seed_of(settings: StageSettings, context: StageContext) -> int:
    """Return the stage's own seed, or else the recipe's."""
    return context.seed if settings.seed is None else settings.seed


def one_or_several(paths: tuple[str, ...]) -> str | list[str] | None:
    """Return what a verb takes for some paths: one by itself, several as a list, None for none."""
    return paths[0] if len(paths) == 1 else list(paths) or None


def adopt(
    kind: str,
    found: RunResult,
    *,
    files: Mapping[str, str],
    metrics: Mapping[str, Any] | None = None,
    counts: Mapping[str, Mapping[str, int]] | None = None,
) -> RunResult:
    """Make a verb's result the stage's.

    Args:
        kind: Kind of the stage.
        found: The verb's result.
        files: The stage's outputs and other files, relative to the stage's directory.
        metrics: Instead of the verb's; times are left out.
        counts: Instead of the verb's.

    Returns:
        The stage's result.
    """
    told = found.metrics if metrics is None else metrics
    return RunResult(
        kind=f"stage {kind}",
        metrics={name: value for name, value in told.items() if name not in TIMES},
        counts={
            name: dict(reasons) for name, reasons in (found.counts if counts is None else counts).items()
        },
        inputs=found.inputs,
        seeds=dict(found.seeds),
        files=dict(files),
        provenance=found.provenance,
    )


def opening(summary: str, *, warnings: Iterable[str] = ()) -> Section:
    """Return the first section of a stage's part of the report: what came out, in a sentence.

    Args:
        summary: The sentence.
        warnings: What the reader must not overlook.

    Returns:
        The section.
    """
    return Section(
        "What came out", [Paragraph(summary), *(Paragraph(text, warning=True) for text in warnings)]
    )
