"""Heatmaps beside each other on one colour scale, light and dark, told apart by colour-blind readers too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import ConfigError
from lingraft.reports.drawing import GRID, INK, PAPER, Picture, draw_figure

# Orange and blue at equal lightness steps from the page's own colour: red and green never meet.
_DIVERGING = {
    False: ("#7f3b08", "#d9730d", "#f6c58f", "#f4f4f2", "#9ecae9", "#2f79b5", "#08306b"),
    True: ("#ffc27a", "#e0800f", "#7a4713", "#262b33", "#1f4f7a", "#3f97dd", "#b3dcff"),
}
_SYMBOLS = ("*", "D", "o", "s", "^")

_NAME_INCHES, _SYMBOL_INCHES = 0.075, 0.62
"""Inches of a letter of a legend at 10 points, and of what stands before and behind a name."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One heatmap.

    Attributes:
        title: Above it.
        values: `[rows, columns]`; NaN where there is none.
        marks: Name to row and column of a marked cell, counted in `values`.
    """

    title: str
    values: NDArray[np.float64]
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GridAxes:
    """What rows and columns are.

    Attributes:
        row_label: What rows are; they rise from the bottom.
        column_label: What columns are.
        rows: Label of every row.
        columns: Label of every column.
        pointed_column: A column to point at, counted from 0, or None.
        pointer_label: What it is.
    """

    row_label: str
    column_label: str
    rows: Sequence[str]
    columns: Sequence[str]
    pointed_column: int | None = None
    pointer_label: str = ""


def heatmap_panels(
    panels: Sequence[Panel],
    axes: GridAxes,
    *,
    value_label: str,
    centre: float | None = None,
    reference: float | None = None,
    reference_label: str = "",
) -> Picture:
    """Draw panels of equal rows and columns.

    Args:
        panels: From the left, up to four a row.
        axes: What rows and columns are.
        value_label: Name and unit of the values.
        centre: Diverging colours around this value; None for rising ones.
        reference: A value to mark on the colour bar.
        reference_label: What it is.

    Returns:
        The picture.

    Raises:
        ConfigError: There is no panel, or no finite value in any.
    """
    finite = [panel.values[np.isfinite(panel.values)] for panel in panels]
    if not sum(map(len, finite)):
        raise ConfigError(
            "no finite value to draw", "at least one finite value", "draw the figure once there is data"
        )
    values = np.concatenate(finite)
    low, high = _limits(values, centre, reference)
    down = math.ceil(len(panels) / 4)
    across = math.ceil(len(panels) / down)
    side = 5.4 if across == 1 else 9.6 / across
    inches = side * across + 1.3
    shape = min(1.6, max(0.5, len(axes.rows) / max(1, len(axes.columns))))

    def paint(figure: Any, dark: bool) -> None:
        colours = _colours(dark, diverging=centre is not None)
        drawn = figure.subplots(down, across, squeeze=False)
        image: Any = None
        handles: dict[str, Any] = {}
        for place, spot in enumerate(drawn.flat):
            if place >= len(panels):
                spot.set_visible(False)
                continue
            panel = panels[place]
            image = spot.imshow(
                panel.values, cmap=colours, vmin=low, vmax=high, origin="lower", aspect="auto"
            )
            _dress(spot, panel, axes, dark, first=place % across == 0, last=place + across >= len(panels))
            handles |= _mark(spot, panel, axes, dark)
        bar = figure.colorbar(image, ax=drawn, fraction=0.05, aspect=28)
        bar.set_label(value_label, fontsize=9)
        bar.ax.tick_params(labelsize=8.5)
        bar.outline.set_visible(False)
        if reference is not None:
            # Two colours over each other are seen on any other.
            for colour, width in ((PAPER[dark], 5), (INK[dark], 2)):
                line = bar.ax.axhline(reference, color=colour, linewidth=width)
            handles[reference_label or "reference"] = line
        if handles:
            columns = _legend_columns(list(handles), inches)
            figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)

    return draw_figure(paint, (inches, side * shape * down + 0.8))


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Return how many names of a legend stand side by side in `width` inches."""
    if sum(_NAME_INCHES * len(name) + _SYMBOL_INCHES for name in names) <= width:
        return len(names)
    widest = max(_NAME_INCHES * len(name) + _SYMBOL_INCHES for name in names)
    return max(1, min(len(names), int(width / widest)))


def _limits(
    values: NDArray[np.float64], centre: float | None, reference: float | None
) -> tuple[float, float]:
    if centre is not None:
        reach = float(np.abs(values - centre).max()) or 1e-6
        return centre - reach, centre + reach
    ends = values if reference is None else np.append(values, reference)
    low, high = float(ends.min()), float(ends.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colours(dark: bool, *, diverging: bool) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    colours: Any = colormaps["viridis"]
    if diverging:
        colours = LinearSegmentedColormap.from_list("lingraft", _DIVERGING[dark])
    # A pair that was left out shows the page's lines, which neither scale contains.
    return colours.with_extremes(bad=GRID[dark])


def _dress(spot: Any, panel: Panel, axes: GridAxes, dark: bool, *, first: bool, last: bool) -> None:
    spot.set_title(panel.title, fontsize=9.5, loc="left", pad=9)
    spot.spines[:].set_visible(False)
    spot.set_facecolor(PAPER[dark])
    for axis, labels in ((spot.xaxis, axes.columns), (spot.yaxis, axes.rows)):
        step = next(n for n in (1, 2, 4, 5, 8, 10, 20, 50, 10**6) if len(labels) / n <= 8 or n == 10**6)
        places = range(0, len(labels), step)
        axis.set_ticks(places, [labels[place] for place in places], fontsize=8.5)
    if first:
        spot.set_ylabel(axes.row_label)
    if last:
        spot.set_xlabel(axes.column_label)


def _mark(spot: Any, panel: Panel, axes: GridAxes, dark: bool) -> dict[str, Any]:
    """Draw pointer and marks; return what the legend shows by name."""
    from matplotlib.lines import Line2D

    handles: dict[str, Any] = {}
    if axes.pointed_column is not None:
        # Above the column: a frame would hide a narrow one.
        look: dict[str, Any] = {"marker": "v", "markersize": 6, "color": INK[dark], "linestyle": "none"}
        over = spot.get_xaxis_transform()
        spot.plot([axes.pointed_column], [1.0], clip_on=False, transform=over, **(look | {"marker": 7}))
        handles[axes.pointer_label] = Line2D([], [], **look)
    for (name, (row, column)), symbol in zip(panel.marks.items(), _SYMBOLS, strict=False):
        look = {
            "marker": symbol,
            "markersize": 11 if symbol == "*" else 6.5,
            "markerfacecolor": "#ffffff",
            "markeredgecolor": "#000000",
            "markeredgewidth": 1.2,
            "linestyle": "none",
        }
        spot.plot([column], [row], clip_on=False, zorder=5, **look)
        handles[name] = Line2D([], [], **look)
    return handles
