"""Pictures for reports: PNG bytes, for light and dark pages, in colours that colour-blind readers tell apart.

Every function makes a figure of its own and keeps none: pyplot, with its global state, is not used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lingraft.errors import ConfigError
from lingraft.reports.drawing import INK, Picture, draw_figure
from lingraft.reports.intervals import Estimate

__all__ = ["Curve", "Picture", "bar_chart", "dot_chart", "histogram", "loss_curves"]

# Okabe and Ito's palette; the last entry stands for their black, which has no contrast on a dark page.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A900")
_LINES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX*"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line, with a band around it where bounds are given.

    Attributes:
        name: What the legend says.
        x: Positions, `[points]`.
        y: Values, `[points]`.
        low: Lower bounds, `[points]`, or None.
        high: Upper bounds, `[points]`, or None.
        reference: Draw it in grey, as what the others are compared with.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    reference: bool = False


def _draw(paint: Callable[[Any, bool], None], size: tuple[float, float]) -> Picture:
    """Let `paint(axes, dark)` draw on a bare pair of axes, once for each colouring."""

    def on_axes(figure: Any, dark: bool) -> None:
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        paint(axes, dark)

    return draw_figure(on_axes, size)


def _require(found: int, what: str) -> None:
    if not found:
        raise ConfigError(f"no {what} to draw", f"at least one {what}", "draw the figure once there is data")


def loss_curves(
    curves: Sequence[Curve], *, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> Picture:
    """Draw curves with their bands; the legend lists them as they stand at the right end.

    Args:
        curves: What to draw; up to 28 are told apart by colour and line.
        x_label: Name and unit of the positions.
        y_label: Name and unit of the values.
        log_x: Logarithmic positions.
        log_y: Logarithmic values.

    Returns:
        The picture.

    Raises:
        ConfigError: There is no curve.
    """
    _require(len(curves), "curve")

    def paint(axes: Any, dark: bool) -> None:
        drawn: list[tuple[float, Any, str]] = []
        for place, curve in enumerate(curves):
            colour = "#8a919c" if curve.reference else _COLOURS[place % len(_COLOURS)]
            line = _LINES[(place // len(_COLOURS)) % len(_LINES)]
            (handle,) = axes.plot(
                curve.x,
                curve.y,
                color=colour,
                linestyle=line,
                linewidth=2.6 if curve.reference else 1.8,
                marker="o" if len(curve.x) <= 12 else None,
                markersize=4,
            )
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            drawn.append((float(curve.y[-1]) if len(curve.y) else np.nan, handle, curve.name))
        axes.set(xlabel=x_label, ylabel=y_label)
        if log_x:
            axes.set_xscale("symlog", linthresh=1)
            _plain_numbers(axes.xaxis)
        if log_y:
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
        axes.grid(axis="y")
        drawn.sort(key=lambda entry: -entry[0])
        axes.legend(
            [entry[1] for entry in drawn],
            [entry[2] for entry in drawn],
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )

    return _draw(paint, (8.0, max(3.8, 0.26 * len(curves) + 1.2)))


def _plain_numbers(axis: Any) -> None:
    """Write 100 on a logarithmic axis, since powers would be set as formulas; 2, 3 and 5 where it is short."""

    def between(value: float, _: Any) -> str:
        low, high = axis.get_view_interval()
        short = low > 0 and high / low < 30
        return f"{value:,g}" if short and f"{value:e}"[0] in "235" and value >= low else ""

    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(between)


def dot_chart(
    series: Mapping[str, Mapping[str, Estimate]],
    *,
    x_label: str,
    reference: float | None = None,
    reference_label: str = "",
) -> Picture:
    """Draw one row a label, one dot a series, with confidence intervals as whiskers.

    Dots need no zero on the axis, so small differences stay visible; for amounts take `bar_chart`.

    Args:
        series: Series name to label to estimate; labels keep the first series' order, from the top.
        x_label: Name and unit of the values.
        reference: A value to mark with a line, the unchanged model's for instance.
        reference_label: What that line is.

    Returns:
        The picture.

    Raises:
        ConfigError: There is no estimate.
    """
    labels = list(dict.fromkeys(label for row in series.values() for label in row))
    _require(len(labels), "estimate")

    def paint(axes: Any, dark: bool) -> None:
        for number, (name, row) in enumerate(series.items()):
            shift = (number - (len(series) - 1) / 2) * min(0.22, 0.7 / len(series))
            places = [index + shift for index, label in enumerate(labels) if label in row]
            estimates = [row[label] for label in labels if label in row]
            axes.errorbar(
                [item.value for item in estimates],
                places,
                xerr=_whiskers(estimates),
                fmt=_MARKERS[number % len(_MARKERS)],
                color=_COLOURS[number % len(_COLOURS)],
                capsize=3,
                markersize=6,
                linewidth=1.4,
                label=name,
            )
        if reference is not None:
            axes.axvline(reference, color="#8a919c", linestyle="--", label=reference_label or None)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        axes.grid(axis="x")
        if len(series) > 1 or (reference is not None and reference_label):
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)

    return _draw(paint, (8.0, 1.3 + len(labels) * max(0.36, 0.2 * len(series))))


def bar_chart(series: Mapping[str, Mapping[str, Estimate]], *, y_label: str) -> Picture:
    """Draw grouped bars from zero, with confidence intervals as whiskers.

    Args:
        series: Series name to label to estimate; labels keep the first series' order, from the left.
        y_label: Name and unit of the values.

    Returns:
        The picture.

    Raises:
        ConfigError: There is no estimate.
    """
    labels = list(dict.fromkeys(label for row in series.values() for label in row))
    _require(len(labels), "estimate")

    def paint(axes: Any, dark: bool) -> None:
        width = 0.8 / len(series)
        for number, (name, row) in enumerate(series.items()):
            shift = (number - (len(series) - 1) / 2) * width
            estimates = [row[label] for label in labels if label in row]
            axes.bar(
                [index + shift for index, label in enumerate(labels) if label in row],
                [item.value for item in estimates],
                width * 0.94,
                yerr=_whiskers(estimates),
                color=_COLOURS[number % len(_COLOURS)],
                ecolor=INK[dark],
                capsize=3,
                label=name,
            )
        axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 6 else 0)
        axes.set_ylabel(y_label)
        axes.grid(axis="y")
        if len(series) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)

    return _draw(paint, (8.0, 3.8))


def histogram(values: Mapping[str, ArrayLike], *, x_label: str, bins: int = 40) -> Picture:
    """Draw how values are distributed: outlines over common bins, as shares of each series.

    Args:
        values: Series name to values, `[observations]`; what is not finite is left out.
        x_label: Name and unit of the values.
        bins: How many bins over the range of all series.

    Returns:
        The picture.

    Raises:
        ConfigError: There is no finite value.
    """
    arrays = {name: np.asarray(numbers, dtype=np.float64).reshape(-1) for name, numbers in values.items()}
    arrays = {name: numbers[np.isfinite(numbers)] for name, numbers in arrays.items()}
    _require(sum(len(numbers) for numbers in arrays.values()), "finite value")
    edges = np.histogram_bin_edges(np.concatenate(list(arrays.values())), bins=bins)

    def paint(axes: Any, dark: bool) -> None:
        for number, (name, numbers) in enumerate(arrays.items()):
            shares = np.histogram(numbers, edges)[0] / max(1, len(numbers))
            axes.stairs(
                shares,
                edges,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_LINES[number % len(_LINES)],
                linewidth=1.8,
                fill=len(arrays) == 1,
                label=f"{name} ({len(numbers):,})",
            )
        axes.set(xlabel=x_label, ylabel="share", ylim=(0, None))
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)

    return _draw(paint, (8.0, 3.6))


def _whiskers(estimates: Sequence[Estimate]) -> Any:
    """Return distances to the bounds, `[2, estimates]`; zero where there is no interval."""
    below = [item.value - item.low if item.low is not None else 0.0 for item in estimates]
    above = [item.high - item.value if item.high is not None else 0.0 for item in estimates]
    return np.maximum([below, above], 0.0)
