from dataclasses import replace

import numpy as np
import pytest
from layer_maps import make_answers, make_maps

from lingraft.errors import ConfigError
from lingraft.patching.choosing import (
    best_pair,
    chosen_subset,
    coarse_pair,
    cross_fitted,
    learning_curve,
    split_folds,
    target_first,
)
from lingraft.patching.selection import selection_table

LAYERS = [(1, 0), (3, 0), (1, 2), (3, 2)]


def test_coarse_choices_are_the_papers():
    """Non-square layers: attention takes 3 -> 0; ffn wants 0 -> 0, which this map lacks."""
    attention, ffn = (make_maps([[0] * 4], layers=LAYERS, site=site) for site in ("attn_official", "ffn"))
    assert coarse_pair(attention, "understanding") == 1
    assert coarse_pair(attention, "understanding", layers=6) is None
    assert coarse_pair(attention, "culture") is None and coarse_pair(ffn, "understanding") is None
    assert coarse_pair(ffn, "generation") is None
    assert coarse_pair(make_maps([[0, 0]], layers=[(0, 0), (1, 0)]), "culture") == 0
    assert target_first(ffn).tolist() == [0, 1]


def test_best_pair_and_its_ties():
    maps = make_maps([[0, 1, 1], [0, 0, 0]], score=[[0, -3, -2], [0, 0, 0]])
    assert best_pair(maps, np.array([0, 1, 2])) == 2
    assert best_pair(maps, np.array([0, 1])) == 1
    assert best_pair(make_maps(np.ones((2, 3))), np.array([1, 2])) == 1


def test_folds_share_the_languages():
    languages = ["de"] * 7 + ["eu"] * 4
    dealt = split_folds(languages, 3, 0)
    for begin, end in ((0, 7), (7, 11)):
        counts = np.bincount(dealt[begin:end], minlength=3)
        assert counts.max() - counts.min() <= 1
    for folds in (1, 12):
        with pytest.raises(ConfigError):
            split_folds(languages, folds, 0)


def test_no_instance_has_a_part_in_choosing_its_own_pair():
    """Random answers; one instance's row is turned round: its own pair stays, others' may change."""
    generator = np.random.default_rng(1)
    maps = make_maps(
        generator.random((12, 6)) < 0.5, languages=["de"] * 7 + ["eu"] * 5, margin=generator.random((12, 6))
    )
    vanilla = make_answers([0] * 12)
    before = cross_fitted(maps, np.arange(6), folds=4)
    subset = chosen_subset(maps, "margin", vanilla, folds=4)
    moved = 0
    for one in range(12):
        correct = maps.correct.copy()
        correct[one] = ~correct[one]
        other = replace(maps, correct=correct)
        after = cross_fitted(other, np.arange(6), folds=4)
        assert after[one] == before[one]
        assert chosen_subset(other, "margin", vanilla, folds=4)[one] == subset[one]
        moved += (after != before).sum()
    assert moved > 0


def test_pairs_are_chosen_for_each_language_and_a_lone_instance_takes_the_others():
    """German is right with pair 0, Basque with pair 1; the only Czech row learns from the rest: pair 0 is commoner."""
    maps = make_maps([[1, 0]] * 6 + [[0, 1]] * 4 + [[0, 1]], languages=["de"] * 6 + ["eu"] * 4 + ["cs"])
    assert cross_fitted(maps, np.arange(2), folds=5).tolist() == [0] * 6 + [1] * 4 + [0]


def test_noise_gains_nothing_from_choosing():
    generator = np.random.default_rng(2)
    maps = make_maps(generator.random((400, 50)) < 0.3)
    chosen = cross_fitted(maps, np.arange(50))
    assert abs(maps.correct[np.arange(400), chosen].mean() - 0.3) < 0.07


def test_learning_curve():
    """Pair 1 is always right: one labelled instance is enough. A language of 2 cannot give 2 and keep one unseen."""
    maps = make_maps([[0, 1]] * 6, languages=["de"] * 4 + ["eu"] * 2)
    curve = learning_curve(maps, np.arange(2), [1, 2])
    assert curve[1].value == 1 and curve[1].observations == 6
    assert curve[2].observations == 4
    for size in (0, 4):
        with pytest.raises(ConfigError):
            learning_curve(maps, np.arange(2), [size])


def test_table_by_hand():
    """Pair 1 always right, pair 0 never, unpatched right for the German half; i6 is unknown and left out.

    So `best pair`, `target first` and the bound are 1 (+1/3), `margin` prefers pair 0: 0 (-2/3); the control, without
    i5, is right for i0 alone.
    """
    maps = make_maps(
        [[0, 1]] * 6 + [[0, 0]], margin=[[2, 1]] * 7, languages=["de"] * 4 + ["eu"] * 3, known=[1] * 6 + [0]
    )
    vanilla = make_answers([1, 1, 1, 1, 0, 0, 0])
    donors = make_answers([1] * 7, labels=[1] * 7)
    control = make_maps([[1, 0]] + [[0, 0]] * 4)
    lines = selection_table(maps, vanilla, donors, controls={"noise": control}, task_kind="culture")
    found = {(line.method, line.language): line for line in lines}
    assert {language for _, language in found} == {"all", "de", "eu"}
    assert found["vanilla", "all"].accuracy.value == pytest.approx(4 / 6)
    assert found["vanilla", "all"].difference is None
    for method in ("best pair", "target first", "upper bound", "agreement", "donor"):
        assert found[method, "all"].accuracy.value == 1
        assert found[method, "all"].difference.value == pytest.approx(2 / 6)
        assert found[method, "eu"].difference.value == 1 and found[method, "eu"].instances == 2
    assert found["margin", "all"].difference.value == pytest.approx(-4 / 6)
    assert found["coarse", "all"].accuracy.value == 0 and found["coarse", "all"].pairs == 1
    assert found["control: noise", "all"].accuracy.value == pytest.approx(1 / 5)
    assert found["control: noise", "eu"].instances == 1
    assert not found["margin", "all"].uses_labels and found["margin, subset chosen", "all"].uses_labels
    assert ("coarse", "all") not in {(one.method, one.language) for one in selection_table(maps, vanilla)}


def test_table_needs_known_answers():
    with pytest.raises(ConfigError, match="1 instances with known"):
        selection_table(make_maps([[1], [1]], known=[1, 0]), make_answers([1, 1]))
    with pytest.raises(ConfigError, match="unpatched"):
        selection_table(make_maps([[1], [1]]), make_answers([1]))
    with pytest.raises(ConfigError, match="shares no"):
        selection_table(
            make_maps([[1], [1]]), make_answers([1, 1]), controls={"x": make_maps([[1]], known=[0])}
        )
