"""Orthogonal matching pursuit of donor rows over shared donor rows (arXiv 2506.06607), batched.

Greedy: the atom with the largest absolute inner product with the residual joins the support, and the residual is
projected off everything chosen so far. Finding that atom is a matrix product with all atoms in each of the k rounds
and takes nearly all the time, so the atoms are screened (see `screening`) and the few that can be the best are
compared in float64.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.progress import track
from lingraft.vocabulary.mixtures import Mixture
from lingraft.vocabulary.screening import Candidates, Screen, fastest_dtype

MOST_HITS = 256
"""A target with more columns above its cut is compared with all atoms in float64."""
PLAIN_ROWS = 32
"""Targets compared with all atoms at once."""


def orthogonal_matching_pursuit(
    targets: Tensor, atoms: Tensor, k: int, *, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy k-sparse approximation of each target by the atoms.

    Of atoms that fit equally well, the first is taken.

    Args:
        targets: `[b, d]` float32.
        atoms: `[n, d]` float32, n >= k; not normalised, as published.
        k: Atoms a target.
        dtype: In which inner products are screened, bfloat16 or float32; None takes the one that is faster here.

    Returns:
        `[b, k]` int64 indices in the order of choice, and `[b, k]` float32 least squares coefficients.
    """
    targets, atoms = targets.cpu().float(), atoms.cpu().float()
    screen = Screen(atoms.double(), fastest_dtype() if dtype is None else dtype)
    indices = torch.empty(len(targets), k, dtype=torch.int64)
    coefficients = torch.empty(len(targets), k)
    buffer = screen.buffer(min(screen.chunk, len(targets)))
    starts = range(0, len(targets), screen.chunk)
    for start in track(starts, description="matching pursuit", total=len(starts)):
        part = slice(start, start + screen.chunk)
        indices[part], coefficients[part] = _pursue(targets[part], atoms, screen, buffer, k)
    return indices, coefficients


def _pursue(targets: Tensor, atoms: Tensor, screen: Screen, buffer: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """One batch: the search and the growing orthonormal basis `[b, k, d]` with its triangle `[b, k, k]`."""
    count, width = targets.shape
    basis = torch.zeros(count, k, width)
    triangle = torch.zeros(count, k, k)
    chosen = torch.zeros(count, k, dtype=torch.int64)
    residual = targets.clone()
    for turn in range(k):
        chosen[:, turn] = _best_atom(residual.double(), screen, buffer, chosen[:, :turn])
        atom = atoms[chosen[:, turn]]
        length = atom.norm(dim=1)
        direction, shares = _project_off(atom, basis[:, :turn])
        triangle[:, :turn, turn] = shares
        # What cancels in one pass of Gram-Schmidt leaves rounding errors behind, which a second takes away.
        again = direction.norm(dim=1) < 0.5 * length
        if turn and bool(again.any()):
            direction[again], shares = _project_off(direction[again], basis[again, :turn])
            triangle[again, :turn, turn] += shares
        rest = direction.norm(dim=1).clamp(min=1e-8)
        triangle[:, turn, turn] = rest
        direction /= rest.unsqueeze(-1)
        basis[:, turn] = direction
        residual -= (residual * direction).sum(dim=1, keepdim=True) * direction
    shares = torch.bmm(basis, targets.unsqueeze(-1))
    return chosen, torch.linalg.solve_triangular(triangle, shares, upper=True).squeeze(-1)


def _project_off(vectors: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """`[b, d]` vectors without their parts in `basis [b, t, d]`, and these parts' `[b, t]` coordinates."""
    shares = torch.bmm(basis, vectors.unsqueeze(-1))
    return vectors - torch.bmm(shares.transpose(1, 2), basis).squeeze(1), shares.squeeze(-1)


def _best_atom(residual: Tensor, screen: Screen, buffer: Tensor, taken: Tensor) -> Tensor:
    """`[b]` index of the untaken atom with the largest absolute inner product with the residual `[b, d]` float64."""
    scores = screen.score(residual, buffer, magnitude=True)
    top = scores.maxima.amax(dim=1, keepdim=True)
    cut = screen.cut(screen.lower(top, scores.slack).squeeze(1), scores.slack)
    hits = scores.maxima >= cut.unsqueeze(1)
    hits[hits.sum(dim=1) > MOST_HITS] = False
    found = screen.select(scores, cut, hits)
    exact = screen.products(residual, found).abs_()
    best = _first_largest(found, exact, len(residual))
    # A taken atom can stand among the largest only when next to nothing is left of the residual.
    plain = best < 0
    plain[found.queries[_is_taken(found, taken)]] = True
    if not screen.within_bound(found, exact, scores.slack):
        plain[:] = True
    for rows in torch.split(plain.nonzero().squeeze(1), PLAIN_ROWS):
        products = (residual[rows] @ screen.exact.T).abs_()
        best[rows] = products.scatter_(1, taken[rows], -1.0).argmax(dim=1)
    return best


def _is_taken(found: Candidates, taken: Tensor) -> Tensor:
    """`[n]` whether a candidate is among its query's atoms `taken [b, t]`."""
    return (found.rows.unsqueeze(1) == taken[found.queries]).any(dim=1)


def _first_largest(found: Candidates, values: Tensor, count: int) -> Tensor:
    """`[count]` the row of each query's largest value, the lowest of equals; -1 for a query without candidates."""
    largest = torch.full((count,), -1.0, dtype=values.dtype)
    largest.scatter_reduce_(0, found.queries, values, "amax")
    equal = values == largest[found.queries]
    best = torch.full((count,), torch.iinfo(torch.int64).max)
    best.scatter_reduce_(0, found.queries[equal], found.rows[equal], "amin")
    return torch.where(largest < 0, -1, best)


def pursuit_mixture(targets: Tensor, atoms: Tensor, atom_source_ids: NDArray[np.int64], k: int) -> Mixture:
    """The pursuit's coefficients as a mixture over source ids."""
    indices, coefficients = orthogonal_matching_pursuit(targets, atoms, k)
    return Mixture(
        np.arange(len(targets) + 1, dtype=np.int64) * k,
        atom_source_ids[indices.numpy().reshape(-1)],
        coefficients.double().numpy().reshape(-1),
    )
