"""The SALT regression against the literal formula: one pseudo-inverse a token, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.vocabulary.neighbours import Neighbours
from lingraft.vocabulary.regression import minimum_norm_coefficients


def supports(counts, anchors, seed=0):
    generator = np.random.default_rng(seed)
    rows = [generator.choice(anchors, size=count, replace=False) for count in counts]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int64)
    return Neighbours(offsets, indices, np.ones(len(indices)))


def row_of(neighbours, row):
    return slice(int(neighbours.offsets[row]), int(neighbours.offsets[row + 1]))


def check(new, donors, neighbours, tolerance=1e-9):
    """New rows equal `e pinv(E'_t) E'_s`, residuals equal `|e - c E'_t| / |e|`."""
    coefficients, residuals = minimum_norm_coefficients(new, donors, neighbours)
    generator = torch.Generator().manual_seed(7)
    source = torch.randn(len(donors), 24, generator=generator, dtype=torch.float64)
    for row in range(len(new)):
        part = row_of(neighbours, row)
        chosen = torch.from_numpy(neighbours.indices[part])
        if not len(chosen):
            assert np.isnan(residuals[row])
            continue
        anchors, target = donors[chosen].double(), new[row].double()
        linear_map = torch.linalg.pinv(anchors) @ source[chosen]
        wanted = target @ linear_map
        got = torch.from_numpy(coefficients[part]) @ source[chosen]
        assert (got - wanted).norm() <= tolerance * max(float(wanted.norm()), 1e-300)
        left = float((target - target @ torch.linalg.pinv(anchors) @ anchors).norm())
        assert residuals[row] == pytest.approx(left / max(float(target.norm()), 1e-300), abs=1e-7)
    return coefficients, residuals


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    width=st.integers(1, 24),
    seed=st.integers(0, 10**6),
)
def test_equals_the_literal_formula(counts, width, seed):
    """More anchors than dimensions, fewer, and none at all."""
    generator = torch.Generator().manual_seed(seed)
    donors = torch.randn(30, width, generator=generator) + 0.3
    new = torch.randn(len(counts), width, generator=generator)
    check(new, donors, supports(counts, 30, seed), tolerance=1e-6)


def test_many_tokens_of_unlike_size():
    generator = torch.Generator().manual_seed(0)
    donors = torch.randn(400, 96, generator=generator) + torch.randn(96, generator=generator)
    counts = np.random.default_rng(0).integers(1, 86, size=150)
    check(torch.randn(150, 96, generator=generator), donors, supports(counts, 400))


def test_no_tokens():
    coefficients, residuals = minimum_norm_coefficients(
        torch.empty(0, 4),
        torch.randn(5, 4),
        Neighbours(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0)),
    )
    assert len(coefficients) == 0 and len(residuals) == 0


@pytest.mark.parametrize("perturbation", [0.0, 1e-7, 1e-5, 1e-3])
def test_singular_and_nearly_singular_anchors(perturbation):
    generator = torch.Generator().manual_seed(1)
    donors = torch.randn(12, 32, generator=generator, dtype=torch.float64)
    donors[5] = donors[2] * (1 + perturbation) + perturbation * torch.randn(32, generator=generator)
    donors[7] = 0
    counts = np.array([12, 3])
    # A target outside the span asks for coefficients as large as the conditioning allows.
    check(torch.randn(2, 32, generator=generator), donors, supports(counts, 12), tolerance=1e-5)


def test_zero_target_and_zero_anchors():
    donors = torch.zeros(6, 8)
    donors[0] = 1
    new = torch.zeros(2, 8)
    coefficients, residuals = check(new, donors, supports([4, 6], 6))
    assert (coefficients == 0).all() and np.isfinite(residuals).all()


def test_fits_exactly_where_the_token_is_a_sum_of_its_anchors():
    generator = torch.Generator().manual_seed(2)
    donors = torch.randn(9, 40, generator=generator, dtype=torch.float64)
    neighbours = supports([9], 9)
    weights = torch.randn(9, generator=generator, dtype=torch.float64)
    new = (weights @ donors[torch.from_numpy(neighbours.indices)]).unsqueeze(0)
    coefficients, residuals = minimum_norm_coefficients(new, donors, neighbours)
    assert np.allclose(coefficients, weights.numpy(), atol=1e-10)
    # Not the 1e-8 at which `|e|^2 - c b` would have lost its digits.
    assert residuals[0] < 1e-12


def test_ridge_solves_the_regularised_system():
    generator = torch.Generator().manual_seed(3)
    donors = torch.randn(20, 16, generator=generator, dtype=torch.float64)
    new = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    neighbours = supports([18, 5, 1], 20)
    coefficients, residuals = minimum_norm_coefficients(new, donors, neighbours, ridge=0.05)
    for row in range(3):
        part = row_of(neighbours, row)
        anchors = donors[torch.from_numpy(neighbours.indices[part])]
        gram = anchors @ anchors.T
        penalty = 0.05 * gram.diagonal().mean() * torch.eye(len(anchors), dtype=torch.float64)
        wanted = torch.linalg.solve(gram + penalty, anchors @ new[row])
        assert np.allclose(coefficients[part], wanted.numpy(), atol=1e-10)
        left = (new[row] - wanted @ anchors).norm() / new[row].norm()
        assert residuals[row] == pytest.approx(float(left), abs=1e-10)


def test_bfloat16_donor_rows():
    generator = torch.Generator().manual_seed(4)
    donors = torch.randn(30, 20, generator=generator).bfloat16()
    check(
        torch.randn(4, 20, generator=generator).bfloat16(),
        donors,
        supports([3, 9, 20, 30], 30),
        tolerance=1e-6,
    )
