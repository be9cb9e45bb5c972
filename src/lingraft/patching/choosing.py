"""Fixed layer pairs: the paper's coarse ones, and those chosen on labelled instances and applied to others."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import ConfigError
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.patching.selectors import outcome, select, subsets
from lingraft.reports.intervals import Estimate, mean_interval

TaskKind = Literal["understanding", "generation", "culture"]


def coarse_pair(maps: LayerMaps, kind: TaskKind, *, layers: int | None = None) -> int | None:
    """The paper's fixed pair: attention last to first for understanding, ffn first to first for the other kinds.

    Args:
        maps: The maps.
        kind: Of the task.
        layers: Of the model; None: the map's highest donor layer is taken for the last.

    Returns:
        Its number; None where this is the other site's map, or the sweep left the pair out.
    """
    attention = kind == "understanding"
    if not maps.site.startswith("attn" if attention else "ffn"):
        return None
    last = int(maps.donor_layers.max()) if layers is None else layers - 1
    return maps.pair(last if attention else 0, 0)


def target_first(maps: LayerMaps) -> NDArray[np.int64]:
    """Candidates of TargetFirst: every donor layer into receiver layer 0; none if the sweep left layer 0 out."""
    return np.nonzero(maps.receiver_layers == 0)[0].astype(np.int64)


def best_pair(labelled: LayerMaps, candidates: NDArray[np.int64]) -> int:
    """The pair right most often.

    Args:
        labelled: Maps of labelled instances.
        candidates: `[K]`, numbers of pairs, at least one.

    Returns:
        Its number. Ties: the higher mean score, then the lowest receiver layer, then the lowest donor layer.
    """
    right = labelled.correct[:, candidates].sum(axis=0)
    scores = np.nan_to_num(labelled.score[:, candidates].astype(np.float64), nan=-1e30, neginf=-1e30)
    return int(candidates[np.lexsort((candidates, -scores.mean(axis=0), -right))[0]])


def split_folds(languages: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal instances into folds, language by language, so that each fold has its share of each.

    Args:
        languages: Of each instance.
        folds: At least 2, and no more than instances.
        seed: Of the shuffling.

    Returns:
        `[I]`, each instance's fold.

    Raises:
        ConfigError: Too few folds or too many.
    """
    if not 2 <= folds <= len(languages):
        raise ConfigError(
            f"{folds} folds of {len(languages)} instances", "2 or more, an instance in each", "change --folds"
        )
    generator = np.random.default_rng(seed)
    order = [
        place for name in sorted(set(languages)) for place in generator.permutation(_of(languages, name))
    ]
    dealt = np.empty(len(languages), dtype=np.int64)
    dealt[np.array(order, dtype=np.int64)] = np.arange(len(languages)) % folds
    return dealt


def cross_fitted(
    maps: LayerMaps, candidates: NDArray[np.int64], *, folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Choose a pair for each language on the other folds, and apply it to the fold left out.

    A language without an instance in the other folds takes the pair that is best over all languages there.

    Args:
        maps: The maps, all with known answers.
        candidates: `[K]`, numbers of pairs.
        folds: How many.
        seed: Of the folds.

    Returns:
        `[I]`, the pair applied to each; no instance had a part in choosing its own.

    Raises:
        ConfigError: Too few folds or too many.
    """
    return _cross(
        maps, folds, seed, lambda train, test: np.full(len(test.instances), best_pair(train, candidates))
    )


def chosen_subset(
    maps: LayerMaps,
    name: str,
    vanilla: Answers,
    *,
    donors: Answers | None = None,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Apply a label-free selector to the subset of pairs that serves it best on the other folds.

    Args:
        maps: The maps, all with known answers.
        name: One of `SELECTORS`.
        vanilla: The unpatched answers.
        donors: The donor's own.
        folds: How many.
        seed: Of the folds.

    Returns:
        `[I]`, numbers of pairs or `UNPATCHED`.

    Raises:
        ConfigError: Too few folds or too many, or no such selector.
    """
    options = list(subsets(maps).values())

    def choose(train: LayerMaps, test: LayerMaps) -> NDArray[np.int64]:
        right = [
            outcome(train, select(name, train, donors=donors, subset=one), vanilla).sum() for one in options
        ]
        return select(name, test, donors=donors, subset=options[int(np.argmax(right))])

    return _cross(maps, folds, seed, choose)


def learning_curve(
    maps: LayerMaps,
    candidates: NDArray[np.int64],
    labelled: Sequence[int],
    *,
    repeats: int = 20,
    seed: int = 0,
) -> dict[int, Estimate]:
    """Accuracy on unseen instances against the number of labelled instances that chose the pair.

    Args:
        maps: The maps, all with known answers.
        candidates: `[K]`, numbers of pairs.
        labelled: Instances of each language to choose on; a language with no more than that is left out of that point.
        repeats: Random splits; an instance counts with its mean over the splits in which it was unseen.
        seed: Of the splits and of the bootstrap.

    Returns:
        By number of labelled instances, with intervals over instances.

    Raises:
        ConfigError: A number below 1, or no language has more instances than it.
    """
    curve = {}
    groups = [_of(maps.languages, name) for name in sorted(set(maps.languages))]
    for size in labelled:
        usable = [group for group in groups if len(group) > size]
        if size < 1 or not usable:
            raise ConfigError(f"{size} labelled instances", f"1 to {max(map(len, groups)) - 1}", "take fewer")
        generator = np.random.default_rng([seed, size])
        right, times = np.zeros(len(maps.instances)), np.zeros(len(maps.instances))
        for group in usable * repeats:
            drawn = generator.permutation(group)
            rest, pair = drawn[size:], best_pair(maps.rows(drawn[:size]), candidates)
            right[rest] += maps.correct[rest, pair]
            times[rest] += 1
        curve[size] = mean_interval((right / np.maximum(times, 1))[times > 0], seed=seed)
    return curve


def _cross(
    maps: LayerMaps, folds: int, seed: int, choose: Callable[[LayerMaps, LayerMaps], NDArray[np.int64]]
) -> NDArray[np.int64]:
    dealt, languages = split_folds(maps.languages, folds, seed), np.array(maps.languages)
    chosen = np.empty(len(dealt), dtype=np.int64)
    for fold in range(folds):
        for name in sorted(set(maps.languages)):
            test = (dealt == fold) & (languages == name)
            train = (dealt != fold) & (languages == name)
            if test.any():
                chosen[test] = choose(maps.rows(train if train.any() else dealt != fold), maps.rows(test))
    return chosen


def _of(languages: Sequence[str], name: str) -> NDArray[np.int64]:
    return np.array([place for place, language in enumerate(languages) if language == name], dtype=np.int64)
