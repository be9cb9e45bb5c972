"""SALT's regression (section 3), without ever forming its `[h_t, h_s]` map.

The paper computes `X = pinv(E'_t) E'_s` from the k neighbours' donor rows `E'_t [k, h_t]` and source rows
`E'_s [k, h_s]`, and takes `e X` as the new row. Since `e pinv(E'_t) E'_s = c E'_s` with `c` the minimum-norm least
squares solution of `E'_t^T c = e`, a k-by-k system gives `c`, and `c` serves every source matrix.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.progress import track
from lingraft.vocabulary.mixtures import alike_together
from lingraft.vocabulary.neighbours import Neighbours

ENTRY_BUDGET = 2**20
"""Float64 donor entries gathered at once: 8 MiB stay in the cache between the steps of a batch."""
WIDTH_STEP = 8
"""Supports are padded to a multiple of this, so that tokens of like size are solved together."""
CONDITION_FLOOR = 1e-8
"""Below this ratio of squared Cholesky pivots the Gram system is too ill-conditioned; then the pinv is taken."""
CANCELLED = 1e-6
"""Squared residuals below this share of the terms that they are the sum of have lost digits, and are made anew."""


def minimum_norm_coefficients(
    new_donor_rows: Tensor, anchor_donor_rows: Tensor, neighbours: Neighbours, *, ridge: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients `c` of the SALT regression for every new token, batched by support size.

    The pseudo-inverse's cutoff is `max(k, h_t) * eps` of float64 relative to the largest singular value, and all
    of it runs in float64: our choice, the paper states neither.

    Args:
        new_donor_rows: `[n_new, h_t]` donor vectors of the tokens to regress.
        anchor_donor_rows: `[n_anchors, h_t]` donor vectors of the anchors.
        neighbours: Each token's anchors; their weights are not used, as in the paper.
        ridge: Added to the diagonal of the k-by-k Gram matrix, relative to its mean diagonal; 0 as published.

    Returns:
        `[n_entries]` coefficients aligned with `neighbours.indices`, and `[n_new]` relative residuals
        `|e - c E'_t| / |e|`.
    """
    counts = neighbours.counts
    coefficients = np.zeros(len(neighbours.indices))
    residuals = np.full(len(counts), np.nan)
    donors, targets = anchor_donor_rows.cpu(), new_donor_rows.cpu()
    for rows in track(_batches(neighbours, donors.shape[1]), description="regression"):
        lanes = np.arange(int(counts[rows].max()))
        mask = lanes < counts[rows][:, None]
        entries = np.where(mask, neighbours.offsets[rows][:, None] + lanes, 0)
        chosen = torch.from_numpy(neighbours.indices[entries])
        # The target is the last row, so that one product gives the Gram matrix, the right side and the norm.
        system = torch.empty(len(rows), len(lanes) + 1, donors.shape[1], dtype=torch.float64)
        system[:, :-1] = donors.index_select(0, chosen.reshape(-1)).view(*chosen.shape, -1)
        system[:, -1] = targets[torch.from_numpy(rows)]
        solved, residual = _solve(system, torch.from_numpy(mask), ridge)
        residuals[rows] = residual.numpy()
        coefficients[entries[mask]] = solved.numpy()[mask]
    return coefficients, residuals


def _batches(neighbours: Neighbours, width: int) -> list[NDArray[np.int64]]:
    """Rows grouped by padded support size, each group within the entry budget, rows with common anchors together."""
    padded = -(-neighbours.counts // WIDTH_STEP) * WIDTH_STEP
    order = alike_together(neighbours.offsets, neighbours.indices)
    batches: list[NDArray[np.int64]] = []
    for size in np.unique(padded[padded > 0]):
        rows = order[padded[order] == size]
        step = max(1, ENTRY_BUDGET // int(size * width))
        batches += [rows[start : start + step] for start in range(0, len(rows), step)]
    return batches


def _solve(system: Tensor, mask: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """`[b, k]` coefficients and `[b]` relative residuals of systems `[b, k + 1, h_t]`, the last row the target."""
    products = torch.bmm(system, system.transpose(1, 2))
    both = mask.unsqueeze(1) & mask.unsqueeze(2)
    gram = torch.where(both, products[:, :-1, :-1], 0.0)
    wanted = torch.where(mask, products[:, :-1, -1], 0.0).unsqueeze(-1)
    regular = gram.clone() if ridge else gram
    diagonal = torch.diagonal(regular, dim1=1, dim2=2)
    if ridge:
        diagonal += ridge * diagonal.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
    # A padded lane has no row; a pivot like the largest on its diagonal leaves the others' solution alone, and looks
    # neither tiny nor huge.
    padding = (~mask) * diagonal.amax(dim=1, keepdim=True)
    diagonal += padding
    factor, failed = torch.linalg.cholesky_ex(regular)
    pivots = torch.diagonal(factor, dim1=1, dim2=2).square()
    # More anchors than dimensions cannot be independent, whatever the pivots' rounding errors look like.
    unsafe = (failed > 0) | ~(pivots.amin(dim=1) > CONDITION_FLOOR * pivots.amax(dim=1))
    if ridge == 0:
        unsafe |= mask.sum(dim=1) > system.shape[2]
    solved = torch.cholesky_solve(wanted, factor).squeeze(-1) * mask
    if bool(unsafe.any()):
        rows = system[unsafe, :-1] * mask[unsafe].unsqueeze(-1)
        solved[unsafe] = _pinv_solve(rows, system[unsafe, -1]) * mask[unsafe]
    return solved, _residuals(system, solved, gram, wanted, products[:, -1, -1])


def _residuals(system: Tensor, solved: Tensor, gram: Tensor, wanted: Tensor, square: Tensor) -> Tensor:
    """`[b]` relative residuals, from `|e|^2 - 2 c b + c G c` where that keeps its digits."""
    column = solved.unsqueeze(-1)
    gradient = torch.matmul(gram, column) - 2 * wanted
    left = square + torch.bmm(column.transpose(1, 2), gradient).view(-1)
    scale = square.sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    residuals = left.clamp(min=0).sqrt() / scale
    lengths = torch.diagonal(gram, dim1=1, dim2=2).sqrt()
    largest_term = square + (solved.abs() * lengths).sum(dim=1).square()
    lost = ~(left > CANCELLED * largest_term)
    if bool(lost.any()):
        fitted = torch.bmm(solved[lost].unsqueeze(1), system[lost, :-1]).squeeze(1)
        residuals[lost] = (system[lost, -1] - fitted).norm(dim=1) / scale[lost]
    return residuals


def _pinv_solve(anchors: Tensor, targets: Tensor) -> Tensor:
    """`e pinv(E'_t)` by singular value decomposition, `[b, k]`."""
    return torch.bmm(targets.unsqueeze(1), torch.linalg.pinv(anchors)).squeeze(1)
