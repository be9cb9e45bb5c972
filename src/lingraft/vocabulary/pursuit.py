"""Orthogonal matching pursuit of donor rows over shared donor rows (arXiv 2506.06607), batched.

Greedy: the atom with the largest absolute inner product with the residual joins the support, and the residual is
projected off everything chosen so far. Finding that atom is a matrix product with all atoms in each of the k rounds
and takes nearly all the time. Where the processor multiplies bfloat16 faster, that product is made in bfloat16 and
only nominates: the best few by it are compared in full precision, so the choice is that of full precision unless
more than `NOMINEES` atoms lie within bfloat16's rounding of the best.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.progress import track
from lingraft.vocabulary.mixtures import Mixture

BATCH = 512
"""Targets pursued together."""
ATOM_BLOCK = 8192
"""Atoms whose inner products are held at once (512 x 8192 float32 = 16 MiB)."""
NOMINEES = 8


def orthogonal_matching_pursuit(
    targets: Tensor, atoms: Tensor, k: int, *, nominate_in_bfloat16: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy k-sparse approximation of each target by the atoms.

    Args:
        targets: `[b, d]` float32.
        atoms: `[n, d]` float32, n >= k; not normalised, as published.
        k: Atoms a target.
        nominate_in_bfloat16: Search in bfloat16, decide in float32; None picks it where d >= 64.

    Returns:
        `[b, k]` int64 indices in the order of choice, and `[b, k]` float32 least squares coefficients.
    """
    use_bfloat16 = targets.shape[1] >= 64 if nominate_in_bfloat16 is None else nominate_in_bfloat16
    search_atoms = atoms.bfloat16() if use_bfloat16 else atoms
    indices = torch.empty(len(targets), k, dtype=torch.int64)
    coefficients = torch.empty(len(targets), k, dtype=targets.dtype)
    starts = range(0, len(targets), BATCH)
    for start in track(starts, description="matching pursuit", total=len(starts)):
        part = slice(start, start + BATCH)
        indices[part], coefficients[part] = _pursue(targets[part], atoms, search_atoms, k)
    return indices, coefficients


def _pursue(targets: Tensor, atoms: Tensor, search_atoms: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """One batch: the search and the growing orthonormal basis `[b, k, d]` with its triangle `[b, k, k]`."""
    count, width = targets.shape
    basis = torch.zeros(count, k, width, dtype=targets.dtype)
    triangle = torch.zeros(count, k, k, dtype=targets.dtype)
    chosen = torch.zeros(count, k, dtype=torch.int64)
    residual = targets.clone()
    for turn in range(k):
        chosen[:, turn] = _best_atom(residual, atoms, search_atoms, chosen[:, :turn])
        atom = atoms[chosen[:, turn]]
        before = basis[:, :turn]
        # Two passes of Gram-Schmidt keep the basis orthogonal in float32 for any k used here.
        for _ in range(2 if turn else 0):
            shares = torch.bmm(before, atom.unsqueeze(-1))
            atom = atom - torch.bmm(before.transpose(1, 2), shares).squeeze(-1)
            triangle[:, :turn, turn] += shares.squeeze(-1)
        length = atom.norm(dim=1).clamp(min=1e-8)
        triangle[:, turn, turn] = length
        direction = atom / length.unsqueeze(-1)
        basis[:, turn] = direction
        residual = residual - (residual * direction).sum(dim=1, keepdim=True) * direction
    shares = torch.bmm(basis, targets.unsqueeze(-1))
    return chosen, torch.linalg.solve_triangular(triangle, shares, upper=True).squeeze(-1)


def _best_atom(residual: Tensor, atoms: Tensor, search_atoms: Tensor, taken: Tensor) -> Tensor:
    """`[b]` index of the untaken atom with the largest absolute inner product with the residual."""
    nominees = min(NOMINEES, len(atoms)) if search_atoms.dtype != atoms.dtype else 1
    needle = residual.to(search_atoms.dtype)
    values, places = [], []
    for start in range(0, len(atoms), ATOM_BLOCK):
        scores = (needle @ search_atoms[start : start + ATOM_BLOCK].T).abs_()
        inside = (taken >= start) & (taken < start + scores.shape[1])
        row, column = torch.nonzero(inside, as_tuple=True)
        scores[row, taken[row, column] - start] = -1
        best, where = (
            scores.topk(min(nominees, scores.shape[1]), dim=1) if nominees > 1 else scores.max(1, True)
        )
        values.append(best.float())
        places.append(where + start)
    best, where = torch.cat(values, dim=1), torch.cat(places, dim=1)
    if nominees == 1:
        return where.gather(1, best.argmax(dim=1, keepdim=True)).squeeze(1)
    top = best.topk(nominees, dim=1)
    where = where.gather(1, top.indices)
    exact = torch.bmm(atoms[where], residual.unsqueeze(-1)).squeeze(-1).abs_()
    exact.masked_fill_(top.values < 0, -1)
    return where.gather(1, exact.argmax(dim=1, keepdim=True)).squeeze(1)


def pursuit_mixture(targets: Tensor, atoms: Tensor, atom_source_ids: NDArray[np.int64], k: int) -> Mixture:
    """The pursuit's coefficients as a mixture over source ids."""
    indices, coefficients = orthogonal_matching_pursuit(targets, atoms, k)
    return Mixture(
        np.arange(len(targets) + 1, dtype=np.int64) * k,
        atom_source_ids[indices.numpy().reshape(-1)],
        coefficients.double().numpy().reshape(-1),
    )
