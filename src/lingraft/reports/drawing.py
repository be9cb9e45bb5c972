"""The paper that pictures are drawn on: PNG bytes in two colourings, equal for equal numbers."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INK = {False: "#1b1f24", True: "#e6e9ee"}
PAPER = {False: "#ffffff", True: "#16191e"}
GRID = {False: "#d9dde3", True: "#353b45"}
_DPI = 144


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure in its two colourings.

    Attributes:
        light: PNG bytes for a light page.
        dark: PNG bytes for a dark page.
    """

    light: bytes
    dark: bytes


def draw_figure(paint: Callable[[Any, bool], None], size: tuple[float, float]) -> Picture:
    """Let `paint(figure, dark)` draw on a bare figure, once for each colouring.

    Args:
        paint: Draws; pyplot, with its global state, is not used.
        size: Width and height in inches.

    Returns:
        The picture.
    """
    return Picture(_render(paint, size, dark=False), _render(paint, size, dark=True))


def draw_light(paint: Callable[[Any, bool], None], size: tuple[float, float]) -> bytes:
    """Draw as `draw_figure` does, for a light page only: PNG bytes for a file of its own."""
    return _render(paint, size, dark=False)


def _render(paint: Callable[[Any, bool], None], size: tuple[float, float], *, dark: bool) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ink, paper, grid = INK[dark], PAPER[dark], GRID[dark]
    style: dict[Any, Any] = {
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": grid,
        "axes.facecolor": paper,
        "figure.facecolor": paper,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": grid,
        "legend.frameon": False,
        "font.size": 10,
        # A name with a dollar sign in it is no formula.
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
    }
    with rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure, dark)
        out = io.BytesIO()
        # No software and no date in the file: equal numbers give equal bytes.
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
