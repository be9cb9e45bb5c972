"""`fused`, our own: a regression from a token's pieces and its donor vector together to its source row.

Every source token that the donor has too is a labelled example: its row is known, and so is what its text splits
into without it. The map fitted there predicts the rows of new tokens. All of it is our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.vocabulary.mixtures import mixture_from_lists
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem
from lingraft.vocabulary.rules import known_rule, require_overlap

RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Ridges tried by cross-validation, on features of unit variance."""
FOLDS = 4
MINIMUM_ANCHORS = 64


@dataclass(frozen=True, slots=True)
class _Features:
    """Standardising statistics of the anchors' features, applied to new tokens alike."""

    mean: Tensor
    scale: Tensor

    def apply(self, features: Tensor) -> Tensor:
        standard = (features - self.mean) / self.scale
        return torch.cat([standard, torch.ones(len(features), 1)], dim=1)


def fused(problem: TransferProblem) -> Rule:
    """Ridge regression on anchors, from piece rows, donor vector and length to the residual of the sub-token mean.

    Anchors are all source tokens that the donor's *whole* vocabulary has, not only those of the target vocabulary.
    The ridge is chosen by cross-validation over anchors.

    Raises:
        TransferError: No donor, or too few anchors.
    """
    donor = problem.require_donor("fused")
    anchors, anchor_splits = _usable(problem.donor_anchors, problem.anchor_splits)
    require_overlap(len(anchors), MINIMUM_ANCHORS, "fused")
    rows = np.array(
        [
            row
            for row, split in enumerate(problem.splits)
            if len(split) and donor.target_known[problem.new_ids[row]]
        ],
        dtype=np.int64,
    )
    splits = [problem.splits[row] for row in rows]
    anchor_side = _Side(
        anchor_splits, donor.source[torch.from_numpy(anchors)], _lengths(problem.source_pieces, anchors)
    )
    new_ids = problem.new_ids[rows]
    new_side = _Side(
        splits, donor.target[torch.from_numpy(new_ids)], _lengths(problem.target_pieces, new_ids)
    )
    ridge, error = _choose_ridge(anchor_side, problem.source_input, anchors, problem.seed)

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        matrix = source_matrix.float()
        weights, standard = _fit(anchor_side, matrix, anchors, ridge)
        features, base = new_side.features(matrix)
        out[torch.from_numpy(new_ids)] = (standard.apply(features) @ weights + base).to(out.dtype)

    return known_rule(
        problem,
        rows,
        fill_rows,
        origin="regressed",
        neighbours=np.array([len(split) for split in splits], dtype=np.int64),
        notes={"anchors": len(anchors), "ridge": ridge, "held_out_error": error},
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """What the regression sees of a set of tokens."""

    splits: list[NDArray[np.int64]]
    donor: Tensor
    lengths: Tensor

    def features(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """`[n, f]` features, and `[n, h]` the sub-token means that the regression corrects."""
        base = torch.zeros(len(self.splits), matrix.shape[1])
        mixture_from_lists(self.splits).fill(matrix, base, np.arange(len(self.splits)))
        first = matrix[torch.tensor([int(split[0]) for split in self.splits])]
        last = matrix[torch.tensor([int(split[-1]) for split in self.splits])]
        pieces = torch.tensor([[float(len(split))] for split in self.splits])
        return torch.cat([base, first, last, self.donor, self.lengths, pieces.log()], dim=1), base


def _usable(
    ids: NDArray[np.int64], splits: list[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    keep = [place for place, split in enumerate(splits) if len(split)]
    return ids[keep], [splits[place] for place in keep]


def _lengths(pieces: Sequence[object], ids: NDArray[np.int64]) -> Tensor:
    """`[n, 2]` log byte length and word-start flag."""
    rows = []
    for token_id in ids:
        piece = pieces[token_id]
        content, start = getattr(piece, "content", b""), getattr(piece, "word_start", False)
        rows.append([float(np.log1p(len(content))), float(start)])
    return torch.tensor(rows).reshape(-1, 2)


def _fit(side: _Side, matrix: Tensor, anchors: NDArray[np.int64], ridge: float) -> tuple[Tensor, _Features]:
    features, base = side.features(matrix)
    standard = _Features(features.mean(dim=0), features.std(dim=0).clamp(min=1e-6))
    design = standard.apply(features).double()
    wanted = (matrix[torch.from_numpy(anchors)] - base).double()
    return _ridge_solve(design.T @ design, design.T @ wanted, ridge), standard


def _ridge_solve(gram: Tensor, moment: Tensor, ridge: float) -> Tensor:
    penalty = torch.full((len(gram),), ridge, dtype=torch.float64)
    penalty[-1] = 0
    solved: Tensor = torch.linalg.solve(gram + torch.diag(penalty + 1e-9), moment)
    return solved.float()


def _choose_ridge(side: _Side, matrix: Tensor, anchors: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """The ridge with the smallest error on held-out anchors, and that error relative to the rows' variance."""
    matrix = matrix.float()
    features, base = side.features(matrix)
    standard = _Features(features.mean(dim=0), features.std(dim=0).clamp(min=1e-6))
    design, wanted = standard.apply(features), matrix[torch.from_numpy(anchors)] - base
    rows = matrix[torch.from_numpy(anchors)]
    variance = float((rows - rows.mean(dim=0)).square().sum())
    fold = np.random.default_rng(seed).permutation(len(anchors)) % FOLDS
    errors = dict.fromkeys(RIDGES, 0.0)
    for held in range(FOLDS):
        train, test = torch.from_numpy(fold != held), torch.from_numpy(fold == held)
        gram = (design[train].T @ design[train]).double()
        moment = (design[train].T @ wanted[train]).double()
        for ridge in RIDGES:
            predicted = design[test] @ _ridge_solve(gram, moment, ridge)
            errors[ridge] += float((predicted - wanted[test]).square().sum())
    best = min(errors, key=lambda ridge: errors[ridge])
    return best, errors[best] / variance
