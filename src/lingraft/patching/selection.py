"""Every way to choose a layer pair in one table, each scored on instances that had no part in choosing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError
from lingraft.patching.choosing import TaskKind, chosen_subset, coarse_pair, cross_fitted, target_first
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.patching.selectors import SELECTORS, outcome, select
from lingraft.reports.intervals import Estimate, mean_interval

ALL_LANGUAGES = "all"


@dataclass(frozen=True, slots=True)
class SelectionLine:
    """One method's result in one language.

    Attributes:
        method: Its name.
        language: The receiver's language, or `all`: every instance counts the same.
        accuracy: Share of instances right, with an interval over instances.
        difference: To the unpatched model, paired by instance; None for the unpatched model itself.
        instances: How many there are.
        pairs: Layer pairs that must be run for an instance, once the choice is made; 0 for none.
        uses_labels: Whether right answers were used: of other instances to choose, or of the instance itself (bounds).
    """

    method: str
    language: str
    accuracy: Estimate
    difference: Estimate | None
    instances: int
    pairs: int
    uses_labels: bool


def selection_table(
    maps: LayerMaps,
    vanilla: Answers,
    donors: Answers | None = None,
    *,
    controls: Mapping[str, LayerMaps] | None = None,
    folds: int = 5,
    seed: int = 0,
    task_kind: TaskKind = "understanding",
    layers: int | None = None,
) -> list[SelectionLine]:
    """Score every method on the instances with known answers.

    Lines come in this order: `vanilla`, `donor` (its own answer), `coarse`, `best pair` and `target first` (chosen on
    other folds for each language), the label-free selectors over all pairs, the same over a subset chosen on other
    folds, `upper bound`, and `control: NAME` (a control run's union over its pairs, on the instances it shares).
    What the map does not allow is left out: `coarse` at the other site, `target first` without receiver layer 0.

    Args:
        maps: The maps.
        vanilla: The unpatched answers.
        donors: The donor's own answers; without them no `donor` and no `agreement`.
        controls: Maps of control runs by name.
        folds: Of the cross-fitting; fewer where there are fewer instances.
        seed: Of folds and bootstrap.
        task_kind: Which coarse choice is the paper's.
        layers: Of the model, where the sweep left its last layer out.

    Returns:
        For each method a line for all languages, and one each if there are several.

    Raises:
        ConfigError: Fewer than two instances with known answers, or one without unpatched answer.
    """
    maps = maps.rows(maps.known)
    if len(maps.instances) < 2:
        raise ConfigError(f"{len(maps.instances)} instances with known answers", "at least 2", "give answers")
    folds = min(folds, len(maps.instances))
    vanilla = vanilla.of(maps.instances)
    lines = method_lines("vanilla", vanilla.correct, vanilla, maps, pairs=0, uses_labels=False, seed=seed)
    if donors is not None and donors.of(maps.instances).known.all():
        own = donors.of(maps.instances).correct
        lines += method_lines("donor", own, vanilla, maps, pairs=0, uses_labels=False, seed=seed)

    def add(method: str, chosen: NDArray[np.int64], pairs: int, uses_labels: bool) -> None:
        right = outcome(maps, chosen, vanilla)
        lines.extend(
            method_lines(method, right, vanilla, maps, pairs=pairs, uses_labels=uses_labels, seed=seed)
        )

    pair = coarse_pair(maps, task_kind, layers=layers)
    if pair is not None:
        add("coarse", np.full(len(maps.instances), pair), 1, False)
    add("best pair", cross_fitted(maps, np.arange(maps.pairs), folds=folds, seed=seed), 1, True)
    if len(target_first(maps)):
        add("target first", cross_fitted(maps, target_first(maps), folds=folds, seed=seed), 1, True)
    names = [name for name in SELECTORS if name != "agreement" or donors is not None]
    for name in names:
        add(name, select(name, maps, donors=donors), maps.pairs, False)
    for name in names:
        chosen = chosen_subset(maps, name, vanilla, donors=donors, folds=folds, seed=seed)
        add(f"{name}, subset chosen", chosen, maps.pairs, True)
    union = maps.correct.any(axis=1)
    lines += method_lines("upper bound", union, vanilla, maps, pairs=maps.pairs, uses_labels=True, seed=seed)
    for name, control in (controls or {}).items():
        lines += _control(name, control, maps, vanilla, seed)
    return lines


def _control(
    name: str, control: LayerMaps, maps: LayerMaps, vanilla: Answers, seed: int
) -> list[SelectionLine]:
    judged = set(control.rows(control.known).instances)
    shared = maps.rows([instance in judged for instance in maps.instances])
    if not shared.instances:
        raise ConfigError(f"control {name!r} shares no instance", "the same ids", "take runs of one file")
    union = control.of(shared.instances).correct.any(axis=1)
    own = vanilla.of(shared.instances)
    return method_lines(
        f"control: {name}", union, own, shared, pairs=control.pairs, uses_labels=True, seed=seed
    )


def method_lines(
    method: str,
    right: ArrayLike,
    vanilla: Answers,
    maps: LayerMaps,
    *,
    pairs: int,
    uses_labels: bool,
    seed: int,
) -> list[SelectionLine]:
    """Score one method for all languages together and, where there are several, for each.

    Args:
        method: Its name; `vanilla` has no difference to itself.
        right: bool `[I]`, which instances it gets right.
        vanilla: The unpatched answers to the same instances in the same order.
        maps: The maps of these instances, for their languages.
        pairs: Layer pairs that it runs for an instance.
        uses_labels: Whether right answers were used.
        seed: Of the bootstrap.

    Returns:
        The lines, `all` first.
    """
    values, languages = np.asarray(right, dtype=np.float64), np.array(maps.languages)
    wanted = {ALL_LANGUAGES: np.ones(len(values), dtype=np.bool_)}
    if len(set(maps.languages)) > 1:
        wanted |= {name: languages == name for name in sorted(set(maps.languages))}
    lines = []
    for language, rows in wanted.items():
        difference = None
        if method != "vanilla":
            difference = mean_interval((values - vanilla.correct)[rows], seed=seed)
        accuracy = mean_interval(values[rows], seed=seed)
        lines.append(
            SelectionLine(method, language, accuracy, difference, int(rows.sum()), pairs, uses_labels)
        )
    return lines
