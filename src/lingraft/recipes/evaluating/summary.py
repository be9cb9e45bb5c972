"""The measures of a comparison, and what they say in sentences and in a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lingraft.reports.intervals import Estimate


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured of every model.

    Attributes:
        key: Its key in `differences`, and in a model's metrics.
        name: What tables call it.
        unit: What its values are.
        lower_is_better: Which direction is good.
        meaning: What it is, in a sentence.
        read: From a model's metrics to the estimate; None where there is nothing.
    """

    key: str
    name: str
    unit: str
    lower_is_better: bool
    meaning: str
    read: Callable[[Mapping[str, Any]], Estimate | None]


def _text(side: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
    def read(found: Mapping[str, Any]) -> Estimate | None:
        if side not in found:
            return None
        low, high = found[side]["interval"]
        return Estimate(found[side]["bits_per_byte"], low, high, found[side]["documents"])

    return read


def _rate(key: str, inner: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
    def read(found: Mapping[str, Any]) -> Estimate | None:
        rate = found.get(key, {}).get(inner)
        if rate is None:
            return None
        return Estimate(rate["value"], rate["low"], rate["high"], int(rate["observations"]))

    return read


BITS, SHARE = "bits per byte", "share of judged answers"
_BITS_MEANING = (
    "Bits per UTF-8 byte of held-out text: lower is better; models of different tokenizers compare by it."
)
_SHARE_MEANING = (
    "Answers in their language: share of greedy answers without a line in another one, of those long enough to judge;"
    " small numbers of answers tell little."
)
MEASURES = (
    Measure("target", "target language, bits per byte", BITS, True, _BITS_MEANING, _text("target")),
    Measure("english", "English, bits per byte", BITS, True, _BITS_MEANING, _text("english")),
    Measure(
        "fidelity",
        "answers in the language",
        SHARE,
        False,
        _SHARE_MEANING,
        _rate("fidelity", "line_pass_rate"),
    ),
    Measure(
        "english_fidelity",
        "English answers to English prompts",
        SHARE,
        False,
        _SHARE_MEANING,
        _rate("english_fidelity", "line_pass_rate"),
    ),
    Measure(
        "words",
        "word translation score",
        "score",
        False,
        "Word translation: likelihood of the right word less that of the same word after other ones.",
        _rate("words", "score"),
    ),
)


def evaluation_lines(metrics: Mapping[str, Any], *, only: str | None = None) -> list[str]:
    """Say in a few sentences what came out.

    Args:
        metrics: Of the result.
        only: Say it of this model alone.

    Returns:
        A sentence a measure and model beside the first one; where there is one model alone, its values.
    """
    models, base = metrics["models"], metrics["baseline"]
    lines = []
    for measure in present_measures(metrics):
        first, title = measure.read(models[base]), f"{measure.name[0].upper()}{measure.name[1:]}"
        if len(models) == 1 and first is not None:
            lines.append(f"{title}: {first.value:.3f}.")
        for name, changes in metrics["differences"].items():
            if only not in {None, name}:
                continue
            found, change = measure.read(models[name]), changes.get(measure.key)
            if first is not None and found is not None and change is not None:
                values = f"{base} {first.value:.3f}, {name} {found.value:.3f}"
                lines.append(f"{title}: {values} ({_judged(change, measure)}).")
    return lines


def measure_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row a model and measure, for the table.

    Args:
        metrics: Of the result.

    Returns:
        `model`, `measure`, `value`, `low`, `high`, `observations`, and the difference to the first model with its
        bounds, None for that one.
    """
    rows = []
    for name, found in metrics["models"].items():
        for measure in present_measures(metrics):
            estimate = measure.read(found)
            if estimate is not None:
                change = metrics["differences"].get(name, {}).get(measure.key) or {}
                rows.append(
                    {
                        "model": name,
                        "measure": measure.name,
                        **estimate.as_json(),
                        "difference": change.get("value"),
                        "difference_low": change.get("low"),
                        "difference_high": change.get("high"),
                    }
                )
        for task, values in found.get("tasks", {}).items():
            rows += [
                {"model": name, "measure": f"{task} {metric}", **value} for metric, value in values.items()
            ]
    return rows


def present_measures(metrics: Mapping[str, Any]) -> list[Measure]:
    """Return the measures that any model has a value of."""
    return [
        one for one in MEASURES if any(one.read(found) is not None for found in metrics["models"].values())
    ]


def _judged(change: Mapping[str, Any], measure: Measure) -> str:
    """Say a difference with its interval, and whether it is one."""
    value, low, high = change["value"], change["low"], change["high"]
    over = f" over the {change['observations']} judged in both" if measure.unit == SHARE else ""
    if low is None:
        return f"difference {value:+.3f}{over or ', of one observation'}"
    better = "better" if (value < 0) == measure.lower_is_better else "worse"
    sure = better if low > 0 or high < 0 else "no difference beyond chance"
    return f"difference{over} {value:+.3f}, 95% interval {low:+.3f} to {high:+.3f}: {sure}"
