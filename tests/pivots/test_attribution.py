"""Attribution against scikit-learn and scipy, with many ties."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lingraft.errors import ConfigError
from lingraft.pivots.attribution import (
    attribute,
    auc_interval,
    correlation_interval,
    mid_ranks,
    pearson,
    roc_auc,
    spearman,
)
from lingraft.pivots.attribution_report import attribution_sections, attribution_sentence
from lingraft.reports.page import render_page

metrics = pytest.importorskip("sklearn.metrics")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=40))
def test_auc_with_ties_is_scikit_learns(rows):
    labels, values = [label for label, _ in rows], [value for _, value in rows]
    if len(set(labels)) == 2:
        assert roc_auc(labels, values) == pytest.approx(metrics.roc_auc_score(labels, values), abs=1e-12)
    else:
        assert roc_auc(labels, values) is None


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), min_size=2, max_size=30))
def test_correlations_are_scipys(rows):
    first, second = np.array(rows).T
    np.testing.assert_allclose(mid_ranks(first), stats.rankdata(first))
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert pearson(first, second) == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-9)
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-9)
    else:
        assert pearson(first, second) is None
        assert spearman(first, second) is None


def test_all_tied_is_one_half():
    assert roc_auc([True, False, True], [7, 7, 7]) == 0.5


def test_the_interval_covers_a_known_area():
    generator = np.random.default_rng(3)
    # Normal values one standard deviation apart: the area is Phi(1/sqrt 2).
    truth = stats.norm.cdf(1 / np.sqrt(2))
    covered = 0
    for number in range(30):
        labels = np.repeat([True, False], 60)
        values = generator.normal(size=120) + labels
        found = auc_interval(labels, values, resamples=300, seed=number)
        covered += found.low <= truth <= found.high
    assert covered >= 25


def test_intervals_are_seeded_and_left_out_where_words_are_few():
    labels = np.arange(40) % 2 == 0
    values = np.arange(40) % 7
    assert auc_interval(labels, values, seed=1, resamples=100) == auc_interval(
        labels, values, seed=1, resamples=100
    )
    few = auc_interval(labels[:12], values[:12])
    assert few.low is None
    assert few.value == pytest.approx(metrics.roc_auc_score(labels[:12], values[:12]))
    assert correlation_interval(pearson, [1, 2, 3], [1, 2, 4]).low is None
    assert correlation_interval(pearson, [1, 1, 1], [1, 2, 4]) is None


@pytest.fixture
def tables(tmp_path):
    words = [(f"größe{number}", f"大きさ{number}") for number in range(30)]
    columns = {"source_word": [s for s, _ in words], "target_word": [t for _, t in words]}
    both = [number % 5 for number in range(30)]
    labels = [("cooccurrence", "pivot", "source")[number % 3] for number in range(30)]
    pq.write_table(pa.table({**columns, "both": both}), tmp_path / "counts.parquet")
    # A second position of every word must not count.
    traces = {name: column * 2 for name, column in columns.items()}
    traces |= {"position": [0] * 30 + [1] * 30, "behaviour": labels + ["pivot"] * 30}
    traces["behaviour_of_words"] = ["cooccurrence"] * 60
    pq.write_table(pa.table(traces), tmp_path / "traces.parquet")
    pq.write_table(pa.table({**columns, "score": np.linspace(-1, 1, 30)}), tmp_path / "scores.parquet")
    return tmp_path, both, labels


def test_attribution_joins_the_verbs_tables(tables):
    where, both, labels = tables
    found, table = attribute(
        where / "counts.parquet", where / "traces.parquet", scores=where / "scores.parquet", resamples=50
    )
    label, judged = np.array(labels), np.array(labels) != "source"
    expected = metrics.roc_auc_score(label[judged] == "cooccurrence", np.log1p(both)[judged])
    assert found.auc.value == pytest.approx(expected)
    assert found.spearman.value == pytest.approx(stats.spearmanr(both, np.linspace(-1, 1, 30)).statistic)
    assert found.words == {"cooccurrence": 10, "pivot": 10, "source": 10}
    assert found.never_together == pytest.approx(6 / 30)
    assert (found.scored, found.missing, table.num_rows) == (30, 0, 30)
    json.dumps(found.as_json())
    page = render_page(attribution_sections(found, table))
    assert "data:image/png" in page
    assert f"{found.auc.value:.2f} (" in page
    assert "20 % of the pairs meet in no document" in page


def test_attribution_without_a_pivot_or_scores_says_none(tables):
    where, _, _ = tables
    found, _ = attribute(where / "counts.parquet", where / "traces.parquet", words_only=True)
    assert found.auc is None
    assert "Not both behaviours occur" in attribution_sentence(found)
    assert found.pearson is None


def test_attribution_refuses_what_does_not_fit(tables):
    where, _, _ = tables
    (where / "no.parquet").write_bytes(b"not a table")
    with pytest.raises(ConfigError, match="cannot be read as a table"):
        attribute(where / "no.parquet", where / "traces.parquet")
    with pytest.raises(ConfigError, match="column"):
        attribute(where / "scores.parquet", where / "traces.parquet")
    other = pa.table({"source_word": ["x"], "target_word": ["y"], "both": [1]})
    pq.write_table(other, where / "other.parquet")
    with pytest.raises(ConfigError, match="none of the 30 pairs"):
        attribute(where / "other.parquet", where / "traces.parquet")
