"""Choosing a layer pair for each instance without labels (the open problem of XTransplant; all rules are our choice).

A selector returns for each instance the number of a pair, or `UNPATCHED`. It never reads `correct` or `score`, which
depend on the right answer.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError
from lingraft.patching.maps import Answers, LayerMaps

UNPATCHED = -1

Selector = Callable[[LayerMaps, NDArray[np.int64], Answers | None], NDArray[np.int64]]
"""From maps, the `[K]` pairs allowed, and the donor's own answers, to `[I]` numbers of pairs."""


def largest_margin(maps: LayerMaps, subset: NDArray[np.int64], _: Answers | None = None) -> NDArray[np.int64]:
    """The pair that prefers its answer most clearly.

    Args:
        maps: The maps.
        subset: `[K]`, pairs allowed.

    Returns:
        `[I]`. Ties: the lowest receiver layer, then the lowest donor layer.
    """
    values = np.where(np.isnan(maps.margin), -np.inf, maps.margin)[:, subset]
    return np.asarray(subset[values.argmax(axis=1)], dtype=np.int64)


def smallest_entropy(
    maps: LayerMaps, subset: NDArray[np.int64], _: Answers | None = None
) -> NDArray[np.int64]:
    """The pair with the most certain distribution.

    Args:
        maps: The maps.
        subset: `[K]`, pairs allowed.

    Returns:
        `[I]`. Ties: the lowest receiver layer, then the lowest donor layer.
    """
    values = np.where(np.isnan(maps.entropy), np.inf, maps.entropy)[:, subset]
    return np.asarray(subset[values.argmin(axis=1)], dtype=np.int64)


def majority(maps: LayerMaps, subset: NDArray[np.int64], _: Answers | None = None) -> NDArray[np.int64]:
    """The answer that most pairs give.

    Args:
        maps: The maps.
        subset: `[K]`, pairs allowed.

    Returns:
        `[I]`, of the pairs with that answer the one with the largest margin. Answers with equally many votes: the one
        whose margins sum to more, then the one that the lowest receiver layer, then donor layer, gives.
    """
    chosen = np.empty(len(maps.instances), dtype=np.int64)
    for row, (labels, margins) in enumerate(zip(maps.label[:, subset], _margins(maps, subset), strict=True)):
        found = np.unique(labels, return_index=True, return_inverse=True)
        first, place = found[1], found[2]
        votes = np.bincount(place.reshape(-1))
        weights = np.bincount(place.reshape(-1), weights=margins)
        winner = np.lexsort((first, -weights, -votes))[0]
        chosen[row] = subset[np.where(place.reshape(-1) == winner, margins, -np.inf).argmax()]
    return chosen


def agreement(maps: LayerMaps, subset: NDArray[np.int64], donors: Answers | None = None) -> NDArray[np.int64]:
    """A pair that answers what the donor prompt (English, say) itself is answered with.

    Args:
        maps: The maps.
        subset: `[K]`, pairs allowed.
        donors: The donor's own answers, with labels comparable to the maps'.

    Returns:
        `[I]`, of the pairs that agree the one with the largest margin (ties: lowest receiver, then donor layer);
        `UNPATCHED` where none agrees.

    Raises:
        ConfigError: No donor answers.
    """
    if donors is None:
        raise ConfigError("no answers of the donor", "donors.parquet", "give it, or leave agreement out")
    agrees = maps.label[:, subset] == donors.of(maps.instances).label[:, None]
    best = np.where(agrees, _margins(maps, subset), -np.inf).argmax(axis=1)
    return np.where(agrees.any(axis=1), subset[best], UNPATCHED).astype(np.int64)


SELECTORS: dict[str, Selector] = {
    "margin": largest_margin,
    "entropy": smallest_entropy,
    "majority": majority,
    "agreement": agreement,
}
"""By name."""


def select(
    name: str, maps: LayerMaps, *, donors: Answers | None = None, subset: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Choose a pair for each instance.

    Args:
        name: One of `SELECTORS`.
        maps: The maps.
        donors: The donor's own answers; `agreement` needs them.
        subset: Numbers of the pairs allowed; None for all. Their order does not matter.

    Returns:
        `[I]`, numbers of pairs or `UNPATCHED`.

    Raises:
        ConfigError: No such selector, an empty subset or one with pairs that are not there, or no donor answers.
    """
    if name not in SELECTORS:
        raise ConfigError(f"selector {name!r}", f"one of {', '.join(SELECTORS)}", "name one of them")
    allowed = np.unique(np.arange(maps.pairs) if subset is None else np.asarray(subset, dtype=np.int64))
    if not len(allowed) or allowed[0] < 0 or allowed[-1] >= maps.pairs:
        raise ConfigError(f"a subset of {len(allowed)} pairs", f"pairs 0 to {maps.pairs - 1}", "name some")
    return SELECTORS[name](maps, allowed, donors)


def outcome(maps: LayerMaps, chosen: NDArray[np.int64], vanilla: Answers) -> NDArray[np.bool_]:
    """Say whether the chosen pairs answer rightly.

    Args:
        maps: The maps.
        chosen: `[I]`, numbers of pairs or `UNPATCHED`.
        vanilla: The unpatched answers.

    Returns:
        `[I]`.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    patched = maps.correct[np.arange(len(chosen)), np.maximum(chosen, 0)]
    return np.where(chosen == UNPATCHED, vanilla.of(maps.instances).correct, patched).astype(np.bool_)


def subsets(maps: LayerMaps) -> dict[str, NDArray[np.int64]]:
    """Natural subsets of the pairs, for `chosen_subset`.

    Args:
        maps: The maps.

    Returns:
        By name, numbers of pairs; never empty.
    """
    donor, receiver = maps.donor_layers, maps.receiver_layers
    middle = np.median(np.unique(receiver))
    masks = {
        "all": np.ones(maps.pairs, dtype=np.bool_),
        "first receiver": receiver == receiver.min(),
        "same layer": donor == receiver,
        "lower receivers": receiver <= middle,
        "upper receivers": receiver > middle,
    }
    return {name: np.nonzero(mask)[0].astype(np.int64) for name, mask in masks.items() if mask.any()}


def _margins(maps: LayerMaps, subset: NDArray[np.int64]) -> NDArray[np.float64]:
    margins = maps.margin[:, subset].astype(np.float64)
    return np.nan_to_num(margins, nan=0.0, posinf=1e30, neginf=-1e30)
