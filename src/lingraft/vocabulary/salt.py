"""SALT, its guarded variant, and FOCUS: rules over sparsemax neighbours in an auxiliary space."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.vocabulary.mixtures import Mixture, row_blocks
from lingraft.vocabulary.neighbours import Neighbours, sparsemax_neighbours
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem
from lingraft.vocabulary.regression import minimum_norm_coefficients
from lingraft.vocabulary.rules import known_rule, mixture_rule, require_overlap

SAFE_RIDGE = 1e-2
"""`salt-safe`: ridge relative to the Gram matrix's mean diagonal. Our choice."""
SAFE_MINIMUM_SUPPORT = 5
"""`salt-safe`: below this many neighbours the sparsemax average is taken. Our choice."""


def salt(problem: TransferProblem) -> Rule:
    """SALT as published (section 3): regress source rows on donor rows over the sparsemax neighbours.

    No ridge, bias, centring or weighting. Anchors without an auxiliary or a donor vector are dropped, as FOCUS
    drops them, and tokens without either are drawn: our choices, where the paper is silent.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No donor, no auxiliary space, or an overlap too small to regress on.
    """
    rows, target_ids, source_ids, neighbours = _neighbourhood(problem, "salt", needs_donor=True)
    donor = problem.require_donor("salt")
    coefficients, residuals = minimum_norm_coefficients(
        donor.target[problem.new_ids[rows]], donor.target[target_ids], neighbours
    )
    mixture = Mixture(neighbours.offsets, source_ids[neighbours.indices], coefficients)
    return mixture_rule(problem, rows, mixture, "regressed", residuals)


def salt_safe(problem: TransferProblem) -> Rule:
    """SALT with three safeguards, all our choice: ridge, minimum support, norm calibration.

    A token with fewer than five neighbours takes their sparsemax average. Every row is scaled to the weighted mean
    norm of its neighbours' source rows, since the plain regression shrinks norms.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: As for `salt`.
    """
    rows, target_ids, source_ids, neighbours = _neighbourhood(problem, "salt-safe", needs_donor=True)
    donor = problem.require_donor("salt-safe")
    coefficients, residuals = minimum_norm_coefficients(
        donor.target[problem.new_ids[rows]], donor.target[target_ids], neighbours, ridge=SAFE_RIDGE
    )
    few = neighbours.counts < SAFE_MINIMUM_SUPPORT
    coefficients = np.where(np.repeat(few, neighbours.counts), neighbours.weights, coefficients)
    mixture = Mixture(neighbours.offsets, source_ids[neighbours.indices], coefficients)
    average = Mixture(neighbours.offsets, mixture.source_ids, neighbours.weights)

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        mixture.fill(source_matrix, out, problem.new_ids[rows])
        if which != "bias":
            _calibrate_norms(source_matrix, out, problem.new_ids[rows], average)

    rule = known_rule(
        problem,
        rows,
        fill_rows,
        origin="regressed",
        neighbours=mixture.counts,
        residual=np.where(few, np.nan, residuals),
        notes={"ridge": SAFE_RIDGE, "below_minimum_support": int(few.sum())},
    )
    rule.origin[rows[few]] = "averaged"
    return rule


def focus(problem: TransferProblem) -> Rule:
    """FOCUS (section 2): the sparsemax-weighted average of the neighbours' source rows.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No auxiliary space, or an overlap without vectors.
    """
    rows, _, source_ids, neighbours = _neighbourhood(problem, "focus", needs_donor=False)
    mixture = Mixture(neighbours.offsets, source_ids[neighbours.indices], neighbours.weights)
    return mixture_rule(problem, rows, mixture, "averaged")


def _neighbourhood(
    problem: TransferProblem, method: str, *, needs_donor: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Neighbours]:
    """Rows (positions in `new_ids`) with vectors, the anchors' target and source ids, and the rows' neighbours."""
    donor = problem.require_donor(method) if needs_donor else None
    space = problem.require_auxiliary(method)
    known = space.target_known if donor is None else space.target_known & donor.target_known
    anchors = known if donor is None else space.target_known & donor.target_anchors
    target_ids, source_ids = problem.shared_ordinary(anchors)
    require_overlap(len(source_ids), 2, method)
    rows = np.nonzero(known[problem.new_ids])[0]
    # salt, salt-safe and focus share one search; with the same tokens they share one answer.
    key = known.tobytes() + anchors.tobytes()
    if key not in problem.neighbour_cache:
        problem.neighbour_cache[key] = sparsemax_neighbours(
            space.target[problem.new_ids[rows]], space.target[target_ids]
        )
    return rows, target_ids, source_ids, problem.neighbour_cache[key]


def _calibrate_norms(
    source_matrix: Tensor, out: Tensor, new_ids: NDArray[np.int64], average: Mixture
) -> None:
    """Scale each new row to the weighted mean norm of its neighbours' source rows."""
    norms = torch.zeros(len(out), 1)
    average.fill(source_matrix.float().norm(dim=1, keepdim=True), norms, new_ids)
    for _, part in row_blocks(new_ids):
        values = out[part].float()
        lengths = values.norm(dim=1, keepdim=True).clamp(min=1e-12)
        out[part] = (values * (norms[part] / lengths)).to(out.dtype)
