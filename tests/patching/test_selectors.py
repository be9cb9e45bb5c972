from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_maps import make_answers, make_maps

from lingraft.errors import ConfigError
from lingraft.patching.selectors import UNPATCHED, outcome, select, subsets

LAYERS = [(1, 0), (3, 0), (1, 1), (3, 1)]


def test_each_rule_by_hand():
    """Labels 5 5 7 9. Margin: pair 3 (9). Entropy: pair 2 (7). Majority: 5, its larger margin is pair 1.

    Agreement with 7: pair 2; with 8: none, so unpatched.
    """
    maps = make_maps(
        [[0, 0, 1, 0]] * 2,
        labels=[[5, 5, 7, 9]] * 2,
        margin=[[0.1, 0.2, 0.3, 0.9]] * 2,
        entropy=[[3, 2, 1, 2]] * 2,
        layers=LAYERS,
    )
    donors = make_answers([1, 0], labels=[7, 8])
    chosen = {
        name: select(name, maps, donors=donors).tolist()
        for name in ("margin", "entropy", "majority", "agreement")
    }
    assert chosen == {"margin": [3, 3], "entropy": [2, 2], "majority": [1, 1], "agreement": [2, UNPATCHED]}
    right = outcome(maps, np.array([2, UNPATCHED]), make_answers([0, 1]))
    assert right.tolist() == [True, True]
    assert outcome(maps, np.array([3, UNPATCHED]), make_answers([1, 0])).tolist() == [False, False]


def test_ties_go_to_the_lowest_receiver_then_donor_layer():
    maps = make_maps([[0, 1, 1, 0]], labels=[[4, 6, 6, 4]], layers=LAYERS)
    donors = make_answers([1], labels=[6])
    assert [select(name, maps, donors=donors)[0] for name in ("margin", "entropy", "majority")] == [0, 0, 0]
    assert select("agreement", maps, donors=donors)[0] == 1
    # Equal votes, and the later label has the larger sum of margins.
    tied = make_maps([[0] * 4], labels=[[4, 6, 6, 4]], margin=[[0, 1, 2, 0]], layers=LAYERS)
    assert select("majority", tied)[0] == 2


def test_a_margin_that_is_no_number_is_never_chosen():
    maps = make_maps([[0, 1]], margin=[[np.nan, -3]], entropy=[[np.nan, 9]])
    assert select("margin", maps)[0] == 1 and select("entropy", maps)[0] == 1


def test_subsets_hold_back_the_other_pairs():
    maps = make_maps([[0] * 4], margin=[[9, 1, 2, 3]], layers=LAYERS)
    assert select("margin", maps, subset=[2, 1])[0] == 2
    assert {name: places.tolist() for name, places in subsets(maps).items()} == {
        "all": [0, 1, 2, 3],
        "first receiver": [0, 1],
        "same layer": [2],
        "lower receivers": [0, 1],
        "upper receivers": [2, 3],
    }
    for wrong in ([], [4], [-1]):
        with pytest.raises(ConfigError):
            select("margin", maps, subset=wrong)
    with pytest.raises(ConfigError, match="one of margin"):
        select("oracle", maps)
    with pytest.raises(ConfigError, match="donor"):
        select("agreement", maps)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=9), st.data())
def test_rules_against_plain_loops(row, data):
    subset = sorted(data.draw(st.sets(st.integers(0, len(row) - 1), min_size=1)))
    labels, margins = [label for label, _ in row], [float(margin) for _, margin in row]
    maps = make_maps([[0] * len(row)], labels=[labels], margin=[margins], entropy=[margins])
    wanted = data.draw(st.integers(0, 3))
    votes = Counter(labels[place] for place in subset)
    sums = {label: sum(margins[p] for p in subset if labels[p] == label) for label in votes}
    first = {label: min(p for p in subset if labels[p] == label) for label in votes}
    winner = min(votes, key=lambda label: (-votes[label], -sums[label], first[label]))

    def clearest(places):
        return min(places, key=lambda place: (-margins[place], place), default=UNPATCHED)

    assert select("margin", maps, subset=subset)[0] == clearest(subset)
    assert select("entropy", maps, subset=subset)[0] == min(subset, key=lambda p: (margins[p], p))
    assert select("majority", maps, subset=subset)[0] == clearest([p for p in subset if labels[p] == winner])
    donors = make_answers([0], labels=[wanted])
    agreeing = [p for p in subset if labels[p] == wanted]
    assert select("agreement", maps, donors=donors, subset=subset)[0] == clearest(agreeing)


def test_no_selector_looks_at_the_answers():
    generator = np.random.default_rng(0)
    parts = {
        "labels": generator.integers(0, 3, (5, 4)),
        "margin": generator.random((5, 4)),
        "entropy": generator.random((5, 4)),
    }
    right, wrong = (
        make_maps(np.ones((5, 4)), **parts),
        make_maps(np.zeros((5, 4)), score=generator.random((5, 4)), **parts),
    )
    donors = make_answers([1] * 5, labels=[0, 1, 2, 0, 1])
    for name in ("margin", "entropy", "majority", "agreement"):
        assert np.array_equal(select(name, right, donors=donors), select(name, wrong, donors=donors))
