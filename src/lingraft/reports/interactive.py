"""A map of cells that a reader walks through, in a page that loads nothing: see `explorer.js` for its other half."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.reports.scripts import read_script

STYLE = """
.explorer { border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; }
.explorer [hidden] { display: none; }
.explorer-controls { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; margin-bottom: .6rem; }
.explorer-controls > div { display: flex; align-items: center; gap: .45rem; min-width: 0; max-width: 100%; }
.explorer-controls label, .explorer-steps { white-space: nowrap; color: var(--quiet); }
.explorer select, .explorer button { font: inherit; color: var(--ink); background: var(--raised);
  border: 1px solid var(--quiet); border-radius: 5px; padding: .2rem .45rem; max-width: 18rem; min-width: 0; }
.explorer-body { display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; align-items: flex-start; }
.explorer-map { flex: 1 1 30rem; min-width: 0; border-radius: 6px; }
.explorer-map:focus-visible, .explorer select:focus-visible, .explorer button:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; }
.explorer-map canvas { display: block; cursor: crosshair; }
.explorer-side { flex: 1 1 13rem; max-width: 20rem; }
.explorer-legend { display: flex; flex-wrap: wrap; align-items: center; gap: .2rem .5rem; min-height: 2.6rem; }
.explorer-legend canvas { display: block; border-radius: 3px; }
.explorer-ends { display: flex; justify-content: space-between; gap: .5rem; font-size: .8rem; white-space: nowrap; }
.explorer-swatch { width: 1rem; height: 1rem; border-radius: 3px; }
.explorer-marks, .explorer-note, .explorer-hint { color: var(--quiet); font-size: .9rem; margin: .3rem 0; }
.explorer-marks { display: flex; flex-direction: column; }
.explorer-where { font-weight: 600; margin: .6rem 0 .3rem; }
.explorer dl { display: grid; grid-template-columns: minmax(5rem, 9.5rem) minmax(6rem, 1fr); gap: .3rem .7rem;
  margin: 0; align-items: baseline; }
.explorer dt { color: var(--quiet); font-size: .9rem; line-height: 1.3; }
.explorer dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.explorer-text { white-space: pre-wrap; background: var(--raised); border-radius: 4px; padding: 0 .35rem; }
.explorer-spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media print { .explorer-controls, .explorer-hint { display: none; } }
"""

_STEPS = {1: 0xFE, 2: 0xFFFE}
_DTYPES: dict[int, Any] = {1: np.dtype("u1"), 2: np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that cells have a number of.

    Attributes:
        name: For the list to choose from.
        unit: Behind its numbers.
        percent: Shares, shown in percent.
        digits: Digits after the point otherwise.
    """

    name: str
    unit: str = ""
    percent: bool = False
    digits: int = 3


@dataclass(frozen=True, slots=True)
class GridValues:
    """A quantity's numbers.

    Attributes:
        values: `[R, C]`; what is not finite is shown as missing.
        reference: What to compare with: colours diverge from it, and differences to it are told.
        verdict: The numbers are 1 for right and 0 for wrong.
    """

    values: NDArray[np.floating[Any]]
    reference: float | None = None
    verdict: bool = False


@dataclass(frozen=True, slots=True)
class GridView:
    """One map to choose.

    Attributes:
        name: For the list to choose from.
        facet: Which part of the list it belongs to.
        values: One a quantity; None where this map has none of it.
        note: A sentence about it.
        marks: Name to row and column of a marked cell; up to five.
        codes: int `[R, C]`, number of each cell's text, -1 for none; None without texts.
        texts: What the numbers stand for.
    """

    name: str
    facet: str
    values: Sequence[GridValues | None]
    note: str = ""
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    codes: NDArray[np.integer[Any]] | None = None
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class GridGroup:
    """Maps over the same rows and columns.

    Attributes:
        name: For the list to choose from.
        rows: Number of every row, from the bottom.
        columns: Number of every column.
        views: Its maps, at least one.
        framed_column: A column to point at, counted from 0, or None.
        frame_label: What it is.
    """

    name: str
    rows: Sequence[int]
    columns: Sequence[int]
    views: Sequence[GridView]
    framed_column: int | None = None
    frame_label: str = ""


@dataclass(frozen=True, slots=True)
class GridExplorer:
    """A block of a page: choose a map and a quantity, and read its cells with the mouse or the arrow keys.

    Attributes:
        caption: What it shows, in a sentence or two.
        label: The same in a few words, read out by a screen reader.
        row_label: What rows are.
        column_label: What columns are.
        quantities: What cells have numbers of.
        groups: The maps, at least one group.
        group_label: What a group is.
        facet_label: What a facet is.
        view_label: What a view is.
        code_label: What the cells' texts are.
        reference_label: What the reference is.
        everything: The facet under which the views of all facets are listed, or "".
    """

    caption: str
    label: str
    row_label: str
    column_label: str
    quantities: Sequence[Quantity]
    groups: Sequence[GridGroup]
    group_label: str = "group"
    facet_label: str = "part"
    view_label: str = "map"
    code_label: str = "text"
    reference_label: str = "reference"
    everything: str = ""


