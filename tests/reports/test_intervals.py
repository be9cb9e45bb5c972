import numpy as np
import pytest

from lingraft.errors import ConfigError
from lingraft.reports.intervals import mean_interval, ratio_interval, seeds_interval, share_change_interval


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


def test_a_handful_of_documents_has_students_interval():
    values = [0.11, 0.12, 0.17]
    assert mean_interval(values) == seeds_interval(values)
    # By hand: ratio 11/14; residuals (10 - 11/14 * 10) / 7 and its opposite; t of one degree of freedom is 12.706.
    estimate = ratio_interval([10.0, 1.0], [10.0, 4.0])
    error = (2 * ((10 - 110 / 14) / 7) ** 2) ** 0.5 / 2**0.5
    assert estimate.high - estimate.value == pytest.approx(12.706 * error, rel=1e-3)


@pytest.mark.parametrize("size", [2, 3, 5, 9])
def test_few_documents_rarely_say_that_something_differs_where_nothing_does(size):
    generator = np.random.default_rng(size)
    trials = [mean_interval(generator.normal(size=size)) for _ in range(1000)]
    assert np.mean([one.low > 0 or one.high < 0 for one in trials]) < 0.075


def test_a_change_of_shares_by_hand():
    # Half an item more in each of four cells: (1 - 5) / 12, and its normal interval.
    estimate = share_change_interval([-1] * 5 + [1] + [0] * 4)
    reach = 1.959964 * ((6 + 1) / 12 - (4 / 12) ** 2) ** 0.5 / 12**0.5
    assert (estimate.value, estimate.observations) == (-0.4, 10)
    assert estimate.low == pytest.approx(-4 / 12 - reach) and estimate.high == pytest.approx(-4 / 12 + reach)


@pytest.mark.parametrize("size", [2, 5, 8, 12, 30])
@pytest.mark.parametrize("changing", [0.1, 0.4, 1.0])
def test_shares_rarely_differ_where_nothing_does(size, changing):
    generator = np.random.default_rng(0)
    draws = generator.choice([-1, 0, 1], p=[changing / 2, 1 - changing, changing / 2], size=(400, size))
    trials = [share_change_interval(row) for row in draws]
    assert all(one.low <= one.value <= one.high for one in trials)
    assert np.mean([one.low > 0 or one.high < 0 for one in trials]) <= 0.05


def test_many_changed_answers_are_a_difference():
    worse = share_change_interval([-1] * 6 + [0] * 2)
    assert worse.high < 0 and worse.low >= -1
    assert share_change_interval([-1] * 5 + [0] * 3).high == 0  # McNemar: p = 0.0625
    nothing = share_change_interval([0] * 8)
    assert nothing.low < 0 < nothing.high and nothing.value == 0
    with pytest.raises(ConfigError, match="no item"):
        share_change_interval([])


def test_one_observation_has_no_interval():
    for estimate in (seeds_interval([2.0]), mean_interval([2.0])):
        assert (estimate.value, estimate.low, estimate.high) == (2.0, None, None)


@pytest.mark.parametrize("call", [lambda: ratio_interval([], []), lambda: ratio_interval([1.0], [1.0, 2.0])])
def test_nothing_to_estimate(call):
    with pytest.raises(ConfigError, match="expected equally many"):
        call()
    with pytest.raises(ConfigError):
        seeds_interval([])
