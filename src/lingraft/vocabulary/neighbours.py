"""Sparsemax neighbours: for each new token, the anchors that carry weight in a similarity space.

Sparsemax (Martins & Astudillo 2016, section 2) of the cosines to *all* anchors has a small support: those above a
threshold. The threshold of any part of the cosines is a lower bound of the threshold of all, so the largest
cosine of each group of anchors bounds it closely, and what lies below need not be looked at. See `screening` for how
the cosines are made fast and the support is decided in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lingraft.progress import track
from lingraft.vocabulary.screening import Candidates, Screen, fastest_dtype

FEW_ANCHORS = 2048
"""Up to this many anchors a float64 product and a full sort cost little."""
SORT_ENTRIES = 2**21
"""Float64 cosines fully sorted at once."""
BOUND_GROUPS = 640
"""Groups whose maxima bound the threshold; real supports average 30 to 70 anchors, so few fall into one group."""
BOUND_TOP = 128
"""Largest group maxima of a row that bound its threshold."""
MOST_HITS = 256
"""A row with more groups above its cut is done again in higher precision, then by a full sort."""


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
    """Sparsemax of rows that already fall: `[..., n]` weights, and `[...]` their thresholds."""
    ranks = torch.arange(1, ordered.shape[-1] + 1, dtype=ordered.dtype, device=ordered.device)
    sums = ordered.cumsum(dim=-1)
    # A row of padding alone, all minus infinity, has no support; its weights become NaN, which none takes for positive.
    support = (1 + ranks * ordered > sums).sum(dim=-1, keepdim=True).clamp_(min=1)
    threshold = (sums.gather(-1, support - 1) - 1) / support.to(ordered.dtype)
    return (ordered - threshold).clamp_(min=0), threshold.squeeze(-1)


def unit_rows(vectors: Tensor) -> Tensor:
    """Rows of length one; a zero row stays zero, so its cosines are zero."""
    return functional.normalize(vectors, dim=-1, eps=torch.finfo(vectors.dtype).tiny)


def sparsemax_neighbours(
    new_vectors: Tensor, anchor_vectors: Tensor, *, dtype: torch.dtype | None = None
) -> Neighbours:
    """Support and weights of sparsemax over the cosines of every new token to all anchors.

    SALT section 3 and FOCUS section 2 use the same neighbours. The result equals a full float64 sort.

    Args:
        new_vectors: `[n_new, d]` auxiliary vectors of the tokens to initialise.
        anchor_vectors: `[n_anchors, d]` auxiliary vectors of the shared tokens; n_anchors >= 1.
        dtype: In which cosines are screened, bfloat16 or float32; None takes the one that is faster here.

    Returns:
        Neighbours with positions into `anchor_vectors`.
    """
    anchors = unit_rows(anchor_vectors.cpu().double())
    screens: list[Screen] = []
    if len(anchors) > FEW_ANCHORS:
        first = fastest_dtype() if dtype is None else dtype
        screens = [Screen(anchors, first)]
    chunk = screens[0].chunk if screens else max(1, SORT_ENTRIES // len(anchors))
    buffer = screens[0].buffer(min(chunk, len(new_vectors))) if screens else None
    parts: list[_Rows] = []
    starts = range(0, len(new_vectors), chunk)
    for start in track(starts, description="neighbours", total=len(starts)):
        units = unit_rows(new_vectors[start : start + chunk].cpu().double())
        if buffer is None:
            parts.append(_sorted_rows(units, anchors))
        else:
            parts.append(_screened_rows(units, screens, 0, buffer))
    found = _joined(parts)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(found.counts)])
    return Neighbours(offsets, found.indices, found.weights)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Supports of some rows: `[rows]` counts, and flat indices and weights."""

    counts: NDArray[np.int64]
    indices: NDArray[np.int64]
    weights: NDArray[np.float64]


def _joined(parts: list[_Rows]) -> _Rows:
    """Rows of all parts, in order."""
    return _Rows(
        np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.indices for part in parts)]),
        np.concatenate([np.zeros(0), *(part.weights for part in parts)]),
    )