def explorer_html(explorer: GridExplorer) -> str:
    """Return the block as HTML; the page must hold `script()` once, behind it.

    Args:
        explorer: What to show.

    Returns:
        A figure element with its data.
    """
    data = {
        "label": explorer.label,
        "rowLabel": explorer.row_label,
        "columnLabel": explorer.column_label,
        "groupLabel": explorer.group_label,
        "facetLabel": explorer.facet_label,
        "viewLabel": explorer.view_label,
        "codeLabel": explorer.code_label,
        "referenceLabel": explorer.reference_label,
        "everything": explorer.everything,
        "quantities": [
            {"name": one.name, "unit": one.unit, "percent": one.percent, "digits": one.digits}
            for one in explorer.quantities
        ],
        "groups": [_group(group) for group in explorer.groups],
    }
    return (
        '<figure class="explorer"><div class="explorer-live" hidden><div class="explorer-controls"></div>'
        '<div class="explorer-body"><div class="explorer-map" role="application" tabindex="0">'
        '<canvas aria-hidden="true"></canvas></div><div class="explorer-side">'
        '<div class="explorer-legend"></div><div class="explorer-readout"></div>'
        '<p class="explorer-note"></p><div class="explorer-marks"></div>'
        '<p class="explorer-hint">Point at a cell, or focus the map and use the arrow keys;'
        " Home, End, Page Up and Page Down go to the edges.</p>"
        '<output class="explorer-spoken" aria-live="polite"></output></div></div></div>'
        '<noscript><p class="warning">This map needs JavaScript, which is switched off.</p></noscript>'
        f"<figcaption>{html.escape(explorer.caption)}</figcaption>"
        f'<script type="application/json">{embedded_json(data)}</script></figure>'
    )


def view_bytes(view: GridView) -> int:
    """How many bytes of a page a view takes.

    Args:
        view: The view.

    Returns:
        Bytes in UTF-8.
    """
    return len(embedded_json(_view(view)).encode())


def embedded_json(data: Any) -> str:
    r"""Return JSON that can stand inside a script element, whatever its texts are.

    Args:
        data: What JSON can hold.

    Returns:
        JSON in which `<`, `>` and `&` are written as `\\u003c` and so on, so that no text can end the element.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    # Half of a character, which a generated text can end in, has no UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def script() -> str:
    """Return the script that brings all explorers of a page to life."""
    return read_script("explorer.js")


def _group(group: GridGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "rows": [int(row) for row in group.rows],
        "columns": [int(column) for column in group.columns],
        "frame": group.framed_column,
        "frameLabel": group.frame_label,
        "views": [_view(view) for view in group.views],
    }


def _view(view: GridView) -> dict[str, Any]:
    codes = None
    if view.codes is not None:
        width = 1 if len(view.texts) <= _STEPS[1] else 2
        numbers = np.where(view.codes < 0, np.nan, view.codes.astype(np.float64))
        codes = _encoded(numbers, width, 0.0, float(_STEPS[width]))
    return {
        "name": view.name,
        "facet": view.facet,
        "note": view.note,
        "marks": [[name, row, column] for name, (row, column) in view.marks.items()],
        "values": [None if part is None else _values(part) for part in view.values],
        "codes": codes,
        "texts": list(view.texts),
    }


def _values(part: GridValues) -> dict[str, Any]:
    numbers = np.asarray(part.values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    width = 1 if part.verdict else 2
    low, high = (0.0, 1.0) if part.verdict else (low, high)
    reference = part.reference if part.reference is not None and np.isfinite(part.reference) else None
    return {**_encoded(numbers, width, low, high), "ref": reference, "verdict": part.verdict}


def _encoded(numbers: ArrayLike, width: int, low: float, high: float) -> dict[str, Any]:
    """Integers of 1 or 2 bytes, row by row, little end first: 0 is `lo`, the last but one `hi`, the last nothing."""
    values = np.asarray(numbers, dtype=np.float64)
    span = high - low if high > low else 1.0
    there = np.isfinite(values)
    share = np.where(there, values - low, 0.0) / span
    whole = np.where(there, np.rint(share * _STEPS[width]), _STEPS[width] + 1).astype(_DTYPES[width])
    # `hi` may lie above what there is, so that a map of one value decodes to that value.
    return {
        "d": base64.b64encode(whole.tobytes()).decode("ascii"),
        "w": width,
        "lo": low,
        "hi": low + span,
    }
