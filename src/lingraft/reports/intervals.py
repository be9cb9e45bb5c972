"""Estimates with intervals: over documents by bootstrap, over seeds by Student's t."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError


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
        values: `[observations]`; with fewer than ten take `seeds_interval`, since resampling a handful
            of numbers gives intervals that are much too narrow.
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
    from scipy.stats import t

    error = float(numbers.std(ddof=1)) / len(numbers) ** 0.5
    reach = float(t.ppf(0.5 + confidence / 2, len(numbers) - 1)) * error
    return Estimate(mean, mean - reach, mean + reach, len(numbers))


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1)
