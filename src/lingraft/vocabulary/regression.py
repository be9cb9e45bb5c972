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
from lingraft.vocabulary.neighbours import Neighbours

ENTRY_BUDGET = 2**24
"""Float64 donor entries gathered at once (128 MiB)."""
WIDTH_STEP = 8
"""Supports are padded to a multiple of this, so that tokens of like size are solved together."""
CONDITION_FLOOR = 1e-8
"""Below this ratio of squared Cholesky pivots the Gram system is too ill-conditioned; then the pinv is taken."""


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
    width = anchor_donor_rows.shape[1]
    for rows in track(_batches(counts, width), description="regression"):
        padded = int(counts[rows].max())
        lanes = np.arange(padded)
        mask = lanes < counts[rows][:, None]
        entries = np.where(mask, neighbours.offsets[rows][:, None] + lanes, 0)
        anchors = anchor_donor_rows[torch.from_numpy(neighbours.indices[entries])].double()
        anchors *= torch.from_numpy(mask).unsqueeze(-1)
        targets = new_donor_rows[torch.from_numpy(rows)].double()
        solved = _solve(anchors, targets, torch.from_numpy(mask), ridge)
        fitted = torch.bmm(solved.unsqueeze(1), anchors).squeeze(1)
        scale = targets.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        residuals[rows] = ((targets - fitted).norm(dim=1) / scale).numpy()
        coefficients[entries[mask]] = solved.numpy()[mask]
    return coefficients, residuals


def _batches(counts: NDArray[np.int64], width: int) -> list[NDArray[np.int64]]:
    """Rows grouped by padded support size, each group within the entry budget."""
    padded = -(-counts // WIDTH_STEP) * WIDTH_STEP
    batches: list[NDArray[np.int64]] = []
    for size in np.unique(padded[counts > 0]):
        rows = np.nonzero((padded == size) & (counts > 0))[0]
        step = max(1, ENTRY_BUDGET // int(size * width))
        batches += [rows[start : start + step] for start in range(0, len(rows), step)]
    return batches


def _solve(anchors: Tensor, targets: Tensor, mask: Tensor, ridge: float) -> Tensor:
    """`[b, k]` coefficients: Cholesky of the Gram matrix where that is safe, the pseudo-inverse elsewhere."""
    if ridge == 0 and anchors.shape[1] > anchors.shape[2]:
        return _pinv_solve(anchors, targets)
    gram = torch.bmm(anchors, anchors.transpose(1, 2))
    diagonal = torch.diagonal(gram, dim1=1, dim2=2)
    if ridge:
        diagonal += ridge * diagonal.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
    # A padded lane has no row; a one on its diagonal leaves the others' solution alone. Scaling by the
    # largest diagonal keeps that one from looking like a tiny or a huge pivot.
    diagonal += (~mask) * diagonal.amax(dim=1, keepdim=True)
    wanted = torch.bmm(anchors, targets.unsqueeze(-1))
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = torch.diagonal(factor, dim1=1, dim2=2).square()
    unsafe = (failed > 0) | ~(pivots.amin(dim=1) > CONDITION_FLOOR * pivots.amax(dim=1))
    solved = torch.cholesky_solve(wanted, factor).squeeze(-1) * mask
    if bool(unsafe.any()):
        solved[unsafe] = _pinv_solve(anchors[unsafe], targets[unsafe]) * mask[unsafe]
    return solved


def _pinv_solve(anchors: Tensor, targets: Tensor) -> Tensor:
    """`e pinv(E'_t)` by singular value decomposition, `[b, k]`."""
    return torch.bmm(targets.unsqueeze(1), torch.linalg.pinv(anchors)).squeeze(1)
