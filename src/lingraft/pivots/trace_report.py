"""The report of a trace: behaviours by both labels, with and without filters, mass by layer, and single words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lingraft.pivots.behaviour import (
    BEHAVIOURS,
    COOCCURRENCE,
    PIVOT,
    behaviour_shares,
    behaviours,
    leading_tokens,
    peak_layers,
    pivot_strength,
    threshold_sweep,
)
from lingraft.pivots.trace_filters import filters
from lingraft.pivots.trace_grid import WordGrid, visible
from lingraft.pivots.trace_grid_report import grid_block
from lingraft.pivots.tracing import Traces
from lingraft.pivots.wordtask import WordTask
from lingraft.reports.drawing import Picture
from lingraft.reports.page import Block, Cell, Command, Figure, Paragraph, Section, Table

SHOWN_WORDS, SHOWN_TOKENS = 40, 20
_LABELS = {COOCCURRENCE: "direct"}
_READING = (
    "Each layer's output is read through the model's final norm and head (logit lens) at the place that predicts the"
    " target's first token. Label by peak: the layer whose likeliest token is surest; if that token is the final"
    " layer's, the word went the direct way (co-occurrence); else, if it is a token of the source word, source; else"
    " pivot. Label by threshold: a pivot is there if in any layer the likeliest token is neither the source's nor the"
    " target's and reaches the threshold."
)
_FILTERS = (
    "The first row is the published definition. The other two are exploratory and ours: many models' middle layers say"
    " a blank or a token of the prompt with near certainty whatever the word, which would count as pivots. Words only"
    " takes each layer's likeliest token that holds a letter; less common tokens also sets aside what leads some layer"
    " for more than a tenth of the words."
)


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What the report is made of.

    Attributes:
        task: The words.
        traces: Their traces.
        tokenizer: For the tokens' texts.
        threshold: Of the threshold variant.
        draw: Number of the draw of examples.
        mass: Picture of the mass by layer.
        thresholds: Picture of the pivots by threshold.
        grids: Words layer by token.
        pivots: Given pivots.
    """

    task: WordTask
    traces: Traces
    tokenizer: Any
    threshold: float
    draw: int
    mass: Picture
    thresholds: Picture
    grids: Sequence[WordGrid]
    pivots: Mapping[tuple[str, str], frozenset[int]]


def trace_sentence(traces: Traces, threshold: float) -> str:
    """Say in a sentence what came out.

    Args:
        traces: The traces.
        threshold: Of the threshold variant.

    Returns:
        The sentence.
    """
    shares = behaviour_shares(traces)
    ((_, pivot),) = threshold_sweep(traces, [threshold])
    return (
        f"{len(traces.items):,} words through {traces.top_ids.shape[1]} layers: by peak,"
        f" {100 * shares[COOCCURRENCE].value:.1f} % go the direct way and {100 * shares[PIVOT].value:.1f} % over a"
        f" pivot; by threshold {threshold:g}, {100 * pivot.value:.1f} % have a pivot (any token counted)."
    )


def trace_sections(report: TraceReport, *, seed: int = 0) -> list[Section]:
    """Say what a trace found.

    Args:
        report: What to say.
        seed: Of the bootstrap.

    Returns:
        Sections for a page.
    """
    sections = [
        Section("Behaviours", _behaviours(report, seed)),
        Section("Probability mass by layer", _mass(report)),
        Section("Tokens that serve as pivots", [_common_pivots(report)]),
    ]
    if report.grids:
        sections.append(Section("Words layer by token", _grids(report)))
    sections.append(Section("The words", _words(report)))
    return sections


def _behaviours(report: TraceReport, seed: int) -> list[Block]:
    rows: list[tuple[Cell, ...]] = []
    told = []
    for name, (filtered, words_only) in filters(report.traces).items():
        shares = behaviour_shares(filtered, words_only=words_only, seed=seed)
        ((_, pivot),) = threshold_sweep(filtered, [report.threshold], words_only=words_only, seed=seed)
        rows.append((name, *(shares[label] for label in BEHAVIOURS), pivot))
        told.append(f"{name}: {pivot.value:.2f}")
    columns = ("tokens that count", "direct", "pivot", "source", f"pivot at {report.threshold:g} or more")
    blocks: list[Block] = [
        Paragraph(_READING),
        Paragraph(_FILTERS),
        Table("Shares of words: by peak (three columns) and by threshold; 95 % over words", columns, rows),
        Figure(
            "Share of words with a pivot, by the threshold that its probability must reach.",
            f"At {report.threshold:g}: {'; '.join(told)}.",
            report.thresholds,
        ),
    ]
    if report.traces.skipped:
        named = [f"{item.source_word} / {item.target_word}" for item in report.traces.skipped]
        more = " ..." if len(named) > SHOWN_WORDS else ""
        blocks.append(
            Paragraph(
                f"{len(named):,} pairs share tokens, so that their layers could not be told apart, and were skipped:"
                f" {', '.join(named[:SHOWN_WORDS])}{more}."
            )
        )
    return blocks


