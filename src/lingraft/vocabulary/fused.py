"""`fused`, our own: a regression from a token's pieces and its donor vector together to its source row.

Every source token that the donor has too is a labelled example: its row is known, and so is what its text splits into
without it. A kernel regression fitted there predicts the rows of new tokens, and a share of the sub-token mean makes up
for the length that it shrinks away. All of it is our choice; the constants were found on held-out anchors of SmolLM2 x
multilingual-E5-small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.tokenizers.pieces import Piece
from lingraft.vocabulary.mixtures import Mixture, mixture_from_lists, row_blocks
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem
from lingraft.vocabulary.rules import known_rule, require_overlap

PIECE_WEIGHT, DONOR_WEIGHT, SHAPE_WEIGHT = 0.5, 1.0, 0.1
"""Weights of squared distances in the kernel: first and last piece each, donor vector, word start and length each."""
BANDWIDTHS = (0.5, 1.0, 2.0)
RIDGES = (0.03, 0.1, 0.3)
"""What the held-out fold chooses among: a factor on all weights, and what is added to the kernel's diagonal."""
SUBWORD_SHARE = 0.3
"""Share of the centred sub-token mean added to the regression, which alone returns rows that are too short."""
MOST_ANCHORS = 16_384
"""Anchors in the kernel, the source's lowest ids first: those of a BPE vocabulary are the frequent ones. 1 GiB."""
TRIAL_ANCHORS = 8192
MINIMUM_ANCHORS = 64


def fused_plain(problem: TransferProblem) -> Rule:
    """Kernel ridge regression on anchors, from piece rows, donor vector, word start and length to source rows.

    Anchors are all source tokens that the donor's *whole* vocabulary has, not only those of the target vocabulary.
    Bandwidth and ridge are chosen on a held-out fold; spellings of one word (`play`, ` Play`) stay on one side of
    it, since siblings would leak.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No donor, or too few anchors.
    """
    donor = problem.require_donor("fused")
    usable = [place for place, split in enumerate(problem.anchor_splits) if len(split)][:MOST_ANCHORS]
    anchors = problem.donor_anchors[usable]
    require_overlap(len(anchors), MINIMUM_ANCHORS, "fused")
    splits = problem.splits
    rows = np.array([row for row, split in enumerate(splits) if len(split)], dtype=np.int64)
    rows = rows[donor.target_known[problem.new_ids[rows]]]
    new_ids = problem.new_ids[rows]
    features = _Features(
        problem,
        anchors,
        [problem.anchor_splits[place] for place in usable],
        new_ids,
        [splits[row] for row in rows],
    )
    bandwidth, ridge, error = _choose(problem, features)
    kernel = _Kernel(features, bandwidth, ridge)
    share = _share_of_subwords([splits[row] for row in rows])

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        matrix = source_matrix.float()
        average = matrix.mean(dim=0)
        share.fill(matrix - average, out, new_ids)
        weights = kernel.fit(matrix[torch.from_numpy(anchors)] - average)
        for block, ids in row_blocks(new_ids, 1024):
            regressed = kernel.between(block) @ weights
            out[ids] = (average + regressed + out[ids].float()).to(out.dtype)

    notes = {
        "anchors": len(anchors),
        "bandwidth": bandwidth,
        "ridge": ridge,
        "held_out_error": error,
    }
    counts = np.array([len(splits[row]) for row in rows], dtype=np.int64)
    return known_rule(problem, rows, fill_rows, origin="regressed", neighbours=counts, notes=notes)


@dataclass(frozen=True)
class _Features:
    """The kernel's coordinates of anchors and new tokens, scaled by the anchors' mean squared length."""

    problem: TransferProblem
    anchors: NDArray[np.int64]
    anchor_splits: list[NDArray[np.int64]]
    new_ids: NDArray[np.int64]
    new_splits: list[NDArray[np.int64]]

    @cached_property
    def both(self) -> tuple[Tensor, Tensor]:
        """`[anchors, f]` and `[new, f]`; squared distance in them is the kernel's exponent at bandwidth 1."""
        problem, donor = self.problem, self.problem.require_donor("fused")
        matrix = problem.source_input.float()
        ours, theirs = [], []
        for place in (0, -1):
            pair = (
                _piece_rows(matrix, self.anchor_splits, place),
                _piece_rows(matrix, self.new_splits, place),
            )
            scaled = _scaled(*pair, centre=matrix.mean(dim=0), weight=PIECE_WEIGHT)
            ours.append(scaled[0])
            theirs.append(scaled[1])
        anchor_donor = donor.source[torch.from_numpy(self.anchors)]
        new_donor = donor.target[torch.from_numpy(self.new_ids)]
        scaled = _scaled(anchor_donor, new_donor, centre=anchor_donor.mean(dim=0), weight=DONOR_WEIGHT)
        ours += [scaled[0], _shape(problem.source_pieces, self.anchors)]
        theirs += [scaled[1], _shape(problem.target_pieces, self.new_ids)]
        return torch.cat(ours, dim=1), torch.cat(theirs, dim=1)


