"""A table of tokens in a page: rows are layers, columns tokens, each cell its likeliest token over its probability.

A cell tells its next choices to the mouse, and to the keyboard by `tokengrid.js`; where no script may run, the marked
columns are reached by the tab key.
"""

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lingraft.reports.scripts import read_script

STYLE = """
.tokengrid { border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0; padding: .3rem .9rem; }
.tokengrid summary { cursor: pointer; padding: .25rem 0; }
.tokengrid .scroll { margin: .4rem 0 .8rem; padding-bottom: .3rem; }
.tokengrid table { border-collapse: separate; border-spacing: 2px; font-size: .84rem; }
.tokengrid th, .tokengrid td { border-bottom: 0; padding: .1rem .35rem; text-align: center; white-space: nowrap; }
.tokengrid thead th { min-width: 0; border-bottom: 1px solid var(--line); }
.tokengrid tbody th { color: var(--quiet); min-width: 0; text-align: right; font-variant-numeric: tabular-nums; }
.tokengrid .marked { box-shadow: inset 0 -3px 0 var(--link); }
.tokengrid td { position: relative; border-radius: 3px; max-width: 9rem;
  background: color-mix(in srgb, var(--link) calc(var(--p) * var(--mix)), var(--raised)); }
.tokengrid td > span { display: block; overflow: hidden; text-overflow: ellipsis; }
.tokengrid td.k0 { box-shadow: inset 0 0 0 2px var(--kind0), inset 0 0 0 3px var(--paper); }
.tokengrid td.k1 { box-shadow: inset 0 0 0 2px var(--kind1), inset 0 0 0 3px var(--paper); border-radius: 9px; }
.tokengrid td.k2 { box-shadow: inset 0 0 0 2px var(--kind2), inset 0 0 0 3px var(--paper); border-radius: 0; }
.tokengrid .kind.k0 { color: var(--kind0); }
.tokengrid .kind.k1 { color: var(--kind1); }
.tokengrid .kind.k2 { color: var(--kind2); }
.tokengrid td > div { display: none; position: absolute; z-index: 2; left: 50%; top: 100%; transform: translateX(-50%);
  background: var(--paper); color: var(--ink); border: 1px solid var(--ink); border-radius: 6px; padding: .3rem .6rem;
  text-align: left; white-space: pre; font-variant-numeric: tabular-nums; pointer-events: none; }
.tokengrid td:hover > div, .tokengrid td:focus > div { display: block; }
.tokengrid td:focus { outline: 3px solid var(--link); outline-offset: 1px; }
.tokengrid tbody tr:nth-last-child(-n+6) td > div { top: auto; bottom: 100%; }
.tokengrid .kinds { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0;
  color: var(--quiet); font-size: .9rem; }
.tokengrid-hint { color: var(--quiet); font-size: .9rem; margin: .2rem 0; }
@media print { .tokengrid-hint { display: none; } .tokengrid td > div { display: none !important; } }
"""


@dataclass(frozen=True, slots=True)
class TokenCell:
    """One cell.

    Attributes:
        choices: Likeliest tokens with their probabilities, falling; at least one.
        kind: Number of the kind of token that the first choice is, -1 for none.
    """

    choices: Sequence[tuple[str, float]]
    kind: int = -1


@dataclass(frozen=True, slots=True)
class TokenGrid:
    """A block of a page, folded unless `unfolded`.

    Attributes:
        title: What unfolds it.
        caption: What it shows, for who cannot see it.
        columns: Headings of the columns.
        rows: Headings of the rows, from the top.
        cells: `[rows][columns]`.
        kinds: Names of up to three kinds of tokens, framed differently.
        marked: Columns that matter most.
        marked_name: What they are.
        unfolded: Show it at once.
    """

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Sequence[Sequence[TokenCell]]
    kinds: Sequence[str] = ()
    marked: Collection[int] = ()
    marked_name: str = ""
    unfolded: bool = False


def token_grid_html(grid: TokenGrid) -> str:
    """Return the block as HTML; the page must hold `STYLE`.

    Args:
        grid: What to show.

    Returns:
        A details element.
    """
    head = "".join(
        f'<th scope="col"{" class=marked" if place in grid.marked else ""}>{_text(name)}</th>'
        for place, name in enumerate(grid.columns)
    )
    body = "\n".join(
        f'<tr><th scope="row">{_text(name)}</th>'
        + "".join(_cell(cell, place in grid.marked) for place, cell in enumerate(row))
        + "</tr>"
        for name, row in zip(grid.rows, grid.cells, strict=True)
    )
    kinds = "".join(
        f'<span><span class="kind k{number}">▢</span> {_text(name)}</span>'
        for number, name in enumerate(grid.kinds)
    )
    marked = f"<span>underlined: {_text(grid.marked_name)}</span>" if grid.marked and grid.marked_name else ""
    return (
        f'<details class="tokengrid"{" open" if grid.unfolded else ""}><summary>{_text(grid.title)}</summary>'
        f'<p class="kinds">{kinds}{marked}</p>'
        f'<div class="scroll" role="group" tabindex="0" aria-label="{_text(grid.caption)}"><table>'
        f"<thead><tr><th scope=col>layer</th>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
        '<p class="tokengrid-hint" hidden>Point at a cell, or walk with the arrow keys; Home, End, Page Up and'
        ' Page Down go to the edges.</p><output class="spoken" aria-live="polite"></output></details>'
    )


def script() -> str:
    """Return the script that brings all grids of a page to life."""
    return read_script("tokengrid.js")


def _cell(cell: TokenCell, reachable: bool) -> str:
    first, probability = cell.choices[0]
    kind = f' class="k{cell.kind}"' if cell.kind >= 0 else ""
    focus = ' tabindex="0"' if reachable else ""
    more = "\n".join(f"{100 * chance:5.1f} %  {_text(text)}" for text, chance in cell.choices)
    return f'<td{kind}{focus} style="--p:{probability:.2f}"><span>{_text(first)}</span><div>{more}</div></td>'


def _text(value: str) -> str:
    return html.escape(value.encode("utf-8", "replace").decode("utf-8"), quote=True)
