import numpy as np
import pytest

from lingraft.errors import ConfigError
from lingraft.reports.intervals import mean_interval, ratio_interval, seeds_interval


def test_ratio_is_of_the_sums_not_the_mean_of_ratios():
    estimate = ratio_interval([10.0, 1.0], [10.0, 4.0])
    assert estimate.value == pytest.approx(11 / 14)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.observations == 2


def test_bootstrap_covers_as_often_as_it_says():
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        sizes = generator.integers(20, 200, size=60)
        bits = sizes * 2.0 + generator.normal(0, 30, size=60)
        estimate = ratio_interval(bits, sizes, resamples=400, seed=trial)
        hits += estimate.low <= 2.0 <= estimate.high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_mean_has_the_textbook_interval_over_several_blocks():
    values = np.random.default_rng(0).normal(size=5000)
    estimate = mean_interval(values, resamples=1500)
    assert estimate == mean_interval(values, resamples=1500)
    assert estimate != mean_interval(values, resamples=1500, seed=1)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 / 5000**0.5, rel=0.15)


def test_seeds_use_students_t():
    estimate = seeds_interval([2.0, 2.1])
    assert estimate.value == pytest.approx(2.05)
    assert estimate.high - estimate.value == pytest.approx(12.706 * 0.05, rel=1e-3)


def test_one_observation_has_no_interval():
    for estimate in (seeds_interval([2.0]), mean_interval([2.0])):
        assert (estimate.value, estimate.low, estimate.high) == (2.0, None, None)


@pytest.mark.parametrize("call", [lambda: ratio_interval([], []), lambda: ratio_interval([1.0], [1.0, 2.0])])
def test_nothing_to_estimate(call):
    with pytest.raises(ConfigError, match="expected equally many"):
        call()
    with pytest.raises(ConfigError):
        seeds_interval([])