def _mass(report: TraceReport) -> list[Block]:
    traces = report.traces
    first = traces.position == 0
    target, source = traces.target_mass[first].mean(axis=0), traces.source_mass[first].mean(axis=0)
    blocks: list[Block] = [
        Figure(
            "Mean probability of all tokens of the source word, of the target word, and of given pivots, 95 % over"
            " words. Layers count from 0.",
            f"Target tokens reach {target.max():.3f} in layer {int(target.argmax())}, source tokens {source.max():.3f}"
            f" in layer {int(source.argmax())}.",
            report.mass,
        )
    ]
    if not any(traces.pivot_ids):
        blocks.append(Paragraph("No pivots were given (--pivots), so their mass is not drawn."))
    return blocks


def _common_pivots(report: TraceReport) -> Table:
    """The tokens of the threshold variant with both filters, by how many words have them."""
    filtered, words_only = filters(report.traces)["words only, less common tokens"]
    strength, tokens = pivot_strength(filtered, words_only=words_only)
    reached = (filtered.position == 0) & (strength >= np.float32(report.threshold)) & (tokens >= 0)
    counts = Counter(int(token) for token in tokens[reached])
    rows: list[tuple[Cell, ...]] = []
    for token, count in counts.most_common(SHOWN_TOKENS):
        members = [
            report.traces.items[item].source_word for item in filtered.item[reached & (tokens == token)]
        ]
        rows.append((_shown(report, token), count, ", ".join(members[:8]) + (" ..." if count > 8 else "")))
    return Table(
        f"Strongest pivots (words only, less common tokens, {report.threshold:g} or more): {len(counts):,} different"
        " tokens",
        ("token", "words", "of"),
        rows,
    )


def _grids(report: TraceReport) -> list[Block]:
    every, first = np.array(behaviours(report.traces, words_only=True)), report.traces.position == 0
    labels = dict(zip(report.traces.item[first].tolist(), every[first].tolist(), strict=True))
    numbers = {item: number for number, item in enumerate(report.traces.items)}
    blocks: list[Block] = [
        Paragraph(
            "Unfold a word: each cell is the token that a layer (the last one on top) would say after the token over"
            " its column, darker where it is surer. Point at a cell for its next choices. PNG files of the same lie"
            " beside this page; their font lacks some scripts, and shows such tokens by number."
        )
    ]
    for place, grid in enumerate(report.grids):
        pair, label = (grid.item.source_word, grid.item.target_word), labels[numbers[grid.item]]
        blocks.append(
            grid_block(
                grid,
                pivots=report.pivots.get(pair, frozenset()),
                note=f" (by peak, words only: {_LABELS.get(label, label)})",
                unfolded=place == 0,
            )
        )
    blocks += [
        Paragraph("The prompt of the first of them:"),
        Command(report.task.prompt(report.grids[0].item.source_word, report.draw)),
    ]
    return blocks


def _words(report: TraceReport) -> list[Block]:
    traces = report.traces
    rows_at = np.flatnonzero(traces.position == 0)
    labels = {
        name: behaviours(filtered, words_only=words_only)
        for name, (filtered, words_only) in filters(traces).items()
    }
    ids, chances = leading_tokens(traces)
    peaks = peak_layers(traces)
    filtered, words_only = filters(traces)["words only, less common tokens"]
    strength, pivots = pivot_strength(filtered, words_only=words_only)
    rows: list[tuple[Cell, ...]] = []
    for row in rows_at[:SHOWN_WORDS]:
        item = traces.items[traces.item[row]]
        pivot = _shown(report, int(pivots[row])) if pivots[row] >= 0 else None
        rows.append(
            (
                item.source_word,
                item.target_word,
                *(_LABELS.get(labels[name][row], labels[name][row]) for name in labels),
                int(peaks[row]),
                _shown(report, int(ids[row, peaks[row]])),
                float(chances[row, peaks[row]]),
                _shown(report, int(ids[row, -1])),
                pivot,
                float(strength[row]) if pivot is not None else None,
            )
        )
    columns = (
        "word",
        "target",
        *labels,
        "peak layer",
        "its token",
        "share",
        "final token",
        "strongest pivot",
        "share",
    )
    shown = f"The first {SHOWN_WORDS} words" if len(rows_at) > SHOWN_WORDS else "All words"
    return [
        Table(
            f"{shown} (share: the token's probability); all places and layers are in the parquet files",
            columns,
            rows,
            digits=2,
        )
    ]


def _shown(report: TraceReport, token: int) -> str:
    return visible(str(report.tokenizer.decode([token])), token)
