"""Matching pursuit against a naive one in float64, and against mergekit's."""

import numpy as np
import pytest
import torch

from lingraft.vocabulary import pursuit as subject
from lingraft.vocabulary.pursuit import orthogonal_matching_pursuit, pursuit_mixture
from lingraft.vocabulary.screening import Screen

DTYPES = [torch.bfloat16, torch.float32]


def naive(target, atoms, k):
    """One target: pick the best untaken atom, refit all by least squares, repeat."""
    target, atoms = target.double(), atoms.double()
    chosen, residual = [], target
    for _ in range(k):
        fit = (atoms @ residual).abs()
        fit[chosen] = -1
        chosen.append(int(fit.argmax()))
        coefficients = torch.linalg.pinv(atoms[chosen].T) @ target
        residual = target - coefficients @ atoms[chosen]
    return chosen, coefficients


def problem(targets, atoms, width, seed=0, spread=0.0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(atoms, width, generator=generator) + spread
    return torch.randn(targets, width, generator=generator) + spread, rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("targets", "atoms", "width", "k"), [(20, 400, 64, 12), (3, 3000, 80, 20), (5, 12, 12, 12), (1, 1, 4, 1)]
)
def test_equals_a_naive_pursuit(dtype, targets, atoms, width, k):
    wanted, rows = problem(targets, atoms, width)
    indices, coefficients = orthogonal_matching_pursuit(wanted, rows, k, dtype=dtype)
    for row in range(targets):
        chosen, fitted = naive(wanted[row], rows, k)
        assert indices[row].tolist() == chosen
        assert torch.allclose(coefficients[row].double(), fitted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_atoms_closer_than_bfloat16_tells(dtype):
    """Hundreds of atoms within a bfloat16 step of the best: the best must still be found."""
    generator = torch.Generator().manual_seed(1)
    target = torch.zeros(1, 64)
    target[0, 0] = 1
    atoms = torch.randn(500, 64, generator=generator) * 0.1
    atoms[:, 0] = 1 + torch.linspace(-1e-5, 1e-5, 500)
    atoms = atoms[torch.randperm(500, generator=generator)]
    indices, _ = orthogonal_matching_pursuit(target, atoms, 3, dtype=dtype)
    assert indices[0, 0] == int((atoms @ target[0]).argmax())
    assert indices[0].tolist() == naive(target[0], atoms, 3)[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_near_ties_take_the_exact_way(dtype, monkeypatch):
    monkeypatch.setattr(subject, "MOST_HITS", 0)
    wanted, rows = problem(40, 200, 32)
    indices, _ = orthogonal_matching_pursuit(wanted, rows, 6, dtype=dtype)
    for row in range(40):
        assert indices[row].tolist() == naive(wanted[row], rows, 6)[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_duplicates_zeros_and_targets_that_are_atoms(dtype):
    """A target that one atom writes exactly leaves no residual; every atom is still taken at most once."""
    wanted, rows = problem(6, 90, 24)
    rows[10:20] = rows[3]
    rows[30] = 0
    wanted[0], wanted[1], wanted[2] = rows[3], 2 * rows[50], torch.zeros(24)
    indices, coefficients = orthogonal_matching_pursuit(wanted, rows, 8, dtype=dtype)
    assert all(len(set(row.tolist())) == 8 for row in indices)
    assert indices[0, 0] == 3 and indices[1, 0] == 50
    assert torch.isfinite(coefficients[3:]).all()
    fitted = torch.einsum("bk,bkd->bd", coefficients[3:], rows[indices[3:]])
    assert (fitted - wanted[3:]).norm() < wanted[3:].norm()


def test_a_processor_that_rounds_worse_is_noticed(monkeypatch):
    honest = Screen.score

    def careless(self, queries, buffer, **options):
        scores = honest(self, queries, buffer, **options)
        noise = 1 + 0.3 * torch.rand(scores.values.shape, generator=torch.Generator().manual_seed(0))
        scores.values.mul_(noise.to(scores.values.dtype))
        scores.maxima.copy_(scores.values.amax(dim=0).float())
        return scores

    monkeypatch.setattr(Screen, "score", careless)
    wanted, rows = problem(10, 150, 48)
    indices, _ = orthogonal_matching_pursuit(wanted, rows, 5, dtype=torch.bfloat16)
    assert [row.tolist() for row in indices] == [naive(target, rows, 5)[0] for target in wanted]


def test_mixture_holds_source_ids():
    wanted, rows = problem(4, 50, 16)
    ids = np.arange(50, dtype=np.int64)[::-1] * 3
    mixture = pursuit_mixture(wanted, rows, ids, 5)
    indices, coefficients = orthogonal_matching_pursuit(wanted, rows, 5)
    assert mixture.counts.tolist() == [5] * 4
    assert np.array_equal(mixture.source_ids.reshape(4, 5), ids[indices.numpy()])
    assert np.allclose(mixture.coefficients.reshape(4, 5), coefficients.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_mergekit(dtype):
    omp = pytest.importorskip("mergekit.tokensurgeon.omp", reason="mergekit is not installed")
    wanted, rows = problem(60, 2500, 96, spread=0.3)
    indices, coefficients = orthogonal_matching_pursuit(wanted, rows, 24, dtype=dtype)
    theirs, their_coefficients = omp.batch_omp(wanted, rows, 24)
    assert torch.equal(indices, theirs)
    assert torch.allclose(coefficients, their_coefficients, rtol=1e-3, atol=1e-4)
