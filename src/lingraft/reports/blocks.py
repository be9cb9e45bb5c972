"""What a page is made of that needs no script: paragraphs, commands, tables, figures."""

import base64
import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lingraft.reports.cells import Cell, cell_html
from lingraft.reports.drawing import Picture
from lingraft.reports.intervals import Estimate

LONG_WORD = 30
"""Letters of a word that a column need not be as wide as."""
PROSE = 60
"""Letters of a cell that wants a column of some width, so that a narrow page does not make a tower of it."""


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
        title: Folds it behind this line, or "".
    """

    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        caption: What it shows, with units.
        columns: Column headings.
        rows: Cells, `[rows][columns]`.
        digits: Digits after the point in cells that are not whole numbers.
        best: Index of a column whose lowest value is set bold, or None.
        folded: Fold it behind its caption.
        source: Where its numbers are kept, or "".
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 3
    best: int | None = None
    folded: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture.

    Attributes:
        caption: What it shows, in a sentence.
        alt: What a reader who cannot see it needs to know: the message, with its numbers.
        picture: The picture, or PNG bytes of one with a light background.
        source: Where its numbers are kept, or "".
    """

    caption: str
    alt: str
    picture: Picture | bytes
    source: str = ""


def escaped(value: str) -> str:
    """Return text for HTML, half of a character replaced, as it has no UTF-8."""
    return html.escape(value.encode("utf-8", "replace").decode("utf-8"), quote=True)


def paragraph_html(paragraph: Paragraph) -> str:
    """Return a paragraph as HTML."""
    mark = ' class="warning" role="note"' if paragraph.warning else ""
    return f"<p{mark}>{escaped(paragraph.text)}</p>"


def command_html(command: Command) -> str:
    """Return something to type as HTML."""
    shown = f"<pre><code>{escaped(command.text)}</code></pre>"
    return (
        f"<details><summary>{escaped(command.title)}</summary>{shown}</details>" if command.title else shown
    )


def table_html(table: Table) -> str:
    """Return a table as HTML: wide ones scroll by themselves, by keyboard too, and never the page."""
    numeric = [any(_is_number(row[place]) for row in table.rows) for place in range(len(table.columns))]
    numeric[:1] = [False]
    head = "".join(
        f'<th scope="col"{" class=number" if right else ""}>{escaped(name)}</th>'
        for name, right in zip(table.columns, numeric, strict=True)
    )
    best = _best_row(table)
    rows = "\n".join(_row(table, row, numeric, number == best) for number, row in enumerate(table.rows))
    caption = escaped(table.caption)
    shown = "" if table.folded else f"<caption><span>{caption}</span></caption>"
    # A group and no region: a page of many tables would have as many landmarks.
    frame = (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{caption}">'
        f"<table>{shown}<thead><tr>{head}</tr></thead>"
        f"<tbody>\n{rows}\n</tbody></table></div>{source_html(table.source)}"
    )
    return f"<details><summary>{caption}</summary>{frame}</details>" if table.folded else frame


def figure_html(figure: Figure) -> str:
    """Return a picture as HTML, in the colouring that the reader's browser asks for."""
    if isinstance(figure.picture, Picture):
        image = (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data(figure.picture.dark)}">'
            f'<img src="{_data(figure.picture.light)}" alt="{escaped(figure.alt)}"></picture>'
        )
    else:
        image = f'<img class="paper" src="{_data(figure.picture)}" alt="{escaped(figure.alt)}">'
    caption = f"<figcaption>{escaped(figure.caption)}{source_html(figure.source)}</figcaption>"
    return f'<figure><div class="picture">{image}</div>{caption}</figure>'


def source_html(source: str) -> str:
    """Say where numbers are kept, small, or nothing; long paths and keys break at their joints."""
    text = re.sub(r"(?<=[\w)])([./_]+)(?=\w)", r"\1<wbr>", escaped(source))
    return f'<small class="source">{text}</small>' if source else ""


def _row(table: Table, row: Sequence[Cell], numeric: Sequence[bool], best: bool) -> str:
    cells = []
    for place, value in enumerate(row):
        text = cell_html(value, table.digits)
        shown = f"<strong>{text}</strong>" if best and place == table.best else text
        look = _look(value, numeric[place])
        cells.append(f'<th scope="row"{look}>{shown}</th>' if place == 0 else f"<td{look}>{shown}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _look(value: Cell, numeric: bool) -> str:
    """Return a cell's attributes: how it is set, and for text of any script, that it says itself where it begins."""
    look = ' class="number"' if numeric else ""
    if not isinstance(value, str):
        return look
    # A path or a digest that no line would hold is cut anywhere.
    if max(map(len, value.split()), default=0) > LONG_WORD:
        look = ' class="long-word"'
    elif len(value) > PROSE or "\n" in value:
        look = ' class="prose"'
    # ASCII runs from the left as the page does, and a column of numbers is set right.
    return look if value.isascii() or "number" in look else f'{look} dir="auto"'


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


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
