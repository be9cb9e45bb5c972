"""Count word pairs in a corpus: from paths and a file of pairs to a run directory."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.corpora.partials import REJECTS
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.shards import SHARD_BYTES
from lingraft.files import replacing, sha256_of
from lingraft.pivots.cooccurrence import COUNTS, SEMANTICS, CooccurrenceCounts, count_pairs, read_pairs
from lingraft.pivots.matching import Matching
from lingraft.reports.figures import Picture, histogram
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, write_result

SHOWN = 20
"""Rows of the report's tables."""
PICTURE = "counts.png"


def run_counting(
    corpus: Sequence[str],
    pairs: Path,
    *,
    out: Path,
    matching: Matching,
    window: int | None = None,
    text_field: str = "text",
    workers: int = 1,
    ray_address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
) -> RunResult:
    """Count in one pass; leaves counts.parquet, semantics.json, counts.png, report.html and result.json.

    Args:
        corpus: Files, directories, glob patterns or `hf:NAME` data sets.
        pairs: File of source word, tab, target word.
        out: Run directory: missing, empty, or an earlier run of the same command, which is continued.
        matching: How words are matched.
        window: Also count documents in which both words begin less than so many words apart.
        text_field: Name of the field or column that holds the text.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here.
        shard_bytes: Size of the parts that large plain files are cut into.
        maximum_bad_lines: How many bad lines to go on after.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, a dead worker, or an output directory that holds something else.
    """
    started = time.monotonic()
    given = read_pairs(pairs, matching=matching)
    counts = count_pairs(
        corpus,
        given,
        out=out,
        matching=matching,
        window=window,
        text_field=text_field,
        workers=workers,
        ray_address=ray_address,
        shard_bytes=shard_bytes,
        maximum_bad_lines=maximum_bad_lines,
    )
    files = {"counts": COUNTS, "semantics": SEMANTICS, "picture": PICTURE, "report": "report.html"}
    if counts.bad:
        files["rejects"] = REJECTS
    bad = sum(counts.bad.values())
    blank = counts.lines - counts.documents - bad
    result = RunResult(
        kind="pivots count",
        metrics={
            **count_metrics(counts),
            "matching": matching.describe(),
            "window": window,
            "text_field": text_field,
            "seconds": round(time.monotonic() - started, 3),
        },
        counts={"lines or rows": {"documents": counts.documents, "blank": blank, **counts.bad}},
        inputs=(
            InputRevision(role="pairs", reference=str(pairs), revision=sha256_of(pairs)),
            *(
                InputRevision(role="corpus", reference=name, revision="sizes and times: manifest.json")
                for name in corpus
            ),
        ),
        files=files,
        provenance=collect_provenance(),
    )
    picture = count_picture(counts)
    with replacing(out / PICTURE) as temporary:
        temporary.write_bytes(picture.light)
    together = result.metrics["pairs_together"]
    summary = f"{together:,} of {len(given):,} pairs occur together in at least one of {counts.documents:,} documents."
    sections = count_sections(counts, picture)
    write_page(out / "report.html", sections, title="Words counted together", summary=summary, result=result)
    write_result(out, result)
    return result


def count_metrics(counts: CooccurrenceCounts) -> dict[str, Any]:
    """Sum up counts.

    Args:
        counts: The counts.

    Returns:
        JSON-able values by name, the semantics among them.
    """
    words = word_documents(counts)
    metrics = {
        "semantics": counts.semantics,
        "documents": counts.documents,
        "bad_lines": sum(counts.bad.values()),
        "pairs": len(counts.pairs),
        "pairs_together": int((counts.both > 0).sum()),
        "words": len(words),
        "words_absent": sum(not number for number in words.values()),
    }
    if counts.near is not None:
        metrics["pairs_near"] = int((counts.near > 0).sum())
    return metrics


def word_documents(counts: CooccurrenceCounts) -> dict[str, int]:
    """Return in how many documents each word is, the words as given, in their order."""
    found: dict[str, int] = {}
    columns = counts.source_documents.tolist(), counts.target_documents.tolist()
    for (source, target), mine, theirs in zip(counts.pairs, *columns, strict=True):
        found[source], found[target] = mine, theirs
    return found


def count_picture(counts: CooccurrenceCounts) -> Picture:
    """Draw how the counts are distributed, on a logarithmic scale.

    Args:
        counts: The counts.

    Returns:
        The picture.
    """
    series = {
        "source word": counts.source_documents,
        "target word": counts.target_documents,
        "both words": counts.both,
    }
    if counts.near is not None:
        series["both words near"] = counts.near
    return histogram(
        {name: np.log10(1 + values) for name, values in series.items()},
        x_label="log10 (1 + documents), a pair each",
    )


def count_sections(counts: CooccurrenceCounts, picture: Picture) -> list[Section]:
    """Lay out the page.

    Args:
        counts: The counts.
        picture: What `count_picture` drew.

    Returns:
        The sections.
    """
    metrics = count_metrics(counts)
    columns = ["pair", "source documents", "target documents", "both"]
    numbers = [counts.source_documents, counts.target_documents, counts.both]
    if counts.near is not None:
        columns.append("near")
        numbers.append(counts.near)
    order = np.argsort(-counts.both, kind="stable")[:SHOWN].tolist()
    rows: list[tuple[Cell, ...]] = [
        (" / ".join(counts.pairs[row]), *(int(values[row]) for values in numbers))
        for row in order
        if counts.both[row]
    ]
    # Of pairs that never meet, those say most whose words are both common.
    apart = np.where(counts.both == 0, np.minimum(counts.source_documents, counts.target_documents), 0)
    strangers: list[tuple[Cell, ...]] = [
        (" / ".join(counts.pairs[row]), *(int(values[row]) for values in numbers))
        for row in np.argsort(-apart, kind="stable")[:SHOWN].tolist()
        if apart[row]
    ]
    absent = [word for word, number in word_documents(counts).items() if not number]
    share = metrics["pairs_together"] / metrics["pairs"]
    blocks: list[Block] = [
        Paragraph(f"What was counted: {counts.semantics}."),
        Figure(
            "How many documents the words of a pair, and both of them, are in.",
            f"{share:.0%} of the pairs occur together in at least one document.",
            picture,
        ),
    ]
    sections = [Section("Counts of documents", blocks)]
    if rows:
        caption = f"Pairs that share most documents, {len(rows)} of {metrics['pairs_together']:,}"
        sections.append(Section("Together most often", [Table(caption, columns, rows)]))
    if strangers:
        caption = (
            f"Pairs of common words that share no document, {len(strangers)} of {int((apart > 0).sum()):,}"
        )
        sections.append(Section("Never together", [Table(caption, columns, strangers)]))
    if absent:
        listed = ", ".join(absent[:SHOWN]) + (", ..." if absent[SHOWN:] else "")
        sections.append(
            Section("Words in no document", [Paragraph(f"{len(absent):,} of {metrics['words']:,}: {listed}")])
        )
    return sections
