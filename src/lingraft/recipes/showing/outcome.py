"""What a whole run comes down to: what its last `evaluate` stage measured, model by model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lingraft.preference.languages import language_name
from lingraft.recipes.showing.finished import RecipeRun, StageRun
from lingraft.recipes.showing.metric_keys import as_estimate, number_keys
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


@dataclass(frozen=True, slots=True)
class _Known:
    """How to show a measure: its name, which way is better, digits, and its key in `differences`."""

    label: str
    better: Better = ""
    digits: int = 3
    difference: str = ""


def _known(language: str) -> dict[str, _Known]:
    """Return the measures that `evaluate` makes, the most telling first."""
    return {
        "target.bits_per_byte": _Known(f"Bits per byte, {language}", "lower", 3, "target"),
        "english.bits_per_byte": _Known("Bits per byte, English", "lower", 3, "english"),
        "fidelity.line_pass_rate": _Known(f"Share of answers in {language}", "higher", 2, "fidelity"),
        "words.score": _Known("Word translation score", "higher", 3, "words"),
        "english_fidelity.line_pass_rate": _Known(
            "Share of English prompts answered in English", "higher", 2, "english_fidelity"
        ),
        "target.tokens": _Known(f"Tokens for the same text, {language}", "lower", 0),
        "fidelity.word_pass_rate": _Known(
            f"Share of the answers in {language} without a foreign word", "higher", 2
        ),
    }


def _measures(stage: StageRun, names: Sequence[str], language: str) -> list[Measure]:
    found: dict[str, dict[str, tuple[str, Estimate]]] = {}
    flat = number_keys(stage.result)
    for model in names:
        head = f"metrics.models.{model}."
        for key, value in flat.items():
            estimate = as_estimate(value) if not isinstance(value, Estimate) else value
            if key.startswith(head) and estimate is not None:
                found.setdefault(key.removeprefix(head), {})[model] = (key, estimate)
    known = _known(language_name(language) if language else "the target language")
    # What belongs to a measure that is shown is its detail: the stage's own part has it.
    shown = {name.partition(".")[0] for name in known if name in found}
    others = [
        name
        for name, by_model in found.items()
        if name not in known and name.partition(".")[0] not in shown and _bounded(by_model)
    ]
    measures = []
    for name in [*(name for name in known if name in found), *others]:
        about = known.get(name, _Known(name.replace(".", ": ").replace("_", " ")))
        difference, key = _difference(stage.result.metrics, names[-1], about.difference)
        measures.append(
            Measure(
                name=name,
                label=about.label,
                better=about.better,
                values={model: pair[1] for model, pair in found[name].items()},
                keys={model: pair[0] for model, pair in found[name].items()},
                difference=difference,
                difference_key=key,
                digits=about.digits,
            )
        )
    return measures


def _bounded(by_model: Mapping[str, tuple[str, Estimate]]) -> bool:
    """Say whether something has an interval: numbers without one are no measures, but settings or sizes."""
    return any(estimate.low is not None for _, estimate in by_model.values())


def _overlap(one: Estimate, other: Estimate) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def _difference(metrics: Mapping[str, Any], model: str, name: str) -> tuple[Estimate | None, str]:
    """Return the paired difference of a model to the first, with its key; none has one from itself."""
    kept = metrics.get("differences")
    changes = kept.get(model) if isinstance(kept, Mapping) else None
    value = changes.get(name) if isinstance(changes, Mapping) else None
    return as_estimate(value), f"metrics.differences.{model}.{name}" if value is not None else ""
