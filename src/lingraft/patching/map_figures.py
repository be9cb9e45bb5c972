"""Heatmaps of a sweep: donor layer against receiver layer, a panel for each language."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lingraft.patching.map_grids import ALL, MapMeans, axis_layers, by_language, map_means, score_change
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.reports.drawing import Picture
from lingraft.reports.heatmaps import GridAxes, Panel, heatmap_panels

RIGHT, SCORE, ENTROPY = "right", "score", "entropy"


def heatmaps(
    keyed: Mapping[tuple[str, int], LayerMaps], vanilla: Answers, *, layers: int | None = None
) -> dict[str, Picture]:
    """Draw the maps of every site and donor.

    Args:
        keyed: Maps by site and donor.
        vanilla: The unpatched answers.
        layers: Of the model, for the paper's fixed pair; None: the highest donor layer is the last.

    Returns:
        By `figure_name`: the share of instances right (where answers are known), the mean change of the score against
        the unpatched answer (where it was kept), and the mean entropy. What has no finite value is left out.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    pictures: dict[str, Picture] = {}
    for (site, donor), maps in keyed.items():
        pictures |= {
            figure_name(quantity, site, donor): picture
            for quantity, picture in map_pictures(maps, vanilla, layers=layers).items()
        }
    return pictures


def figure_name(quantity: str, site: str, donor: int) -> str:
    """Name a heatmap, as its file is called.

    Args:
        quantity: `RIGHT`, `SCORE` or `ENTROPY`.
        site: Where was patched.
        donor: Number of the donor; -1 for the mean of all.

    Returns:
        For instance `right_ffn_donor0`, `right_ffn_mean`.
    """
    return f"{quantity}_{site}_{'mean' if donor < 0 else f'donor{donor}'}"


def map_pictures(maps: LayerMaps, vanilla: Answers, *, layers: int | None = None) -> dict[str, Picture]:
    """Draw the maps of one site and donor.

    Args:
        maps: The maps.
        vanilla: The unpatched answers.
        layers: Of the model, for the paper's fixed pair.

    Returns:
        By `RIGHT`, `SCORE`, `ENTROPY`, those that can be drawn.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    groups = by_language(maps)
    means = {name: map_means(part, vanilla, layers=layers) for name, part in groups.items()}
    grids: dict[str, dict[str, Any]] = {
        RIGHT: {name: mean.right for name, mean in means.items()},
        SCORE: {name: score_change(part, vanilla) for name, part in groups.items()},
        ENTROPY: {name: mean.entropy for name, mean in means.items()},
    }
    axes = _axes(maps)
    pictures = {}
    for quantity, found in grids.items():
        usable = {name: grid for name, grid in found.items() if grid is not None and np.isfinite(grid).any()}
        if not usable:
            continue
        panels = [
            Panel(_title(quantity, name, means[name]), grid, means[name].marks)
            for name, grid in usable.items()
        ]
        pictures[quantity] = heatmap_panels(panels, axes, **_scale(quantity, means[ALL]))
    return pictures


def _axes(maps: LayerMaps) -> GridAxes:
    donors, receivers = axis_layers(maps)
    first = np.nonzero(receivers == 0)[0]
    return GridAxes(
        "donor layer",
        "receiver layer",
        [str(layer) for layer in donors],
        [str(layer) for layer in receivers],
        pointed_column=int(first[0]) if len(first) else None,
        pointer_label="TargetFirst (receiver layer 0)",
    )


def _title(quantity: str, name: str, means: MapMeans) -> str:
    count = means.instances if quantity == ENTROPY else means.judged or means.instances
    if quantity == RIGHT and means.unpatched_right is not None:
        return f"{name}, n = {count}, unpatched {100 * means.unpatched_right:.0f} %"
    return f"{name}, n = {count}"


def _scale(quantity: str, everything: MapMeans) -> dict[str, Any]:
    if quantity == RIGHT:
        return {
            "value_label": "share of instances right",
            "reference": everything.unpatched_right,
            "reference_label": "unpatched, all instances",
        }
    if quantity == SCORE:
        what = "right answer" if everything.judged else "answer given"
        return {"value_label": f"change of log-probability\n({what}, nats)", "centre": 0.0}
    return {"value_label": "mean entropy (nats)"}
