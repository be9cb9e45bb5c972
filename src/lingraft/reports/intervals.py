"""Estimates with intervals: over documents by bootstrap, over a handful of them or of seeds by Student's t."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError

FEW = 10
"""Below so many observations a bootstrap interval is much too narrow: with three it misses every fourth time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its confidence interval.

    Attributes:
        value: The estimate itself, in whatever unit the caller has.
        low: Lower bound, None where there is no interval (a single observation).
        high: Upper bound, likewise.
        observations: How many documents, or seeds, it rests on.
    """

    value: float
    low: float | None = None
    high: float | None = None
    observations: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the four fields, JSON-able."""
        return {"value": self.value, "low": self.low, "high": self.high, "observations": self.observations}


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Bootstrap the ratio of two sums over documents (percentile method; our choice).

    Bits per byte is such a ratio: the documents are drawn again with replacement, and the sums of bits and of
    bytes are taken over the same draw. For the difference of two models on the same documents, pass the
    difference of their bits: the pairing then takes out what makes a document hard for both.

    Fewer than `FEW` documents have Student's t interval of the ratio, linearised (our choice), which is wide.

    Args:
        numerators: `[documents]`, bits for instance.
        denominators: `[documents]`, bytes for instance; their sum is positive.
        confidence: Share of resamples inside the interval.
        resamples: How many times the documents are drawn.
        seed: Of the drawing.

    Returns:
        The ratio of the sums, with no interval if there is one document only.

    Raises:
        ConfigError: No observation, or unequal numbers of the two.
    """
    top, bottom = _vector(numerators), _vector(denominators)
    if len(top) != len(bottom) or not len(top):
        raise ConfigError(
            f"{len(top)} numerators and {len(bottom)} denominators",
            "equally many of both, at least one",
            "give one of each for every document",
        )
    value = float(top.sum() / bottom.sum())
    if len(top) == 1:
        return Estimate(value, None, None, 1)
    if len(top) < FEW:
        # What each document adds to the ratio's error; for a mean these are the distances from it.
        residuals = (top - value * bottom) / bottom.mean()
        return _student(value, float((residuals**2).sum() / (len(top) - 1)) ** 0.5, len(top), confidence)
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    # A block at a time: all draws at once would take resamples x documents indices of memory.
    block = max(1, 4_000_000 // len(top))
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        picks = generator.integers(len(top), size=(stop - start, len(top)))
        drawn[start:stop] = top[picks].sum(axis=1) / bottom[picks].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), len(top))


def mean_interval(
    values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Bootstrap the mean of many observations (percentile method; our choice).

    Args:
        values: `[observations]`; fewer than `FEW` have the interval of `seeds_interval`.
        confidence: Share of resamples inside the interval.
        resamples: How many times the observations are drawn.
        seed: Of the drawing.

    Returns:
        The mean, with no interval if there is one observation only.

    Raises:
        ConfigError: There is no observation.
    """
    numbers = _vector(values)
    return ratio_interval(
        numbers, np.ones(len(numbers)), confidence=confidence, resamples=resamples, seed=seed
    )


def seeds_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Return the mean of a few repeated runs with Student's t interval (our choice).

    It supposes that runs differ by normal noise. With two seeds it is wide (12.7 standard errors), and
    rightly so: two runs say little about the spread.

    Args:
        values: One number a seed.
        confidence: Of the interval.

    Returns:
        The mean over seeds, with no interval if there is one seed only.

    Raises:
        ConfigError: There is no value.
    """
    numbers = _vector(values)
    if not len(numbers):
        raise ConfigError("no value", "one for each seed", "run at least one seed")
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Estimate(mean, None, None, 1)
    return _student(mean, float(numbers.std(ddof=1)), len(numbers), confidence)


def share_change_interval(changes: ArrayLike) -> Estimate:
    """Return how much a share changed between two runs over the same items, with a 95 % interval.

    The interval is Agresti and Min's (2005), the normal one after half an item is added to each of the four cells. It
    is widened to zero where McNemar's exact test finds no difference (our choice), so that no handful of items says
    "better": of 8 prompts 6 must change the same way.

    Args:
        changes: `[items]`, 1 where the second run alone is right, -1 where the first alone is, 0 where they agree.

    Returns:
        The mean change.

    Raises:
        ConfigError: There is no item.
    """
    numbers = _vector(changes)
    total, up, down = len(numbers), int((numbers > 0).sum()), int((numbers < 0).sum())
    if not total:
        raise ConfigError("no item", "at least one that both runs judged", "judge more answers")
    middle = (up - down) / (total + 2)
    reach = 1.959964 * ((up + down + 1) / (total + 2) - middle**2) ** 0.5 / (total + 2) ** 0.5
    low, high = max(-1.0, middle - reach), min(1.0, middle + reach)
    from scipy.stats import binomtest

    if not up + down or binomtest(up, up + down).pvalue >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    value = float(numbers.mean())
    return Estimate(value, min(low, value), max(high, value), total)


def _student(value: float, deviation: float, observations: int, confidence: float) -> Estimate:
    from scipy.stats import t

    reach = float(t.ppf(0.5 + confidence / 2, observations - 1)) * deviation / observations**0.5
    return Estimate(value, value - reach, value + reach, observations)


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1)
