from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_maps import make_answers, make_maps

from lingraft.errors import ConfigError
from lingraft.patching.bounds import (
    bound_verdict,
    compare_bound,
    independent_curve,
    union_curve,
    upper_bound,
)
from lingraft.patching.unions import Samples, expected_union, independent_union, read_samples


def test_the_bound_is_right_for_any_pair():
    """Rows right for 1, 0, 3 of 3 pairs, and one unknown: 2 of 3 known instances."""
    maps = make_maps([[0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]], known=[1, 1, 1, 0])
    estimate = upper_bound(maps)
    assert estimate.value == pytest.approx(2 / 3) and estimate.observations == 3
    assert upper_bound(make_maps(np.zeros((4, 2)))).high == 0
    assert upper_bound(make_maps(np.ones((4, 2)))).low == 1
    with pytest.raises(ConfigError, match="no instance has a known answer"):
        upper_bound(make_maps([[1]], known=[0]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(0, n))
    )
)
def test_expected_union_is_the_mean_over_all_subsets(case):
    row, tries = case
    every = [any(row[place] for place in subset) for subset in combinations(range(len(row)), tries)]
    assert expected_union([sum(row)], len(row), tries)[0] == pytest.approx(np.mean(every))


def test_expected_union_by_hand_and_at_full_size():
    """Of 4 pairs 1 right, 2 tried: C(3,2)/C(4,2) = 3/6 misses. 1024 pairs stay exact: 1 right, 512 tried, one half."""
    assert expected_union([1, 0, 4], 4, 2).tolist() == pytest.approx([0.5, 0, 1])
    assert expected_union([1], 1024, 512)[0] == pytest.approx(0.5, abs=1e-12)
    for tries in (-1, 5):
        with pytest.raises(ConfigError):
            expected_union([1], 4, tries)


def test_independent_tries():
    """Rates 0, 1/2, 1 and three tries: 0, 7/8, 1."""
    assert independent_union([0, 0.5, 1], 3).tolist() == [0, 0.875, 1]
    with pytest.raises(ConfigError):
        independent_union([1.5], 2)
    samples = Samples(("a", "b"), np.array([[True, False], [False, False]]))
    assert independent_curve(samples, [3])[3].value == pytest.approx(0.875 / 2)


def test_the_curve_goes_from_the_mean_to_the_union():
    maps = make_maps([[0, 1, 0], [0, 0, 0], [1, 1, 1]])
    curve = union_curve(maps)
    assert list(curve) == [1, 2, 3]
    assert curve[1].value == pytest.approx(4 / 9)
    assert curve[2].value == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert curve[3] == upper_bound(maps)


def test_controls_are_compared_at_equal_tries_on_shared_instances():
    """Real: one of two pairs right everywhere; the control has one pair, always wrong.

    At one try the real union is 1/2, the control's 0; the control lacks i5.
    """
    maps = make_maps([[0, 1]] * 6)
    control = make_maps([[0]] * 5)
    report = compare_bound(maps, {"noise": control}, vanilla=make_answers([0] * 6))
    line = report.controls[0]
    assert (line.tries, line.bound.value, line.control.value, line.difference.value) == (1, 0.5, 0, 0.5)
    assert line.difference.observations == 5 and line.beaten
    assert report.bound.value == 1 and report.vanilla.value == 0
    assert "It beats every control: noise (+50.0 points)" in bound_verdict(report)


def test_a_bound_by_chance_is_said_to_be_one():
    generator = np.random.default_rng(0)
    maps, control = (make_maps(generator.random((80, 30)) < 0.05) for _ in range(2))
    report = compare_bound(maps, {"shuffled": control, "wrong": make_maps(np.zeros((80, 30)))})
    assert report.bound.value > 0.6
    said = bound_verdict(report)
    assert "does not beat shuffled" in said and "It does beat wrong" in said
    assert "not known" in bound_verdict(compare_bound(maps, {}))


def test_gains_count_where_the_control_starts_higher():
    """Real 1 from 0; English control 1 from 1: the unions tie, the gains differ by 1."""
    maps, english = make_maps([[1]] * 4), make_maps([[1]] * 4)
    answers = {"english": make_answers([1] * 4)}
    line = compare_bound(
        maps, {"english": english}, vanilla=make_answers([0] * 4), control_vanilla=answers
    ).controls[0]
    assert line.difference.value == 0 and line.gain_difference.value == 1 and line.beaten
    plain = compare_bound(maps, {"english": english}).controls[0]
    assert not plain.beaten


def test_a_control_of_other_instances(tmp_path):
    other = Samples(("x",), np.array([[True]]))
    with pytest.raises(ConfigError, match="shares no instance"):
        compare_bound(make_maps([[1]]), {"samples": other})


def test_samples_are_read(tmp_path):
    table = pa.table(
        {"instance": ["a", "b", "a", "b"], "sample": [0, 0, 1, 1], "correct": [True, False, False, False]}
    )
    pq.write_table(table, tmp_path / "s.parquet")
    samples = read_samples(tmp_path / "s.parquet")
    assert samples.instances == ("a", "b") and samples.correct.tolist() == [[True, False], [False, False]]
    pq.write_table(table.slice(0, 3), tmp_path / "s.parquet")
    with pytest.raises(ConfigError, match="samples"):
        read_samples(tmp_path / "s.parquet")
    with pytest.raises(ConfigError):
        read_samples(tmp_path / "none.parquet")
