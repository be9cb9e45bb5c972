"""Heatmaps: what stands in which cell, what is marked, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest
from layer_maps import make_answers, make_maps

from lingraft.errors import ConfigError
from lingraft.patching import map_figures
from lingraft.patching.map_figures import figure_name, heatmaps
from lingraft.patching.map_grids import BEST, COARSE, as_grid, finite_mean, map_means, score_change
from lingraft.reports.heatmaps import GridAxes, Panel, heatmap_panels

PNG = b"\x89PNG\r\n\x1a\n"
LAYERS = [(donor, receiver) for receiver in (0, 2, 5) for donor in (1, 3)]


def world(count=6, languages=("de", "eu"), layers=LAYERS, site="ffn", known=None, seed=0):
    random = np.random.default_rng(seed)
    shape = (count, len(layers))
    maps = make_maps(
        random.random(shape) < 0.4,
        score=random.normal(-2, 1, shape),
        entropy=random.random(shape),
        margin=random.random(shape),
        languages=[languages[number % len(languages)] for number in range(count)],
        layers=layers,
        site=site,
        known=known,
    )
    vanilla = make_answers(random.random(count) < 0.5, languages=maps.languages, known=maps.known)
    return maps, replace(vanilla, score=random.normal(-2, 1, count).astype(np.float32))


@pytest.fixture
def drawn(monkeypatch):
    """What is asked to be drawn, instead of the drawing."""
    calls = []

    def record(panels, axes, **options):
        calls.append((panels, axes, options))
        return len(calls) - 1

    monkeypatch.setattr(map_figures, "heatmap_panels", record)
    return calls


def test_cells_are_means_of_the_right_pairs(drawn):
    """Every cell against plain loops over instances; layers [1, 3] by [0, 2, 5]."""
    known = [True, True, True, True, False, True]
    maps, vanilla = world(known=known)
    found = heatmaps({("ffn", 0): maps}, vanilla)
    assert list(found) == ["right_ffn_donor0", "score_ffn_donor0", "entropy_ffn_donor0"]
    for quantity, (panels, axes, _) in zip(("right", "score", "entropy"), drawn, strict=True):
        assert (axes.rows, axes.columns) == (["1", "3"], ["0", "2", "5"])
        assert axes.row_label == "donor layer" and axes.pointed_column == 0
        for panel, language in zip(panels, (None, "de", "eu"), strict=True):
            members = [i for i in range(6) if language in {None, maps.languages[i]}]
            judged = [i for i in members if known[i]]
            for number, (donor, receiver) in enumerate(LAYERS):
                cell = panel.values[(1, 3).index(donor), (0, 2, 5).index(receiver)]
                if quantity == "right":
                    wanted = np.mean([maps.correct[i, number] for i in judged])
                elif quantity == "score":
                    wanted = np.mean([maps.score[i, number] - vanilla.score[i] for i in judged])
                else:
                    wanted = np.mean([maps.entropy[i, number] for i in members])
                assert cell == pytest.approx(wanted, rel=1e-5)
            assert f"n = {len(members if quantity == 'entropy' else judged)}" in panel.title
    assert drawn[0][2]["reference"] == pytest.approx(vanilla.correct[np.array(known)].mean())
    assert drawn[1][2]["centre"] == 0.0


def test_marks():
    layers = [(donor, receiver) for receiver in range(3) for donor in range(3)]
    right = np.zeros((4, 9), bool)
    right[:3, 5] = True  # donor layer 2 into receiver layer 1
    for site, coarse in (("ffn", (0, 0)), ("attn_official", (2, 0)), ("resid", None)):
        means = map_means(make_maps(right, layers=layers, site=site), make_answers([False] * 4))
        assert means.marks[BEST] == (2, 1)
        assert means.marks.get(COARSE) == coarse
    # The model has more layers than the sweep: its last one is not there to be marked.
    assert (
        COARSE
        not in map_means(
            make_maps(right, layers=layers, site="attn"), make_answers([False] * 4), layers=8
        ).marks
    )


def test_nothing_known_and_no_scores(drawn):
    maps, vanilla = world(known=[False] * 6, layers=[(1, 2), (3, 2)])
    found = heatmaps({("attn", -1): maps}, replace(vanilla, score=None))
    assert list(found) == ["entropy_attn_mean"]
    assert drawn[0][1].pointed_column is None
    means = map_means(maps, vanilla)
    assert means.right is None and means.unpatched_right is None and BEST not in means.marks
    np.testing.assert_allclose(
        score_change(maps, vanilla)[:, 0], (maps.score - vanilla.score[:, None]).mean(axis=0), rtol=1e-5
    )


def test_scores_that_are_not_finite_are_left_out():
    maps, vanilla = world(count=3, languages=("de",), known=[True] * 3)
    maps.score[0, 0], maps.score[1, 1], maps.score[:, 2] = np.nan, -np.inf, np.nan
    vanilla.score[2] = np.nan
    change = score_change(maps, vanilla)
    wanted = maps.score.astype(float) - vanilla.score[:, None]
    assert change[0, 0] == pytest.approx(wanted[1, 0], rel=1e-5)
    assert change[1, 0] == pytest.approx(wanted[0, 1], rel=1e-5)
    assert np.isnan(change[0, 1])
    means = map_means(maps, vanilla)
    assert means.unpatched_score == pytest.approx(vanilla.score[:2].mean())
    assert means.score[1, 2] == pytest.approx(maps.score[:2, 5].mean())
    assert all(picture.light.startswith(PNG) for picture in heatmaps({("ffn", 0): maps}, vanilla).values())
    assert np.isnan(finite_mean([[np.nan], [np.inf]])).all()


def test_pairs_that_are_not_there_are_empty_cells():
    maps = make_maps([[True, False, True]], layers=[(0, 0), (2, 0), (2, 1)], score=[[1, 2, 3]])
    np.testing.assert_array_equal(as_grid(maps, maps.score[0]), [[1, np.nan], [2, 3]])


@pytest.mark.parametrize("languages", [("de",), ("",), tuple("abcdefghijk"), ("größe $x$", "한국어")])
def test_pictures_are_png_light_and_dark_and_repeat(languages):
    maps, vanilla = world(count=11, languages=languages)
    found = heatmaps({("ffn", 0): maps}, vanilla)
    assert len(found) == 3
    for picture in found.values():
        assert (
            picture.light.startswith(PNG) and picture.dark.startswith(PNG) and picture.light != picture.dark
        )
    if languages == ("de",):
        assert found == heatmaps({("ffn", 0): maps}, vanilla)


def test_a_single_instance_and_a_single_pair():
    maps, vanilla = world(count=1, layers=[(7, 7)])
    assert set(heatmaps({("attn", 2): maps}, vanilla)) == {
        figure_name(quantity, "attn", 2) for quantity in ("right", "score", "entropy")
    }


def test_no_panel_and_no_value():
    axes = GridAxes("r", "c", ["0"], ["0"])
    for panels in ([], [Panel("a", np.full((1, 1), np.nan))]):
        with pytest.raises(ConfigError, match="no finite value"):
            heatmap_panels(panels, axes, value_label="v")
