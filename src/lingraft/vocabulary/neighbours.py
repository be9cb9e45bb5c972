"""Sparsemax neighbours: for each new token, the anchors that carry weight in a similarity space.

Sparsemax (Martins & Astudillo 2016, section 2) of the cosines to *all* anchors has a small support, so the top few
hundred cosines decide it. The fast path checks that it was right to look no further, and decides in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lingraft.progress import track

CANDIDATES = 256
"""Cosines looked at before widening; real supports average 30 to 70 anchors."""
ROW_CHUNK = 1024
"""New tokens whose cosines are held at once: 1024 x 40,000 anchors is 160 MiB."""
SPARE = 8
"""Candidates past the float32 support that are looked at again in float64."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Weighted anchors of each new token, in compressed rows.

    Attributes:
        offsets: `[n_new + 1]` int64; row r is `indices[offsets[r]:offsets[r + 1]]`.
        indices: `[n_entries]` int64 positions among the anchors, by falling weight.
        weights: `[n_entries]` float64; a row's weights are positive and sum to one.
    """

    offsets: NDArray[np.int64]
    indices: NDArray[np.int64]
    weights: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """`[n_new]` size of each row's support."""
        return np.diff(self.offsets)


def sparsemax(scores: Tensor) -> Tensor:
    """Euclidean projection of each row onto the probability simplex.

    Args:
        scores: `[..., n]` in any float dtype.

    Returns:
        `[..., n]` weights, non-negative, each row summing to one.
    """
    ordered, order = torch.sort(scores, dim=-1, descending=True)
    weights, _ = sparsemax_sorted(ordered)
    return torch.zeros_like(scores).scatter_(-1, order, weights)


def sparsemax_sorted(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Sparsemax of rows that already fall: `[..., n]` weights, and `[...]` sizes of the supports."""
    ranks = torch.arange(1, ordered.shape[-1] + 1, dtype=ordered.dtype, device=ordered.device)
    sums = ordered.cumsum(dim=-1)
    support = (1 + ranks * ordered > sums).sum(dim=-1, keepdim=True)
    threshold = (sums.gather(-1, support - 1) - 1) / support.to(ordered.dtype)
    return (ordered - threshold).clamp_(min=0), support.squeeze(-1)


def unit_rows(vectors: Tensor) -> Tensor:
    """Rows of length one; a zero row stays zero, so its cosines are zero."""
    return functional.normalize(vectors, dim=-1, eps=torch.finfo(vectors.dtype).tiny)


def sparsemax_neighbours(
    new_vectors: Tensor, anchor_vectors: Tensor, *, candidates: int = CANDIDATES
) -> Neighbours:
    """Support and weights of sparsemax over the cosines of every new token to all anchors.

    SALT section 3 and FOCUS section 2 use the same neighbours. The result equals a full float64 sort: a support
    smaller than the candidate set cannot change by looking further, and a row that fills it is looked at again
    with four times as many.

    Args:
        new_vectors: `[n_new, d]` float32 auxiliary vectors of the tokens to initialise.
        anchor_vectors: `[n_anchors, d]` float32 auxiliary vectors of the shared tokens.
        candidates: Cosines kept for each token at first; at least 1.

    Returns:
        Neighbours with positions into `anchor_vectors`.
    """
    new_units, anchor_units = unit_rows(new_vectors.float()), unit_rows(anchor_vectors.float())
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    starts = range(0, len(new_units), ROW_CHUNK)
    for start in track(starts, description="neighbours", total=len(starts)):
        rows = torch.arange(start, min(start + ROW_CHUNK, len(new_units)))
        parts.append(
            _chunk_neighbours(rows, new_units, anchor_units, new_vectors, anchor_vectors, candidates)
        )
    counts = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    return Neighbours(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        indices=np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, np.int64),
        weights=np.concatenate([part[2] for part in parts]) if parts else np.zeros(0, np.float64),
    )


def _chunk_neighbours(
    rows: Tensor,
    new_units: Tensor,
    anchor_units: Tensor,
    new_vectors: Tensor,
    anchor_vectors: Tensor,
    candidates: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Counts, flat indices and flat weights of one chunk of rows."""
    width = min(candidates, len(anchor_units))
    cosines = new_units[rows] @ anchor_units.T
    top, where = cosines.topk(width, dim=-1)
    del cosines
    _, support = sparsemax_sorted(top.double())
    # A row whose support may reach past the candidates is done again, wider, with the other such rows.
    unsure = (
        (support + SPARE > width)
        if width < len(anchor_units)
        else torch.zeros_like(support, dtype=torch.bool)
    )
    counts = torch.zeros(len(rows), dtype=torch.int64)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    sure = torch.nonzero(~unsure).squeeze(-1)
    if len(sure):
        keep = min(int(support[sure].max()) + SPARE, width)
        found.append((sure, *_exact_support(rows[sure], where[sure, :keep], new_vectors, anchor_vectors)))
    again = torch.nonzero(unsure).squeeze(-1)
    if len(again):
        wide = _chunk_neighbours(
            rows[again], new_units, anchor_units, new_vectors, anchor_vectors, candidates * 4
        )
        found.append((again, *_as_padded(*wide)))
    widest = max(index.shape[1] for _, index, _ in found)
    all_indices = torch.zeros(len(rows), widest, dtype=torch.int64)
    all_weights = torch.zeros(len(rows), widest, dtype=torch.float64)
    for place, index, weight in found:
        all_indices[place, : index.shape[1]] = index
        all_weights[place, : weight.shape[1]] = weight
    used = all_weights > 0
    counts = used.sum(dim=-1)
    return counts.numpy(), all_indices[used].numpy(), all_weights[used].numpy()


def _exact_support(
    rows: Tensor, where: Tensor, new_vectors: Tensor, anchor_vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Indices and weights `[n, keep]`, decided by float64 cosines of the kept candidates, 64 rows at a time."""
    indices, weights = torch.empty_like(where), torch.empty(where.shape, dtype=torch.float64)
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        ours = unit_rows(new_vectors[rows[part]].double())
        theirs = unit_rows(anchor_vectors[where[part]].double())
        cosines = torch.bmm(theirs, ours.unsqueeze(-1)).squeeze(-1)
        ordered, order = cosines.sort(dim=-1, descending=True)
        weights[part] = sparsemax_sorted(ordered)[0]
        indices[part] = where[part].gather(-1, order)
    return indices, weights


def _as_padded(
    counts: NDArray[np.int64], indices: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Compressed rows as `[n, widest]` tensors, zero weight where a row is shorter."""
    mask = torch.arange(int(counts.max())) < torch.from_numpy(counts).unsqueeze(-1)
    padded_indices = torch.zeros(mask.shape, dtype=torch.int64)
    padded_weights = torch.zeros(mask.shape, dtype=torch.float64)
    padded_indices[mask] = torch.from_numpy(indices)
    padded_weights[mask] = torch.from_numpy(weights)
    return padded_indices, padded_weights
