"""Pictures of traces: probability mass by layer, and the share of pivots by threshold."""

from lingraft.pivots.behaviour import THRESHOLDS, mass_by_layer, threshold_sweep
from lingraft.pivots.trace_filters import filters
from lingraft.pivots.tracing import Traces
from lingraft.reports.drawing import Picture
from lingraft.reports.figures import Curve, loss_curves
from lingraft.reports.intervals import Estimate


def mass_figure(traces: Traces) -> Picture:
    """Draw the mean probability mass of source, pivot and target tokens by layer, with 95% bands over words.

    Args:
        traces: The traces.

    Returns:
        The picture.
    """
    curves = [
        _curve(f"{name} tokens", list(range(len(estimates))), estimates)
        for name, estimates in mass_by_layer(traces).items()
    ]
    return loss_curves(curves, x_label="layer", y_label="probability mass (logit lens)")


def threshold_figure(traces: Traces) -> Picture:
    """Draw the share of words with a pivot by threshold: for all tokens, and with each exploratory filter.

    Args:
        traces: The traces.

    Returns:
        The picture.
    """
    curves = []
    for name, (filtered, words_only) in filters(traces).items():
        shares = [estimate for _, estimate in threshold_sweep(filtered, words_only=words_only)]
        curves.append(_curve(name, list(THRESHOLDS), shares))
    return loss_curves(curves, x_label="lowest top-1 probability", y_label="share of words with a pivot")


def _curve(name: str, x: list[float], estimates: list[Estimate]) -> Curve:
    """A line with its band; one word alone has no band."""
    y = [estimate.value for estimate in estimates]
    low = [estimate.value if estimate.low is None else estimate.low for estimate in estimates]
    high = [estimate.value if estimate.high is None else estimate.high for estimate in estimates]
    return Curve(name, x, y, low, high)
