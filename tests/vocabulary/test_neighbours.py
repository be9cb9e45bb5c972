"""Sparsemax neighbours against a full float64 sort, one row at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.vocabulary import neighbours as subject
from lingraft.vocabulary.neighbours import Neighbours, sparsemax, sparsemax_neighbours
from lingraft.vocabulary.screening import Screen

DTYPES = [torch.bfloat16, torch.float32]


def plain_sparsemax(scores):
    """The textbook: sort everything, find the support, subtract the threshold."""
    ordered = np.sort(scores)[::-1]
    sums = np.cumsum(ordered)
    ranks = np.arange(1, len(scores) + 1)
    size = int(np.nonzero(1 + ranks * ordered > sums)[0][-1]) + 1
    return np.maximum(scores - (sums[size - 1] - 1) / size, 0)


def plain_weights(new, anchors):
    """`[n_new, n_anchors]` weights by the textbook."""

    def units(vectors):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)

    cosines = units(new.double().numpy()) @ units(anchors.double().numpy()).T
    return np.stack([plain_sparsemax(row) for row in cosines])


def dense(found: Neighbours, width):
    full = np.zeros((len(found.counts), width))
    full[np.repeat(np.arange(len(found.counts)), found.counts), found.indices] = found.weights
    return full


def check(new, anchors, **options):
    found = sparsemax_neighbours(new, anchors, **options)
    wanted = plain_weights(new, anchors)
    got = dense(found, len(anchors))
    # Weights of a float64 tie may be 1e-16 or zero; every other support must be the same.
    assert np.array_equal(got > 1e-12, wanted > 1e-12)
    assert np.abs(got - wanted).max() < 1e-12
    for row in range(len(new)):
        weights = found.weights[found.offsets[row] : found.offsets[row + 1]]
        assert (np.diff(weights) <= 0).all() and (weights > 0).all()
        assert abs(weights.sum() - 1) < 1e-9
    return found


def clustered(count, anchors, width, *, seed=0, groups=40, noise=0.6):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, width, generator=generator)

    def draw(size):
        which = torch.randint(groups, (size,), generator=generator)
        return centres[which] + noise * torch.randn(size, width, generator=generator) + 0.5

    return draw(count), draw(anchors)


@pytest.fixture
def screened(monkeypatch):
    """Screens from 17 anchors on, in blocks of 16, so that small cases pass through every branch."""
    monkeypatch.setattr(subject, "FEW_ANCHORS", 16)
    monkeypatch.setattr("lingraft.vocabulary.screening.BLOCK_COLUMNS", 16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("anchors", [2049, 3001])
def test_equals_a_full_sort(dtype, anchors):
    check(*clustered(70, anchors, 96), dtype=dtype)


def test_equals_a_full_sort_for_few_anchors():
    for anchors in (1, 2, 30):
        check(*clustered(20, anchors, 8))


def test_no_new_tokens():
    found = sparsemax_neighbours(torch.empty(0, 8), torch.randn(3000, 8))
    assert found.offsets.tolist() == [0] and len(found.indices) == 0


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 5),
    anchors=st.integers(1, 90),
    width=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    noise=st.sampled_from([1e-6, 1e-3, 0.1, 1.0]),
    dtype=st.sampled_from(DTYPES),
)
def test_random_shapes(count, anchors, width, seed, noise, dtype):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "FEW_ANCHORS", 8)
        patch.setattr(subject, "MOST_HITS", 6)
        patch.setattr("lingraft.vocabulary.screening.BLOCK_COLUMNS", 7)
        check(*clustered(count, anchors, width, seed=seed, groups=3, noise=noise), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_ties_at_the_threshold(screened, dtype):
    """Anchors whose cosines differ by far less than a bfloat16 step, on both sides of the threshold."""
    generator = torch.Generator().manual_seed(3)
    token = torch.zeros(1, 64)
    token[0, 0] = 1
    cosines = 0.7 + torch.linspace(-2e-5, 2e-5, 200, dtype=torch.float64)
    anchors = torch.randn(200, 64, generator=generator, dtype=torch.float64)
    anchors[:, 0] = 0
    anchors = anchors / anchors.norm(dim=1, keepdim=True) * (1 - cosines**2).sqrt().unsqueeze(1)
    anchors[:, 0] = cosines
    anchors = torch.cat([anchors, anchors * 0.1 + 0.01 * torch.randn(200, 64, generator=generator)])
    check(token, anchors.float(), dtype=dtype)
    # Few strong anchors, the next ones just under the threshold that these set.
    few = anchors[:200].clone()
    few[3:, 0] = few[:3, 0].mean() - 1 / 3 + torch.linspace(-1e-4, 1e-4, 197)
    few = few / few.norm(dim=1, keepdim=True)
    check(token, few.float(), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_duplicates_and_zero_vectors(screened, dtype):
    new, anchors = clustered(30, 120, 16)
    anchors[20:40] = anchors[0]
    anchors[50] = 0
    new[3] = 0
    new[4] = -anchors[0]
    found = check(new, anchors, dtype=dtype)
    assert found.counts[3] == 120  # equal cosines to all: equal weights for all


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_lengths(screened, scale):
    new, anchors = clustered(10, 100, 16)
    wanted = sparsemax_neighbours(new, anchors)
    found = sparsemax_neighbours(new * scale, anchors * scale)
    assert np.array_equal(found.indices, wanted.indices)
    assert np.allclose(found.weights, wanted.weights, atol=1e-6)


def test_a_processor_that_rounds_worse_is_noticed(screened, monkeypatch):
    """Scores that are wrong by more than the bound must not decide."""
    honest = Screen.score

    def careless(self, queries, buffer, **options):
        scores = honest(self, queries, buffer, **options)
        scores.values.mul_(1.1)
        scores.maxima.mul_(1.1)
        return scores

    monkeypatch.setattr(Screen, "score", careless)
    check(*clustered(25, 200, 32), dtype=torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bound_of_the_error_holds_and_is_close(dtype):
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(3000, 200, generator=generator, dtype=torch.float64) * 3
    queries = torch.randn(50, 200, generator=generator, dtype=torch.float64)
    screen = Screen(exact, dtype)
    scores = screen.score(queries, screen.buffer(60))
    values = scores.values.permute(1, 0, 2).reshape(50, -1)[:, :3000].double()
    error = (values - queries @ exact.T).abs()
    allowed = scores.slack.unsqueeze(1) + values.abs() * screen.rounding
    assert (error <= allowed).all()
    assert float((error / allowed).max()) > (0.02 if dtype == torch.bfloat16 else 0.001)


def test_sparsemax_equals_entmax():
    entmax = pytest.importorskip("entmax", reason="entmax is not installed")
    scores = torch.randn(50, 300, dtype=torch.float64)
    assert torch.allclose(sparsemax(scores), entmax.sparsemax(scores, dim=-1), atol=1e-12)
    assert torch.allclose(sparsemax(scores[0]), torch.from_numpy(plain_sparsemax(scores[0].numpy())))
