"""One self-contained HTML page: opens from disk, loads nothing, light and dark, readable without pictures."""

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.files import write_text
from lingraft.reports import interactive, samples, tokengrid
from lingraft.reports.cells import Cell, cell_html, format_cell
from lingraft.reports.drawing import Picture
from lingraft.reports.interactive import GridExplorer
from lingraft.reports.intervals import Estimate
from lingraft.reports.result import RunResult
from lingraft.reports.samples import SampleRow, Samples
from lingraft.reports.template import PAGE, STYLE
from lingraft.reports.tokengrid import TokenGrid

__all__ = [
    "Block",
    "Cell",
    "Command",
    "Figure",
    "Paragraph",
    "SampleRow",
    "Samples",
    "Section",
    "Table",
    "format_cell",
    "render_page",
    "result_sections",
    "write_page",
]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text.

    Attributes:
        text: Plain text; it is escaped.
        warning: Set it apart, as something the reader must not overlook.
    """

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """Something to type, set as it is.

    Attributes:
        text: One or more lines.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        caption: What it shows, with units.
        columns: Column headings.
        rows: Cells, `[rows][columns]`.
        digits: Digits after the point in cells that are not whole numbers.
        best: Index of a column whose lowest value is set bold, or None.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 3
    best: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture.

    Attributes:
        caption: What it shows, in a sentence.
        alt: What a reader who cannot see it needs to know: the message, with its numbers.
        picture: The picture, or PNG bytes of one with a light background.
    """

    caption: str
    alt: str
    picture: Picture | bytes


Block = Paragraph | Command | Table | Figure | GridExplorer | TokenGrid | Samples


@dataclass(frozen=True, slots=True)
class Section:
    """A headed part of the page.

    Attributes:
        title: The heading.
        blocks: What stands under it, in order.
    """

    title: str
    blocks: Sequence[Block]


def write_page(
    path: Path,
    sections: Iterable[Section],
    *,
    title: str = "Lingraft report",
    summary: str = "",
    result: RunResult | None = None,
) -> Path:
    """Write the page atomically.

    Args:
        path: Where, usually `report.html` in the run directory.
        sections: What it says.
        title: The page's heading.
        summary: One sentence under it: what came out.
        result: Adds two sections: the counts with their reasons, and the command to repeat with provenance.

    Returns:
        The path written.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    write_text(path, render_page(sections, title=title, summary=summary, result=result))
    return path


def render_page(
    sections: Iterable[Section],
    *,
    title: str = "Lingraft report",
    summary: str = "",
    result: RunResult | None = None,
) -> str:
    """Return the page as HTML text; the arguments are those of `write_page`."""
    parts = [*sections, *(result_sections(result) if result is not None else [])]
    anchors = _anchors([part.title for part in parts])
    body = [f"<h1>{_text(title)}</h1>"]
    if summary:
        body.append(f'<p class="summary">{_text(summary)}</p>')
    if len(parts) > 3:
        links = "".join(
            f'<li><a href="#{anchor}">{_text(part.title)}</a></li>'
            for anchor, part in zip(anchors, parts, strict=True)
        )
        body.append(f'<nav aria-label="Sections"><ul>{links}</ul></nav>')
    for anchor, part in zip(anchors, parts, strict=True):
        blocks = "\n".join(_block(block) for block in part.blocks)
        heading = f'<h2 id="{anchor}">{_text(part.title)}</h2>'
        body.append(f'<section aria-labelledby="{anchor}">\n{heading}\n{blocks}\n</section>')
    style, policy = STYLE, ""
    kinds = {type(block) for part in parts for block in part.blocks}
    if TokenGrid in kinds:
        style += tokengrid.STYLE
    if Samples in kinds:
        style += samples.STYLE
    if GridExplorer in kinds:
        style, policy = style + interactive.STYLE, interactive.script_policy()
        body.append(f"<script>{interactive.script()}</script>")
    return PAGE.format(title=_text(title), style=style, policy=policy, body="\n".join(body))


