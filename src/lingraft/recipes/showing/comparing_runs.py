"""Runs of recipes side by side: what differs in the recipes, in the stages, and in what came out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lingraft.errors import ConfigError
from lingraft.recipes.showing.finished import RecipeRun, StageRun, read_run
from lingraft.recipes.showing.metric_keys import number_keys
from lingraft.recipes.showing.outcome import Measure, outcome_of
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Cell
from lingraft.reports.result import RECIPE_FILE

ABSENT = "not set"
"""Said where a recipe lacks a key that another has."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage of any of the runs.

    Attributes:
        name: Its name in the recipes.
        kind: What it does.
        keys: A key a run, None where the run has no such stage.
        seconds: A time a run, likewise.
    """

    name: str
    kind: str
    keys: Sequence[str | None]
    seconds: Sequence[float | None]

    @property
    def shared(self) -> bool:
        """Whether all runs have it with the same settings and inputs."""
        return len(set(self.keys)) == 1 and bool(self.keys[0])


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two or more runs.

    Attributes:
        names: What to call them, all different.
        runs: The runs.
        recipe: Key of the recipe to its value a run, of those that differ.
        measures: Name to what was measured a run, None where it was not.
        stages: All stages by name.
        numbers: Stage and key to the number a run, of those that two runs have and that differ.
        warnings: Why numbers may not be comparable.
    """

    names: Sequence[str]
    runs: Sequence[RecipeRun]
    recipe: Mapping[str, Sequence[Any]]
    measures: Mapping[str, Sequence[Measure | None]]
    stages: Sequence[StageRow]
    numbers: Mapping[tuple[str, str], Sequence[Cell]]
    warnings: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain JSON-able values."""
        return {
            "runs": [
                {
                    "name": name,
                    "directory": run.directory.as_posix(),
                    "title": run.title,
                    "language": run.language,
                    "model": run.model,
                    "seconds": sum(stage.seconds for stage in run.stages),
                }
                for name, run in zip(self.names, self.runs, strict=True)
            ],
            "recipe": {key: self._by_run(values) for key, values in self.recipe.items()},
            "measures": {
                name: self._by_run([_measure_json(one) for one in found])
                for name, found in self.measures.items()
            },
            "stages": [
                {
                    "name": row.name,
                    "kind": row.kind,
                    "keys": self._by_run(row.keys),
                    "seconds": self._by_run(row.seconds),
                    "shared": row.shared,
                }
                for row in self.stages
            ],
            "numbers": {
                f"{stage}: {key}": self._by_run([_plain(value) for value in values])
                for (stage, key), values in self.numbers.items()
            },
            "warnings": list(self.warnings),
        }

    def _by_run(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.names, values, strict=True))


def compare_runs(directories: Sequence[Path]) -> RunComparison:
    """Read runs and set them side by side.

    Args:
        directories: Run directories of recipes, at least two.

    Returns:
        The comparison.

    Raises:
        ConfigError: Fewer than two, one of them twice, or one that holds no finished run.
    """
    places = [directory.resolve() for directory in directories]
    twice = next(
        (str(one) for place, one in enumerate(directories) if places.index(places[place]) < place), ""
    )
    if len(directories) < 2 or twice:
        found = f"{twice} given twice" if twice else f"{len(directories)} run"
        raise ConfigError(found, "at least two runs", "give the run directories of two recipes")
    runs = [read_run(directory) for directory in directories]
    return RunComparison(
        names=_names(directories),
        runs=runs,
        recipe=_recipe_differences(runs),
        measures=_measures(runs),
        stages=_stages(runs),
        numbers=_numbers(runs),
        warnings=_warnings(runs),
    )


def flat_recipe(run: RecipeRun) -> dict[str, Any]:
    """Return a run's recipe, key by key: `stages.pretrain.steps`.

    Args:
        run: The run.

    Returns:
        Key to value; a list is one value. Keys of stages are left out, revisions of inputs are named by the input.

    Raises:
        ConfigError: The kept recipe is no YAML mapping.
    """
    try:
        content = yaml.safe_load(run.recipe_text)
    except yaml.YAMLError as error:
        content = str(error).splitlines()[0]
    if not isinstance(content, dict):
        found = f"{run.directory / RECIPE_FILE}: {str(content)[:80]}"
        raise ConfigError(found, "a YAML mapping", "run the recipe again")
    resolved = content.get("resolved")
    if isinstance(resolved, dict):
        inputs = resolved.get("inputs") or []
        named = {one["reference"]: one["revision"] for one in inputs if isinstance(one, dict)}
        content["resolved"] = {
            **{key: value for key, value in resolved.items() if key not in {"stages", "inputs"}},
            **({"revision": named} if named else {}),
        }
    flat: dict[str, Any] = {}
    _flatten("", content, flat)
    return flat


def _flatten(key: str, value: Any, flat: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _flatten(f"{key}.{name}" if key else str(name), inner, flat)
    else:
        flat[key] = value


def _recipe_differences(runs: Sequence[RecipeRun]) -> dict[str, list[Any]]:
    recipes = [flat_recipe(run) for run in runs]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    found = {key: [recipe.get(key, ABSENT) for recipe in recipes] for key in keys}
    return {key: values for key, values in found.items() if len({_told(value) for value in values}) > 1}


def _told(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _measures(runs: Sequence[RecipeRun]) -> dict[str, list[Measure | None]]:
    found: dict[str, list[Measure | None]] = {}
    several = len({run.language for run in runs}) > 1
    for place, run in enumerate(runs):
        # Where the languages differ, each is "the target language".
        outcome = outcome_of(replace(run, language="") if several else run)
        for measure in outcome.measures if outcome is not None else ():
            found.setdefault(measure.name, [None] * len(runs))[place] = measure
    return found


def _stages(runs: Sequence[RecipeRun]) -> list[StageRow]:
    by_run = [{stage.name: stage for stage in run.stages} for run in runs]
    rows = []
    for name in dict.fromkeys(name for stages in by_run for name in stages):
        found = [stages.get(name) for stages in by_run]
        kinds = dict.fromkeys(stage.kind for stage in found if stage is not None)
        keys = [stage.key if stage is not None else None for stage in found]
        seconds = [stage.seconds if stage is not None else None for stage in found]
        rows.append(StageRow(name, " or ".join(kinds), keys, seconds))
    return rows


def _numbers(runs: Sequence[RecipeRun]) -> dict[tuple[str, str], list[Cell]]:
    found: dict[tuple[str, str], list[Cell]] = {}
    for place, run in enumerate(runs):
        for stage in run.stages:
            for key, value in number_keys(stage.result).items():
                if isinstance(value, int | float | Estimate):
                    found.setdefault((stage.name, key), [None] * len(runs))[place] = value
    several = {key: values for key, values in found.items() if sum(one is not None for one in values) > 1}
    return {key: values for key, values in several.items() if any(one != values[0] for one in values)}


def _warnings(runs: Sequence[RecipeRun]) -> list[str]:
    warnings = []
    for what, values in (
        ("target languages", [run.language for run in runs]),
        ("models to begin with", [run.model for run in runs]),
    ):
        if len(set(values)) > 1:
            warnings.append(f"The runs have different {what} ({', '.join(dict.fromkeys(values))}).")
    outcomes = [outcome_of(run) for run in runs]
    missing = [run.directory.name for run, one in zip(runs, outcomes, strict=True) if one is None]
    if missing:
        warnings.append(f"Nothing was measured before and after in {', '.join(missing)}: no evaluate stage.")
    texts = {_measured_on(one.stage) for one in outcomes if one is not None}
    if len(texts) > 1:
        warnings.append("The runs were measured on different texts, so their numbers cannot be compared.")
    return warnings


def _measured_on(stage: StageRun) -> frozenset[str]:
    """Return the revisions of all that a stage measured on."""
    return frozenset(item.revision for item in stage.result.inputs if "model" not in item.role)


def _names(directories: Sequence[Path]) -> list[str]:
    """Return the directories' own names where they differ, else their paths."""
    short = [directory.resolve().name for directory in directories]
    return short if len(set(short)) == len(short) else [directory.as_posix() for directory in directories]


def _measure_json(measure: Measure | None) -> dict[str, Any] | None:
    if measure is None:
        return None
    return {
        "label": measure.label,
        "better": measure.better,
        "before": None if measure.before is None else measure.before.as_json(),
        "after": measure.after.as_json(),
        "difference": None if measure.difference is None else measure.difference.as_json(),
        "verdict": measure.verdict(),
    }


def _plain(value: Cell) -> Any:
    return value.as_json() if isinstance(value, Estimate) else value