class _Kernel:
    """Gaussian kernel over the features, factorised once for all matrices."""

    def __init__(self, features: _Features, bandwidth: float, ridge: float) -> None:
        self.anchors, self.new = (side * bandwidth**0.5 for side in features.both)
        self.ridge = ridge

    @cached_property
    def factor(self) -> Tensor:
        """`[anchors, anchors]` Cholesky factor."""
        kernel = gaussian(self.anchors, self.anchors)
        kernel.diagonal().add_(self.ridge)
        factor: Tensor = torch.linalg.cholesky(kernel)
        return factor

    def fit(self, wanted: Tensor) -> Tensor:
        """`[anchors, w]` dual weights for the centred rows `wanted [anchors, w]`."""
        return torch.cholesky_solve(wanted, self.factor)

    def between(self, block: slice) -> Tensor:
        """`[block, anchors]` kernel of some new tokens and all anchors."""
        return gaussian(self.new[block], self.anchors)


def gaussian(left: Tensor, right: Tensor) -> Tensor:
    """`[n, m]` of exp(-|a - b|^2), in place where it can be: the matrix is the largest thing around."""
    squares: Tensor = left @ right.T
    squares.mul_(2).sub_(left.square().sum(dim=1, keepdim=True)).sub_(right.square().sum(dim=1))
    return squares.clamp_(max=0).exp_()


def _choose(problem: TransferProblem, features: _Features) -> tuple[float, float, float]:
    """Bandwidth and ridge with the smallest squared error on a held-out fold, and that error over the variance."""
    anchors = features.anchors
    order = np.random.default_rng(problem.seed).permutation(len(anchors))[:TRIAL_ANCHORS]
    groups = [_spelling(problem, int(token_id)) for token_id in anchors[order]]
    held_groups = set(sorted(set(groups))[::5])
    held = np.array([group in held_groups for group in groups])
    if held.all() or not held.any():
        return 1.0, RIDGES[1], float("nan")
    matrix = problem.source_input.float()
    rows = matrix[torch.from_numpy(anchors[order])] - matrix.mean(dim=0)
    points = features.both[0][torch.from_numpy(order)]
    train, test = torch.from_numpy(~held), torch.from_numpy(held)
    variance = float(rows[test].square().sum())
    scores: dict[tuple[float, float], float] = {}
    for bandwidth in BANDWIDTHS:
        scaled = points * bandwidth**0.5
        kernel, cross = gaussian(scaled[train], scaled[train]), gaussian(scaled[test], scaled[train])
        for ridge in RIDGES:
            factor = torch.linalg.cholesky(kernel + ridge * torch.eye(len(kernel)))
            predicted = cross @ torch.cholesky_solve(rows[train], factor)
            scores[bandwidth, ridge] = float((predicted - rows[test]).square().sum()) / max(variance, 1e-30)
    best = min(scores, key=lambda key: scores[key])
    return *best, scores[best]


def _spelling(problem: TransferProblem, source_id: int) -> str:
    piece = problem.source_pieces[source_id]
    return "" if piece is None else piece.text.casefold()


def _share_of_subwords(splits: list[NDArray[np.int64]]) -> Mixture:
    """The sub-token mean, scaled by its share."""
    plain = mixture_from_lists(splits)
    return Mixture(plain.offsets, plain.source_ids, plain.coefficients * SUBWORD_SHARE)


def _piece_rows(matrix: Tensor, splits: list[NDArray[np.int64]], place: int) -> Tensor:
    ids = [int(split[place]) for split in splits]
    return matrix[torch.tensor(ids, dtype=torch.int64)]


def _scaled(anchors: Tensor, new: Tensor, *, centre: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Both sides centred, and scaled so that the anchors' mean squared length is the weight."""
    size: Tensor = (anchors - centre).square().sum(dim=1).mean().clamp(min=1e-30).sqrt()
    return (anchors - centre) * (weight**0.5 / size), (new - centre) * (weight**0.5 / size)


def _shape(pieces: Sequence[Piece | None], ids: NDArray[np.int64]) -> Tensor:
    """`[n, 2]` word start as +1 or -1 and log of the length in bytes, weighted."""
    rows = []
    for token_id in ids:
        piece = pieces[token_id]
        start, length = (piece.word_start, len(piece.content)) if piece is not None else (False, 0)
        rows.append([1.0 if start else -1.0, float(np.log(max(1, length)))])
    shapes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)
    return shapes * float(SHAPE_WEIGHT**0.5)
