"""Maps as grids: donor layers in rows, receiver layers in columns, means over instances in cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.patching.choosing import best_pair, coarse_pair
from lingraft.patching.maps import Answers, LayerMaps

ALL, COARSE, BEST = "all", "the paper's fixed pair", "best pair in hindsight"


@dataclass(frozen=True, slots=True)
class MapMeans:
    """What a map's cells are on average over some instances.

    Attributes:
        instances: How many.
        judged: How many of them have a known answer.
        right: float64 `[R, C]`, share right of the judged ones; None where there is none.
        score: float64 `[R, C]`, nats, mean score of the judged ones, or of all where none is; of finite scores only.
        margin: float64 `[R, C]`, nats, likewise over all instances.
        entropy: float64 `[R, C]`, nats, likewise.
        unpatched_right: Share right unpatched; None where nothing is known.
        unpatched_score: Mean score unpatched, of the instances that `score` is of; None where it was not kept.
        marks: Name to row and column of fixed pairs.
    """

    instances: int
    judged: int
    right: NDArray[np.float64] | None
    score: NDArray[np.float64]
    margin: NDArray[np.float64]
    entropy: NDArray[np.float64]
    unpatched_right: float | None
    unpatched_score: float | None
    marks: dict[str, tuple[int, int]]


def axis_layers(maps: LayerMaps) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The layers that a sweep has.

    Args:
        maps: The maps.

    Returns:
        Donor layers (the rows, `[R]`) and receiver layers (the columns, `[C]`), rising.
    """
    return np.unique(maps.donor_layers), np.unique(maps.receiver_layers)


def as_grid(maps: LayerMaps, values: ArrayLike) -> NDArray[np.float64]:
    """Put values of pairs in their places.

    Args:
        maps: The maps.
        values: `[P]`.

    Returns:
        `[R, C]`; NaN where the sweep has no such pair.
    """
    donors, receivers = axis_layers(maps)
    grid = np.full((len(donors), len(receivers)), np.nan)
    grid[np.searchsorted(donors, maps.donor_layers), np.searchsorted(receivers, maps.receiver_layers)] = (
        values
    )
    return grid


def cell_of(maps: LayerMaps, pair: int) -> tuple[int, int]:
    """Where a pair is.

    Args:
        maps: The maps.
        pair: Its number.

    Returns:
        Row and column.
    """
    donors, receivers = axis_layers(maps)
    row = np.searchsorted(donors, maps.donor_layers[pair])
    return int(row), int(np.searchsorted(receivers, maps.receiver_layers[pair]))


def by_language(maps: LayerMaps) -> dict[str, LayerMaps]:
    """All instances, and where there are several languages those of each.

    Args:
        maps: The maps.

    Returns:
        Maps by language, `ALL` first.
    """
    languages = np.array(maps.languages)
    names = sorted(set(maps.languages)) if len(set(maps.languages)) > 1 else []
    return {ALL: maps} | {name or "no language": maps.rows(languages == name) for name in names}


def paper_pair(maps: LayerMaps, layers: int | None = None) -> int | None:
    """The paper's fixed pair for the site: last to first at attention, first to first at the feed-forward part.

    Args:
        maps: The maps.
        layers: Of the model; None: the highest donor layer is the last.

    Returns:
        Its number; None at other sites, or where the sweep left it out.
    """
    return coarse_pair(maps, "understanding" if maps.site.startswith("attn") else "generation", layers=layers)


def map_means(maps: LayerMaps, vanilla: Answers, *, layers: int | None = None) -> MapMeans:
    """Average over instances.

    Args:
        maps: At least one instance.
        vanilla: The unpatched answers.
        layers: Of the model, for the paper's fixed pair; None: the highest donor layer is the last.

    Returns:
        The means, and the fixed pairs: the paper's for this site, and the best one in hindsight.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    judged = maps.rows(maps.known)
    scored = judged if judged.instances else maps
    own = vanilla.of(scored.instances)
    marks = {}
    coarse = paper_pair(maps, layers)
    if coarse is not None:
        marks[COARSE] = cell_of(maps, coarse)
    right = unpatched_right = None
    if judged.instances:
        right, unpatched_right = as_grid(maps, judged.correct.mean(axis=0)), float(own.correct.mean())
        marks[BEST] = cell_of(maps, best_pair(judged, np.arange(maps.pairs)))
    score, unpatched = scored.score, None
    if own.score is not None:
        # The same instances in both means: one without a score in either says nothing of the change.
        usable = np.isfinite(own.score)
        score = np.where(usable[:, None], score, np.nan).astype(np.float32)
        unpatched = float(own.score[usable].mean(dtype=np.float64)) if usable.any() else None
    return MapMeans(
        instances=len(maps.instances),
        judged=len(judged.instances),
        right=right,
        score=as_grid(maps, finite_mean(score)),
        margin=as_grid(maps, finite_mean(maps.margin)),
        entropy=as_grid(maps, finite_mean(maps.entropy)),
        unpatched_right=unpatched_right,
        unpatched_score=unpatched,
        marks=marks,
    )


def score_change(maps: LayerMaps, vanilla: Answers) -> NDArray[np.float64] | None:
    """What transplanting does to the score.

    Args:
        maps: At least one instance.
        vanilla: The unpatched answers.

    Returns:
        `[R, C]`, nats: the mean difference to the unpatched score over instances with a known answer, or over all
        where none has; pairs of numbers that are not both finite are left out. None where scores were not kept.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    scored = maps.rows(maps.known) if maps.known.any() else maps
    own = vanilla.of(scored.instances).score
    if own is None:
        return None
    with np.errstate(invalid="ignore"):
        change = scored.score.astype(np.float64) - own[:, None]
    return as_grid(maps, finite_mean(change))


def finite_mean(values: ArrayLike) -> NDArray[np.float64]:
    """Mean over instances of what is finite.

    Args:
        values: `[I, P]`.

    Returns:
        `[P]`; NaN where nothing is.
    """
    numbers = np.asarray(values, dtype=np.float64)
    there = np.isfinite(numbers)
    total, count = np.where(there, numbers, 0.0).sum(axis=0), there.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
