"""The report of choosing: whether the upper bound beats its controls, and what each way to choose a pair gives."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from lingraft.patching.bounds import BoundReport, bound_verdict
from lingraft.patching.selection import ALL_LANGUAGES, SelectionLine
from lingraft.reports.figures import Curve, Picture, dot_chart, loss_curves
from lingraft.reports.intervals import Estimate, mean_interval
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table

FEWEST = 10
"""With fewer observations a bootstrap interval is much too narrow, so none is given (see `mean_interval`)."""

UNION = "layer pairs"

_READING = (
    "How to read the table: intervals are 95 %, by bootstrap over instances (none below ten), gains paired by instance."
    " Pairs run is what an instance costs once the choice is made. What was chosen with labels was chosen on other"
    " instances than it is scored on; the upper bound and the controls look at each instance's own answer."
)

Curves = Mapping[str, Mapping[int, Estimate]]


def percent(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean in percent, with an interval where there are enough observations for one.

    Args:
        values: `[I]`, 0 to 1.
        seed: Of the bootstrap.

    Returns:
        The mean times 100.

    Raises:
        ConfigError: There is no value.
    """
    return _percent(mean_interval(np.asarray(values, dtype=np.float64), seed=seed))


def selection_sections(
    lines: Sequence[SelectionLine],
    bound: BoundReport,
    curve: Mapping[int, Estimate] | Curves | None = None,
    *,
    learning: Mapping[int, Estimate] | None = None,
) -> list[Section]:
    """Say whether the upper bound beats chance and which choice of a pair is worth making.

    Args:
        lines: Of `selection_table`.
        bound: Of `compare_bound`.
        curve: Of `union_curve`, or several of these (and of `independent_curve`) by name.
        learning: Of `learning_curve`.

    Returns:
        Two sections for a page.
    """
    return [_bound_section(bound, curve), _choice_section(lines, learning)]


def choice_sentence(lines: Sequence[SelectionLine]) -> str:
    """Say which way of choosing came out best over all languages, and whether its gain can be told from none.

    Args:
        lines: Of `selection_table`.

    Returns:
        A sentence or two.
    """
    overall = [line for line in lines if line.language == ALL_LANGUAGES]
    usable = [line for line in overall if _usable(line) and line.difference is not None]
    own = next((line for line in overall if line.method == "vanilla"), None)
    unpatched = "" if own is None else f" (unpatched: {100 * own.accuracy.value:.1f} %)"
    said = []
    for words, group in (
        ("Without labels", [line for line in usable if not line.uses_labels]),
        ("With labels of other instances", [line for line in usable if line.uses_labels]),
    ):
        if not group:
            continue
        best = max(group, key=lambda line: line.accuracy.value)
        said.append(f"{words}, {best.method} does best: {100 * best.accuracy.value:.1f} %, {_gain(best)}.")
    if not said:
        return f"No way to choose a pair was scored{unpatched}."
    return (
        " ".join(said)[:-1] + f"{unpatched}. The best of several is picked after the fact, which flatters it."
    )