def _sorted_rows(units: Tensor, anchors: Tensor) -> _Rows:
    """Supports of `[b, d]` float64 rows by a full sort, a few at a time."""
    parts = []
    step = max(1, SORT_ENTRIES // len(anchors))
    for start in range(0, len(units), step):
        ordered, order = (units[start : start + step] @ anchors.T).sort(dim=-1, descending=True)
        parts.append(_supports(ordered, order))
    return _joined(parts)


def _supports(ordered: Tensor, order: Tensor) -> _Rows:
    """Supports of rows whose cosines fall, in compressed form."""
    weights, _ = sparsemax_sorted(ordered)
    used = weights > 0
    return _Rows(used.sum(dim=-1).numpy(), order[used].numpy(), weights[used].numpy())


def _screened_rows(units: Tensor, screens: list[Screen], level: int, buffer: Tensor) -> _Rows:
    """Supports of `[b, d]` float64 rows by the screen of that level; rows it cannot narrow down go one level up."""
    screen = screens[level]
    scores = screen.score(units, buffer)
    cut = screen.cut(_threshold_bound(scores.maxima, scores.slack, screen), scores.slack)
    hits = scores.maxima >= cut.unsqueeze(1)
    wide = hits.sum(dim=1) > MOST_HITS
    hits[wide] = False
    found = screen.select(scores, cut, hits)
    exact = screen.products(units, found)
    if not screen.within_bound(found, exact, scores.slack):
        return _finer_rows(units, screens, level)
    narrow = _supports(*_padded(found, exact, len(units)))
    if not bool(wide.any()):
        return narrow
    return _merge(narrow, _finer_rows(units[wide], screens, level), wide.numpy())


def _threshold_bound(maxima: Tensor, slack: Tensor, screen: Screen) -> Tensor:
    """`[b]` lower bound of each row's sparsemax threshold, from the group maxima `[b, groups]`."""
    folds = max(1, maxima.shape[1] // BOUND_GROUPS)
    usable = maxima.shape[1] // folds * folds
    # Any part of the cosines gives a lower bound, so the few groups past the last full fold may be left out.
    folded = maxima[:, :usable].view(len(maxima), folds, -1).amax(dim=1)
    top = folded.topk(min(BOUND_TOP, folded.shape[1]), dim=1).values
    return sparsemax_sorted(screen.lower(top, slack))[1]


def _finer_rows(units: Tensor, screens: list[Screen], level: int) -> _Rows:
    """The same rows screened in float32, or fully sorted where that was done."""
    if screens[level].rounded.dtype == torch.float32:
        return _sorted_rows(units, screens[level].exact)
    if len(screens) == level + 1:
        screens.append(Screen(screens[level].exact, torch.float32))
    finer = screens[level + 1]
    buffer = finer.buffer(min(finer.chunk, len(units)))
    parts = [_screened_rows(part, screens, level + 1, buffer) for part in torch.split(units, finer.chunk)]
    return _joined(parts)


def _padded(found: Candidates, exact: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Candidates' exact cosines, falling, and their anchors, as `[count, widest]`; padding is minus infinity."""
    counts = torch.bincount(found.queries, minlength=count)
    lanes = torch.arange(len(found.queries)) - (counts.cumsum(0) - counts)[found.queries]
    shape = (count, max(1, int(counts.max())))
    cosines = torch.full(shape, -torch.inf, dtype=torch.float64)
    anchors = torch.zeros(shape, dtype=torch.int64)
    cosines[found.queries, lanes] = exact
    anchors[found.queries, lanes] = found.rows
    ordered, order = cosines.sort(dim=1, descending=True)
    return ordered, anchors.gather(1, order)


def _merge(narrow: _Rows, finer: _Rows, wide: NDArray[np.bool_]) -> _Rows:
    """Rows in their own order: `finer` holds those marked `wide`, `narrow` all others."""
    counts = narrow.counts.copy()
    counts[wide] = finer.counts
    from_finer = np.repeat(wide, counts)
    indices, weights = np.empty(len(from_finer), np.int64), np.empty(len(from_finer))
    kept = np.repeat(~wide, narrow.counts)
    indices[from_finer], indices[~from_finer] = finer.indices, narrow.indices[kept]
    weights[from_finer], weights[~from_finer] = finer.weights, narrow.weights[kept]
    return _Rows(counts, indices, weights)
