"""Cells of tables: numbers rounded, intervals behind their estimates."""

import html
import math

from lingraft.reports.intervals import Estimate

Cell = str | int | float | bool | Estimate | None
"""What a table cell can hold: numbers are set right and rounded, None is a dash."""


def format_cell(value: Cell, digits: int) -> str:
    """Return a cell's text: thousands separated, an estimate with its interval, None as a dash.

    Args:
        value: The cell.
        digits: Digits after the point of what is not a whole number.

    Returns:
        Plain text, not escaped.
    """
    if isinstance(value, Estimate):
        text = format_cell(value.value, digits)
        bounded = value.low is not None and value.high is not None
        interval = f" ({format_cell(value.low, digits)} to {format_cell(value.high, digits)})"
        return text + interval if bounded else text
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and math.isfinite(value):
        small = value != 0 and abs(value) < 0.5 * 10**-digits
        return f"{value:.{digits}g}" if small else f"{value:,.{digits}f}"
    return value if isinstance(value, str) else "–"


def cell_html(value: Cell, digits: int) -> str:
    """Return a cell as HTML: where a table is wide, an interval goes under its estimate.

    Args:
        value: The cell.
        digits: Digits after the point of what is not a whole number.

    Returns:
        The text of `format_cell`, escaped.
    """
    text = html.escape(format_cell(value, digits), quote=True)
    number, bracket, interval = text.partition(" (")
    if not isinstance(value, Estimate) or not bracket:
        return text
    return f'{number} <span class="interval">({interval}</span>'