def bound_table(bound: BoundReport) -> Table:
    """One row a control.

    Args:
        bound: Of `compare_bound`, with at least one control.

    Returns:
        Both unions at equal numbers of tries, in percent.
    """
    rows: list[tuple[Cell, ...]] = [
        (
            line.name,
            line.tries,
            _percent(line.bound),
            _percent(line.control),
            _percent(line.difference),
            None if line.gain_difference is None else _percent(line.gain_difference),
            line.beaten,
        )
        for line in bound.controls
    ]
    columns = (
        "control",
        "tries in both",
        "real pairs",
        "control",
        "difference",
        "difference of gains",
        "beaten",
    )
    kept = [place for place in range(7) if any(row[place] is not None for row in rows)]
    return Table(
        "Percent of instances right for any of the tries, on the instances that both have; intervals 95 %, bootstrap,"
        " differences paired by instance. Beaten: the interval of the difference (of gains over the unpatched answer,"
        " where the control's prompts are others) lies above 0.",
        [columns[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        digits=1,
    )


def choice_tables(lines: Sequence[SelectionLine]) -> list[Table]:
    """One table a language, all languages first; one row a method.

    Args:
        lines: Of `selection_table`.

    Returns:
        Accuracies and gains in percent.
    """
    tables = []
    for language in dict.fromkeys(line.language for line in lines):
        members = [line for line in lines if line.language == language]
        count = max(line.instances for line in members)
        where = "All languages" if language == ALL_LANGUAGES else language or "No language named"
        rows: list[tuple[Cell, ...]] = [
            (
                line.method,
                _percent(line.accuracy),
                None if line.difference is None else _percent(line.difference),
                line.pairs,
                line.instances,
                _labels(line),
            )
            for line in members
        ]
        tables.append(
            Table(
                f"{where}, {count:,} instances: percent right, and points gained on the unpatched model",
                ("method", "right", "gained", "pairs run", "instances", "labels used"),
                rows,
                digits=1,
            )
        )
    return tables


def _bound_section(bound: BoundReport, curve: Mapping[int, Estimate] | Curves | None) -> Section:
    blocks: list[Block] = [Paragraph(bound_verdict(bound))]
    if bound.controls:
        blocks.append(bound_table(bound))
    else:
        blocks.append(
            Paragraph(
                "Controls were not run. A union over many tries rises by chance: do not read the bound as knowledge.",
                warning=True,
            )
        )
    curves = {UNION: curve} if curve and isinstance(next(iter(curve)), int) else curve
    if curves:
        named = {name: one for name, one in cast(Curves, curves).items() if one}
        ends = "; ".join(
            f"{name}: {100 * one[min(one)].value:.1f} % at {min(one)}, {100 * one[max(one)].value:.1f} % at {max(one)}"
            for name, one in named.items()
        )
        blocks.append(
            Figure(
                "Percent of instances right for any of so many tries, drawn at random; bands are 95 % intervals over"
                " instances. A control's curve beside it says what trying often gives by itself.",
                ends + ".",
                _curves(named, "tries (logarithmic)", log_x=True),
            )
        )
    return Section("Does the upper bound beat chance?", blocks)


def _choice_section(lines: Sequence[SelectionLine], learning: Mapping[int, Estimate] | None) -> Section:
    overall = [line for line in lines if line.language == ALL_LANGUAGES]
    blocks: list[Block] = [Paragraph(choice_sentence(lines))]
    blocks.append(Paragraph(_READING))
    blocks += choice_tables(lines)[:1]
    shown = {line.method: _percent(line.accuracy) for line in overall if line.method != "vanilla"}
    own = next((line.accuracy.value for line in overall if line.method == "vanilla"), None)
    if shown:
        blocks.append(
            Figure(
                "Percent right of every method over all languages, with 95 % intervals. Upper bound and controls use"
                " each instance's own answer and are no methods.",
                "The same numbers are in the table above.",
                dot_chart(
                    {"all languages": shown},
                    x_label="percent of instances right",
                    reference=None if own is None else 100 * own,
                    reference_label="unpatched",
                ),
            )
        )
    blocks += choice_tables(lines)[1:]
    if learning:
        blocks.append(
            Figure(
                "Percent right on unseen instances with the pair that did best on so many labelled ones of a language.",
                "; ".join(f"{size} labelled: {100 * one.value:.1f} %" for size, one in learning.items())
                + ".",
                _curves({"chosen on labelled": learning}, "labelled instances a language"),
            )
        )
    return Section("Ways to choose a pair", blocks)


def _curves(named: Curves, x_label: str, *, log_x: bool = False) -> Picture:
    drawn = []
    for name, one in named.items():
        sizes = sorted(one)
        values = [_percent(one[size]) for size in sizes]
        bounded = all(value.low is not None and value.high is not None for value in values)
        drawn.append(
            Curve(
                name,
                sizes,
                [value.value for value in values],
                [value.low or 0.0 for value in values] if bounded else None,
                [value.high or 0.0 for value in values] if bounded else None,
            )
        )
    return loss_curves(drawn, x_label=x_label, y_label="percent of instances right", log_x=log_x)


def _percent(share: Estimate) -> Estimate:
    if share.low is None or share.high is None or share.observations < FEWEST:
        return Estimate(100 * share.value, None, None, share.observations)
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high, share.observations)


def _usable(line: SelectionLine) -> bool:
    """Whether one could act on it: bounds and controls are no choices, the donor's own answer is no transplant."""
    return line.method not in {"vanilla", "donor", "upper bound"} and not line.method.startswith("control: ")


def _labels(line: SelectionLine) -> str:
    if line.method == "upper bound" or line.method.startswith("control: "):
        return "the instance's own"
    return "other instances'" if line.uses_labels else "none"


def _gain(line: SelectionLine) -> str:
    assert line.difference is not None
    gain = _percent(line.difference)
    if gain.low is None or gain.high is None:
        return f"{gain.value:+.1f} points, too few instances for an interval"
    clear = gain.low > 0 or gain.high < 0
    told = "" if clear else ", not told apart from none"
    return f"{gain.value:+.1f} points [{gain.low:.1f}, {gain.high:.1f}]{told}"
