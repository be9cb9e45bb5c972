"""The instance-aware upper bound (XTransplant, section 3) and how much of it chance alone gives (our controls)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import ConfigError
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.patching.unions import Samples, expected_union, independent_union
from lingraft.reports.intervals import Estimate, mean_interval


@dataclass(frozen=True, slots=True)
class ControlLine:
    """The upper bound beside one control's, on the instances both have, at equal numbers of tries.

    Attributes:
        name: Of the control.
        tries: Pairs, or samples, in both unions: the smaller of the two numbers.
        bound: Share right for any of them, in the real run.
        control: The same in the control.
        difference: `bound - control`, paired by instance.
        gain_difference: The difference of both unions' gains over their own unpatched answers; None where those of
            the control were not given. It is what counts where the control's prompts are in another language.
    """

    name: str
    tries: int
    bound: Estimate
    control: Estimate
    difference: Estimate
    gain_difference: Estimate | None = None

    @property
    def beaten(self) -> bool:
        """Whether the interval of the difference that counts lies above zero."""
        low = (self.gain_difference or self.difference).low
        return low is not None and low > 0


@dataclass(frozen=True, slots=True)
class BoundReport:
    """The upper bound and its controls.

    Attributes:
        pairs: Layer pairs in the union.
        bound: Share of instances right for any pair.
        vanilla: Share right unpatched; None if not given.
        controls: One a control.
    """

    pairs: int
    bound: Estimate
    vanilla: Estimate | None
    controls: tuple[ControlLine, ...]


def upper_bound(maps: LayerMaps, *, seed: int = 0) -> Estimate:
    """Count the instances that any pair answers rightly.

    Args:
        maps: The maps; instances without a known answer are left out.
        seed: Of the bootstrap.

    Returns:
        Their share, with an interval over instances.

    Raises:
        ConfigError: No instance has a known answer.
    """
    return mean_interval(maps.correct[_known(maps)].any(axis=1), seed=seed)


def union_curve(
    maps: LayerMaps | Samples, *, tries: Sequence[int] | None = None, seed: int = 0
) -> dict[int, Estimate]:
    """The upper bound against how many pairs, or samples, are tried.

    Args:
        maps: Maps or samples; instances without a known answer are left out.
        tries: Sizes of the random subsets; None for powers of two and all.
        seed: Of the bootstrap; the same instances are drawn for every size.

    Returns:
        By size, the expected share of instances right for any of them. At size 1: the mean over pairs.

    Raises:
        ConfigError: A size above the number of pairs, or no instance with a known answer.
    """
    correct = maps.correct if isinstance(maps, Samples) else maps.correct[_known(maps)]
    pairs = correct.shape[1]
    sizes = sorted({*(2**power for power in range(pairs.bit_length()) if 2**power <= pairs), pairs})
    right = correct.sum(axis=1)
    return {
        size: mean_interval(expected_union(right, pairs, size), seed=seed)
        for size in (sizes if tries is None else tries)
    }


def independent_curve(samples: Samples, tries: Sequence[int], *, seed: int = 0) -> dict[int, Estimate]:
    """What independent tries at each instance's sampled rate would reach, beyond the samples drawn too.

    The rate is estimated from S samples, so an instance with none right counts as hopeless: with few samples this is
    below the truth for many tries.

    Args:
        samples: Of the unpatched model.
        tries: Numbers of tries.
        seed: Of the bootstrap.

    Returns:
        By number of tries, the expected share right for any.

    Raises:
        ConfigError: No instance, or a negative number.
    """
    rates = samples.correct.mean(axis=1)
    return {size: mean_interval(independent_union(rates, size), seed=seed) for size in tries}


def compare_bound(
    maps: LayerMaps,
    controls: Mapping[str, LayerMaps | Samples],
    *,
    vanilla: Answers | None = None,
    control_vanilla: Mapping[str, Answers] | None = None,
    seed: int = 0,
) -> BoundReport:
    """Put the upper bound beside its controls.

    Args:
        maps: The real run's.
        controls: By name, maps of control runs, or samples (best of k).
        vanilla: The real run's unpatched answers.
        control_vanilla: Unpatched answers of controls whose receiver prompts differ from the real run's.
        seed: Of the bootstrap.

    Returns:
        The bound and a line for each control.

    Raises:
        ConfigError: No instance with a known answer, or a control shares none with the real run.
    """
    lines = []
    own = control_vanilla or {}
    for name, control in controls.items():
        judged = control.instances if isinstance(control, Samples) else _known_names(control)
        shared = sorted(set(_known_names(maps)) & set(judged))
        if not shared:
            raise ConfigError(f"control {name!r} shares no instance", "the same ids", "take runs of one file")
        tries = min(maps.pairs, control.correct.shape[1])
        real = _union(maps.instances, maps.correct, shared, tries)
        other = _union(control.instances, control.correct, shared, tries)
        gain = None
        if vanilla is not None and name in own:
            gains = (real - vanilla.of(shared).correct) - (other - own[name].of(shared).correct)
            gain = mean_interval(gains, seed=seed)
        bound, union, gap = (mean_interval(values, seed=seed) for values in (real, other, real - other))
        lines.append(ControlLine(name, tries, bound, union, gap, gain))
    unpatched = None
    if vanilla is not None:
        unpatched = mean_interval(vanilla.of(_known_names(maps)).correct, seed=seed)
    return BoundReport(maps.pairs, upper_bound(maps, seed=seed), unpatched, tuple(lines))


def bound_verdict(report: BoundReport) -> str:
    """Say in plain words whether the upper bound beats its controls.

    Args:
        report: Of `compare_bound`.

    Returns:
        One or two sentences.
    """
    said = f"The upper bound over {report.pairs} layer pairs is {_percent(report.bound)}"
    said += "" if report.vanilla is None else f" (unpatched: {_percent(report.vanilla)})"
    if not report.controls:
        return f"{said}. No control was run, so how much of it is chance is not known."
    parts = [
        f"{line.name} ({100 * (line.gain_difference or line.difference).value:+.1f} points)"
        for line in report.controls
    ]
    failed = [part for part, line in zip(parts, report.controls, strict=True) if not line.beaten]
    if not failed:
        return f"{said}. It beats every control: {', '.join(parts)}."
    beaten = [part for part in parts if part not in failed]
    rest = f" It does beat {', '.join(beaten)}." if beaten else ""
    return f"{said}. It does not beat {', '.join(failed)}: so much comes by trying often.{rest}"


def _union(
    held: Sequence[str], correct: NDArray[np.bool_], wanted: Sequence[str], tries: int
) -> NDArray[np.float64]:
    number = {name: place for place, name in enumerate(held)}
    right = correct[[number[name] for name in wanted]].sum(axis=1)
    return expected_union(right, correct.shape[1], tries)


def _known(maps: LayerMaps) -> NDArray[np.bool_]:
    if not maps.known.any():
        raise ConfigError("no instance has a known answer", "at least one", "give rows an answer")
    return maps.known


def _known_names(maps: LayerMaps) -> tuple[str, ...]:
    return tuple(name for name, known in zip(maps.instances, _known(maps), strict=True) if known)


def _percent(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:.1f} %"
    return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
