"""The report of a selection: what the sets hold, how rich in pivots they are, which documents and why."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.pivots.discovery_report import drawable
from lingraft.reports.figures import bar_chart, dot_chart, histogram
from lingraft.reports.intervals import Estimate, ratio_interval
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table

FEWEST = 10
"""With fewer documents a bootstrap interval is much too narrow, so none is given."""
_SHOWN = 25
_HOW = {
    "selected": "the documents with the largest share of pivots",
    "random": "documents drawn from all that may be chosen",
    "matched": "drawn with the selection's languages and lengths",
    "parallel": "drawn from documents in two languages",
    "frequency": "chosen by random tokens as frequent as the pivots",
}


def pivot_share(scores: NDArray[np.float64], lengths: NDArray[np.int64], *, seed: int = 0) -> Estimate:
    """Share of a set's tokens that are pivots, by bootstrap over documents.

    Args:
        scores: Share of each document, [documents].
        lengths: Its tokens, [documents].
        seed: Of the bootstrap.

    Returns:
        The share; without an interval for fewer than `FEWEST` documents.
    """
    found = ratio_interval(scores * lengths, lengths, seed=seed, resamples=1000)
    return found if len(scores) >= FEWEST else Estimate(found.value, None, None, len(scores))


def selection_sections(
    sets: Sequence[Mapping[str, Any]],
    scores: Mapping[str, NDArray[np.float64]],
    best: Sequence[Mapping[str, Any]],
    pivots: Sequence[tuple[str, int]],
    *,
    unit: str,
    guard: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> list[Section]:
    """Show the sets, the best documents with their reasons, and the guard.

    Args:
        sets: A row a set: `name`, `documents`, `tokens`, `pivot_share` (Estimate), `overlap`, `languages` (to tokens),
            `mean_length`, `shards`.
        scores: Each set's documents' scores.
        best: Rows of the first documents of the selection, as in `selection.parquet`.
        pivots: Pivots and how many of the selection's documents name them, the most first.
        unit: What the budget is counted in.
        guard: `test_words`, `removed` (pivots), `documents` kept out, or None where that was not asked for.
        warnings: What the reader must not overlook.

    Returns:
        Sections of a page.
    """
    return [
        _sets(sets, scores, unit, warnings),
        _languages(sets, unit),
        _reasons(best, pivots),
        _guard(guard),
    ]


def _sets(
    sets: Sequence[Mapping[str, Any]],
    scores: Mapping[str, NDArray[np.float64]],
    unit: str,
    warnings: Sequence[str],
) -> Section:
    rows: list[Sequence[Cell]] = [
        [
            row["name"],
            _HOW[row["name"]],
            row["documents"],
            row["tokens"],
            row["mean_length"],
            _percent(row["pivot_share"]),
            100 * row["overlap"] if row["overlap"] is not None else None,
        ]
        for row in sets
    ]
    columns = ["set", "how", "documents", unit, "mean length", "% pivots", "% also selected"]
    shares = {"pivots": {row["name"]: _percent(row["pivot_share"]) for row in sets}}
    first = sets[0]
    others = ", ".join(f"{row['name']} {100 * row['pivot_share'].value:.1f} %" for row in sets[1:])
    blocks: list[Block] = [Paragraph(text, warning=True) for text in warnings]
    blocks += [
        Table(
            "The sets: equal budgets, the last document of each cut where it overflows.",
            columns,
            rows,
            digits=1,
        ),
        Figure(
            "Share of tokens that are pivots, with 95 % intervals over documents.",
            f"selected {100 * first['pivot_share'].value:.1f} %; {others or 'no control'}.",
            dot_chart(shares, x_label="tokens that are pivots, in percent"),
        ),
        Figure(
            "How the documents of each set are distributed over scores.",
            "; ".join(
                f"{name}: median {np.median(values):.3f}" for name, values in scores.items() if len(values)
            ),
            histogram(scores, x_label="score: share of a document's tokens that are pivots"),
        ),
    ]
    return Section("Sets", blocks)


def _percent(share: Estimate) -> Estimate:
    low, high = (None if bound is None else 100 * bound for bound in (share.low, share.high))
    return Estimate(100 * share.value, low, high, share.observations)


def _languages(sets: Sequence[Mapping[str, Any]], unit: str) -> Section:
    names = list(dict.fromkeys(name for row in sets for name in row["languages"]))
    shown = {name: name or "not known" for name in names}
    rows: list[Sequence[Cell]] = [
        [row["name"], *(row["languages"].get(name, 0) for name in names)] for row in sets
    ]
    blocks: list[Block] = [Table(f"{unit} by language.", ["set", *shown.values()], rows)]
    if len(names) > 1:
        series = {
            shown[name]: {
                row["name"]: Estimate(100 * row["languages"].get(name, 0) / max(1, row["tokens"]))
                for row in sets
            }
            for name in names[:7]
        }
        said = "; ".join(f"{row['name']}: {max(row['languages'], key=row['languages'].get) or 'not known'}"
                         for row in sets)  # fmt: skip
        blocks.append(
            Figure("Share of each language.", f"Mostly {said}.", bar_chart(series, y_label="percent"))
        )
    return Section("Languages", blocks)


def _reasons(best: Sequence[Mapping[str, Any]], pivots: Sequence[tuple[str, int]]) -> Section:
    rows: list[Sequence[Cell]] = []
    for row in best[:_SHOWN]:
        named = zip(row["pivots"], row["pivot_counts"], strict=True)
        why = ", ".join(f"{token} ({count})" for token, count in list(named)[:8])
        rows.append([row["id"][-60:], row["language"], row["score"], row["length"], row["pivot_tokens"], why])
    columns = ["document", "language", "score", "length", "pivots in it", "which (how often)"]
    blocks: list[Block] = [
        Table(f"The first {len(rows)} documents of the selection, and why.", columns, rows)
    ]
    if pivots:
        shown = pivots[:_SHOWN]
        labels = drawable([token for token, _ in shown])
        blocks.append(
            Figure(
                "Pivots that most of the selected documents hold.",
                ", ".join(f"{token} {count}" for token, count in shown[:10]),
                dot_chart(
                    {"documents": {labels[token]: Estimate(float(count)) for token, count in shown}},
                    x_label="selected documents that name it among their most frequent",
                ),
            )
        )
        blocks.append(Table("The same in numbers.", ["pivot", "documents"], [[*entry] for entry in shown]))
    return Section("Which documents, and why", blocks)


def _guard(guard: Mapping[str, Any]) -> Section:
    if not guard["test_words"]:
        return Section(
            "Test words",
            [
                Paragraph(
                    "No test words were given: words that are tested later may be among the pivots.",
                    warning=True,
                )
            ],
        )
    removed = guard["removed"]
    said = f"{guard['test_words']:,} test words never serve as pivots; {len(removed):,} of the pivots were among them"
    said += f": {', '.join(removed[:40])}{', ...' if len(removed) > 40 else ''}." if removed else "."
    kept_out = guard["documents"]
    more = (
        "Documents that hold both words of a test pair may be chosen (--keep-out-test-pairs keeps them out)."
        if kept_out is None
        else f"{kept_out:,} documents that hold both words of a test pair were kept out of every set."
    )
    return Section("Test words", [Paragraph(said), Paragraph(more)])
