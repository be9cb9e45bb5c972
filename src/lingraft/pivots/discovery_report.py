"""The report of discovery: the pivots of each pair, what they were told by, and the hubs of the graph."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lingraft.reports.figures import dot_chart
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table

PAIRS_SHOWN, PIVOTS_SHOWN, PICTURES, HUBS_SHOWN, ROWS = 24, 12, 6, 25, 200
_HOW = (
    "A pivot of a pair is a token that more of the documents with the source word hold than documents do in general,"
    " and more of those with the target word too; its score is the lower of both. The shares are of sampled documents."
)


def discovery_sections(
    pairs: Sequence[dict[str, Any]], pivots: pa.Table, hubs: pa.Table, *, score: str, filtered: bool
) -> list[Section]:
    """Show pivots and hubs.

    Args:
        pairs: One row a pair: `source_word`, `target_word`, `source_documents`, `target_documents`, `pivots`, `kept`,
            `why_none`.
        pivots: Of `pivot_table`.
        hubs: Of `hub_table`.
        score: How tokens were scored.
        filtered: Whether a semantic filter marked pivots.

    Returns:
        Sections of a page.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in pivots.to_pylist():
        rows.setdefault((row["source_word"], row["target_word"]), []).append(row)
    return [
        _overview(pairs, rows, filtered),
        _pictures(rows),
        _tables(rows, score, filtered),
        _hubs(hubs),
    ]


def _overview(
    pairs: Sequence[dict[str, Any]], rows: dict[tuple[str, str], list[dict[str, Any]]], filtered: bool
) -> Section:
    columns = ["pair", "documents with the source word", "with the target word", "pivots"]
    cells: list[Sequence[Cell]] = []
    for pair in pairs[:ROWS]:
        best = rows.get((pair["source_word"], pair["target_word"]), [])
        said = ", ".join(row["token"] for row in best if row["kept"])[:160]
        cells.append(
            [
                _name(pair),
                pair["source_documents"],
                pair["target_documents"],
                pair["pivots"],
                *([pair["kept"]] if filtered else []),
                said or pair["why_none"] or "none is kept",
            ]
        )
    headings = [*columns, *(["kept"] if filtered else []), "the best"]
    caption = (
        f"Pivots by pair; the first {ROWS} of {len(pairs):,} pairs."
        if len(pairs) > ROWS
        else "Pivots by pair."
    )
    return Section("Pairs", [Paragraph(_HOW), Table(caption, headings, cells)])


def _pictures(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> Section:
    blocks: list[Block] = []
    for (source, target), best in list(rows.items())[:PICTURES]:
        shown = best[:PIVOTS_SHOWN]
        labels = drawable([row["token"] for row in shown])
        words = drawable([source, target])
        series = {
            name: {labels[row["token"]]: Estimate(100 * row[column]) for row in shown}
            for name, column in (
                (f"with {source}" if words[source] == source else "with the source word", "df_source"),
                (f"with {target}" if words[target] == target else "with the target word", "df_target"),
                ("of all", "df_background"),
            )
        }
        first = shown[0]
        blocks.append(
            Figure(
                f"The best pivots of {source} – {target}: share of sampled documents that hold them.",
                f"{first['token']} is in {100 * first['df_source']:.0f} % of the documents with {source},"
                f" {100 * first['df_target']:.0f} % of those with {target} and"
                f" {100 * first['df_background']:.0f} % of all.",
                dot_chart(series, x_label="documents that hold the token, in percent"),
            )
        )
    return Section("What they were told by", blocks or [Paragraph("No pair has a pivot.", warning=True)])


def _tables(rows: dict[tuple[str, str], list[dict[str, Any]]], score: str, filtered: bool) -> Section:
    blocks: list[Block] = []
    for (source, target), best in list(rows.items())[:PAIRS_SHOWN]:
        cells: list[Sequence[Cell]] = [
            [
                row["token"],
                row["score"],
                *(100 * row[column] for column in ("df_source", "df_target", "df_background")),
                *([row["similarity"], row["kept"]] if filtered else []),
            ]
            for row in best[:PIVOTS_SHOWN]
        ]
        columns = ["token", score, f"% with {source}", f"% with {target}", "% of all"]
        caption = f"{source} – {target}: the first {len(cells)} of {len(best)} pivots."
        blocks.append(Table(caption, [*columns, *(["likeness", "kept"] if filtered else [])], cells))
    if len(rows) > PAIRS_SHOWN:
        blocks.append(Paragraph(f"{len(rows) - PAIRS_SHOWN} more pairs are in pivots.parquet."))
    return Section("Pivots", blocks or [Paragraph("There is none.")])


def _hubs(hubs: pa.Table) -> Section:
    if not hubs.num_rows:
        return Section(
            "Hubs", [Paragraph("No token comes with two or more words of both sides.", warning=True)]
        )
    best = hubs.slice(0, HUBS_SHOWN).to_pylist()
    labels = drawable([row["token"] for row in best])
    picture = dot_chart(
        {
            name: {labels[row["token"]]: Estimate(float(row[column])) for row in best}
            for name, column in (("source words", "source_words"), ("target words", "target_words"))
        },
        x_label="words it comes with",
    )
    first, shown = best[0], ("token", "source_words", "target_words", "strength")
    return Section(
        "Hubs",
        [
            Paragraph(
                "In the co-occurrence graph a word and a token are joined where the token is in clearly more of the"
                " word's documents than of others. Hubs are joined to several words of both sides; `lingraft pivots"
                " select` can choose documents by them (hubs.parquet)."
            ),
            Figure(
                f"The best joined of {hubs.num_rows:,} hubs.",
                f"{first['token']} comes with {first['source_words']} source and {first['target_words']} target words.",
                picture,
            ),
            Table(
                "Hubs: words joined to, sum of the excess over them, and share of all documents.",
                ["token", "source words", "target words", "strength", "% of all documents"],
                [[*(row[column] for column in shown), 100 * row["df_background"]] for row in best],
            ),
        ],
    )


def drawable(texts: Sequence[str]) -> dict[str, str]:
    """Return labels that pictures can show: a text in a script that their font lacks is pointed to in the table.

    Args:
        texts: Distinct texts, in the table's order.

    Returns:
        Text to label.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties(family=["DejaVu Sans"]))).get_charmap()
    return {
        text: text if all(ord(character) in glyphs for character in text) else f"row {row} of the table"
        for row, text in enumerate(texts, start=1)
    }


def _name(pair: dict[str, Any]) -> str:
    return f"{pair['source_word']} – {pair['target_word']}"
