"""Sparse combinations of source rows against a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.vocabulary import mixtures as subject
from lingraft.vocabulary.mixtures import Mixture, alike_together, mixture_from_lists, row_blocks


def random_mixture(counts, size, seed=0):
    generator = np.random.default_rng(seed)
    ids = [generator.integers(size, size=count) for count in counts]
    return mixture_from_lists(ids, [generator.normal(size=count) for count in counts])


def check(mixture, source, tolerance):
    rows = np.random.default_rng(1).permutation(len(mixture.counts) + 3)[: len(mixture.counts)]
    out = torch.full((len(rows) + 3, source.shape[1]), torch.nan, dtype=source.dtype)
    mixture.fill(source, out, rows)
    for row, place in enumerate(rows):
        part = slice(int(mixture.offsets[row]), int(mixture.offsets[row + 1]))
        chosen = source[torch.from_numpy(mixture.source_ids[part])].double()
        wanted = torch.from_numpy(mixture.coefficients[part]) @ chosen
        assert torch.allclose(out[place].double(), wanted, atol=tolerance)
    assert int(torch.isnan(out[:, 0]).sum()) == 3


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 6), max_size=20), width=st.integers(1, 5), seed=st.integers(0, 999))
def test_equals_a_plain_loop(counts, width, seed):
    """Empty rows give zeros; repeated ids add up."""
    source = torch.randn(9, width, generator=torch.Generator().manual_seed(seed))
    check(random_mixture(counts, 9, seed), source, 1e-5)


def test_more_rows_than_a_chunk(monkeypatch):
    monkeypatch.setattr(subject, "FILL_CHUNK", 7)
    check(random_mixture([3] * 50, 30), torch.randn(30, 16), 1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.2)])
def test_other_dtypes(dtype, tolerance):
    check(random_mixture([4, 1, 0, 9], 30), torch.randn(30, 12).to(dtype), tolerance)


def test_without_coefficients_the_plain_mean():
    mixture = mixture_from_lists([np.array([1, 2]), np.array([0]), np.zeros(0, np.int64)])
    assert mixture.coefficients.tolist() == [0.5, 0.5, 1.0]
    assert mixture.counts.tolist() == [2, 1, 0]


def test_rows_alike_stand_together():
    """Two interleaved families without a common id come out one after the other."""
    ids = np.concatenate([np.arange(10) + 100 * (row % 2) for row in range(20)]).astype(np.int64)
    order = alike_together(np.arange(0, 201, 10), ids)
    assert sorted(order.tolist()) == list(range(20))
    assert len({row % 2 for row in order[:10]}) == 1


def test_an_order_of_nothing():
    assert len(alike_together(np.zeros(1, np.int64), np.zeros(0, np.int64))) == 0
    assert sorted(alike_together(np.zeros(4, np.int64), np.zeros(0, np.int64))) == [0, 1, 2]


def test_row_blocks_cover_all():
    blocks = list(row_blocks(np.arange(10) * 2, 4))
    assert [ids.tolist() for _, ids in blocks] == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]
    assert [(block.start, block.stop) for block, _ in blocks] == [(0, 4), (4, 8), (8, 10)]


def test_mixture_is_frozen():
    mixture = Mixture(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0))
    with pytest.raises(AttributeError):
        mixture.offsets = np.ones(1, np.int64)
