"""What a whole run comes down to: what its last `evaluate` stage measured, model by model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lingraft.preference.languages import language_name
from lingraft.recipes.metric_keys import as_estimate, number_keys
from lingraft.recipes.recipe_run import RecipeRun, StageRun
from lingraft.reports.intervals import Estimate

EVALUATE = "evaluate"
"""Kind of the stages whose numbers a run is judged by."""
Better = Literal["lower", "higher", ""]


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that was measured of every model.

    Attributes:
        name: Key below a model's: `target.bits_per_byte`.
        label: For people, with the unit.
        better: Which way is better, "" where neither is.
        values: Model to number.
        keys: Model to the number's key in `result.json`.
        difference: Of the last model less the first, paired where the stage could pair them, or None.
        difference_key: Its key.
        digits: Digits after the point.
    """

    name: str
    label: str
    better: Better
    values: Mapping[str, Estimate]
    keys: Mapping[str, str]
    difference: Estimate | None = None
    difference_key: str = ""
    digits: int = 3

    @property
    def before(self) -> Estimate | None:
        """The first model's number, None where there is one model only."""
        return next(iter(self.values.values())) if len(self.values) > 1 else None

    @property
    def after(self) -> Estimate:
        """The last model's number."""
        return list(self.values.values())[-1]

    def verdict(self) -> str:
        """Say whether the last model is better than the first, as far as the interval of the difference tells."""
        before = self.before
        if before is None or not self.better:
            return ""
        change = self.difference or Estimate(self.after.value - before.value)
        if change.low is not None and change.high is not None and change.low <= 0 <= change.high:
            return "no difference beyond chance"
        if self.difference is None and _overlap(before, self.after):
            return "the intervals overlap"
        if change.value == 0:
            return "unchanged"
        return "better" if (change.value < 0) == (self.better == "lower") else "worse"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run's last `evaluate` stage found.

    Attributes:
        stage: The stage.
        models: Names of the models, from the first that was there to the last that was made.
        measures: What was measured, the most telling first.
    """

    stage: StageRun
    models: Sequence[str]
    measures: Sequence[Measure]


def outcome_of(run: RecipeRun) -> Outcome | None:
    """Return what a run comes down to.

    Args:
        run: The run.

    Returns:
        The outcome, or None where no `evaluate` stage measured a model.
    """
    stages = [stage for stage in run.stages if stage.kind == EVALUATE]
    for stage in reversed(stages):
        models = stage.result.metrics.get("models")
        if isinstance(models, Mapping) and models:
            names = [str(name) for name in models]
            return Outcome(stage, names, _measures(stage, names, run.language))
    return None


def _measures(stage: StageRun, names: Sequence[str], language: str) -> list[Measure]:
    found: dict[str, dict[str, tuple[str, Estimate]]] = {}
    flat = number_keys(stage.result)
    for model in names:
        head = f"metrics.models.{model}."
        for key, value in flat.items():
            estimate = value if isinstance(value, Estimate) else as_estimate(value)
            if key.startswith(head) and estimate is not None:
                found.setdefault(key.removeprefix(head), {})[model] = (key, estimate)
    measures = []
    for name, by_model in found.items():
        known = _describe(name, language_name(language) if language else "target language")
        bounded = any(estimate.low is not None for _, estimate in by_model.values())
        if known is None and not bounded:
            continue
        order, label, better, digits = known or (50, name.replace(".", ": ").replace("_", " "), "", 3)
        difference, key = _difference(stage.result.metrics, names[-1], name)
        values = {model: pair[1] for model, pair in by_model.items()}
        keys = {model: pair[0] for model, pair in by_model.items()}
        both = names[0] in values and names[-1] in values and len(names) > 1
        one = Measure(name, label, better, values, keys, digits=digits)
        if both and difference is not None:
            one = Measure(name, label, better, values, keys, difference, key, digits)
        measures.append((order, one))
    return [one for _, one in sorted(measures, key=lambda pair: pair[0])]


def _overlap(one: Estimate, other: Estimate) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def _describe(name: str, language: str) -> tuple[int, str, Better, int] | None:
    """Return place in the order, label, which way is better, and digits of what is known."""
    known: dict[str, tuple[int, str, Better, int]] = {
        "target.bits_per_byte": (0, f"Bits per byte, {language}", "lower", 3),
        "english.bits_per_byte": (1, "Bits per byte, English", "lower", 3),
        "fidelity": (2, f"Answers in {language}, share", "higher", 2),
        "fidelity.line_pass_rate": (2, f"Answers in {language}, share by lines", "higher", 2),
        "fidelity.word_pass_rate": (6, f"of those without a foreign word, share in {language}", "higher", 2),
        "english_fidelity": (4, "English questions answered in English, share", "higher", 2),
        "words": (3, "Word translation score", "higher", 3),
        "target.tokens": (5, f"Tokens for the same {language} text", "lower", 0),
    }
    return known.get(name)


def _difference(metrics: Mapping[str, Any], model: str, name: str) -> tuple[Estimate | None, str]:
    """Look a measure's difference up, whether it is kept by model or for the last one alone."""
    kept = metrics.get("differences")
    side, _, quantity = name.partition(".")
    paths: list[tuple[str, ...]] = [(model, name), (name,), (model, *name.split(".")), tuple(name.split("."))]
    if quantity in {"", "bits_per_byte"}:
        paths += [(model, side), (side,)]
    for path in paths:
        value: Any = kept
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        estimate = as_estimate(value)
        if estimate is not None and estimate.low is not None:
            return estimate, ".".join(("metrics.differences", *path))
    return None, ""