def result_sections(result: RunResult) -> list[Section]:
    """Return what every report says at its end: counts with reasons, how to repeat it, where it comes from.

    Args:
        result: The run's result.

    Returns:
        One or two sections.
    """
    sections = []
    if result.counts:
        tables = [
            Table(what, ("reason", "count"), list(reasons.items())) for what, reasons in result.counts.items()
        ]
        sections.append(Section("Counts", tables))
    origin = result.provenance
    rows: list[tuple[str, str]] = [
        ("lingraft", origin.lingraft),
        ("Python", origin.python),
        *origin.libraries.items(),
        ("platform", origin.platform),
        ("device", origin.device),
        ("finished", origin.finished),
        *((f"seed: {name}", str(seed)) for name, seed in result.seeds.items()),
    ]
    blocks: list[Block] = [Paragraph("The command that made this report:"), Command(origin.command)]
    if result.inputs:
        inputs = [(item.role, item.reference, item.revision) for item in result.inputs]
        blocks.append(Table("What the run read", ("role", "reference", "revision"), inputs))
    blocks.append(Table("What it ran on", ("item", "value"), rows))
    sections.append(Section("How to repeat this", blocks))
    return sections


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _anchors(titles: Sequence[str]) -> list[str]:
    """Return a distinct fragment name for each title."""
    seen: dict[str, int] = {}
    names = []
    for title in titles:
        name = re.sub(r"[^\w]+", "-", title.lower()).strip("-") or "section"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f'<p class="warning" role="note">{_text(block.text)}</p>' if block.warning else _lines(block)
    if isinstance(block, Command):
        return f"<pre><code>{_text(block.text)}</code></pre>"
    if isinstance(block, GridExplorer):
        return interactive.explorer_html(block)
    if isinstance(block, TokenGrid):
        return tokengrid.token_grid_html(block)
    if isinstance(block, Samples):
        return samples.samples_html(block)
    return _table(block) if isinstance(block, Table) else _figure(block)


def _lines(paragraph: Paragraph) -> str:
    return f"<p>{_text(paragraph.text)}</p>"


def _table(table: Table) -> str:
    numeric = [any(_is_number(row[place]) for row in table.rows) for place in range(len(table.columns))]
    numeric[:1] = [False]
    head = "".join(
        f'<th scope="col"{" class=number" if right else ""}>{_text(name)}</th>'
        for name, right in zip(table.columns, numeric, strict=True)
    )
    best = _best_row(table)
    rows = []
    for number, row in enumerate(table.rows):
        cells = []
        for place, value in enumerate(row):
            text = cell_html(value, table.digits)
            shown = f"<strong>{text}</strong>" if number == best and place == table.best else text
            if place == 0:
                cells.append(f'<th scope="row">{shown}</th>')
            else:
                cells.append(f'<td class="number">{shown}</td>' if numeric[place] else f"<td>{shown}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(rows)
    # Wide tables scroll by themselves, by keyboard too, and never the page.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(table.caption)}"><table>'
        f"<caption>{_text(table.caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float | Estimate) and not isinstance(value, bool)


def _best_row(table: Table) -> int | None:
    if table.best is None:
        return None
    values: dict[int, float] = {}
    for number, row in enumerate(table.rows):
        cell: Any = row[table.best]
        value = cell.value if isinstance(cell, Estimate) else cell
        if isinstance(value, int | float) and math.isfinite(value):
            values[number] = float(value)
    return min(values, key=lambda number: values[number]) if values else None


def _figure(figure: Figure) -> str:
    if isinstance(figure.picture, Picture):
        image = (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data(figure.picture.dark)}">'
            f'<img src="{_data(figure.picture.light)}" alt="{_text(figure.alt)}"></picture>'
        )
    else:
        image = f'<img class="paper" src="{_data(figure.picture)}" alt="{_text(figure.alt)}">'
    return f"<figure>{image}<figcaption>{_text(figure.caption)}</figcaption></figure>"


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
