"""Rules that go by the donor's space alone: CLP-Transfer, SAVA and matching pursuit."""

import numpy as np
import torch
from torch import Tensor

from lingraft.vocabulary.mixtures import row_blocks
from lingraft.vocabulary.neighbours import unit_rows
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem
from lingraft.vocabulary.pursuit import pursuit_mixture
from lingraft.vocabulary.rules import known_rule, mixture_rule, require_overlap

OMP_ATOMS = 64
"""Sparsity of `omp`, as published (arXiv 2506.06607)."""


def clp(problem: TransferProblem) -> Rule:
    """CLP-Transfer: average of all overlapping source rows, weighted by cosine in the donor's space.

    The weights `cos / sum(cos)` make this linear in the token's unit vector, so one `[h_t, h_s]` product serves
    every token and no weight matrix is formed.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No donor, or an empty overlap.
    """
    donor = problem.require_donor("clp")
    target_ids, source_ids = problem.shared_ordinary(donor.target_anchors)
    require_overlap(len(source_ids), 1, "clp")
    rows = np.nonzero(donor.target_known[problem.new_ids])[0]
    anchors = unit_rows(donor.target[target_ids])
    units = unit_rows(donor.target[problem.new_ids[rows]])
    totals = (units.double() @ anchors.sum(dim=0, dtype=torch.float64)).float().unsqueeze(1)
    # A token whose cosines cancel has no direction to go by; it takes the plain average.
    lost = totals.abs() < 1e-6 * len(source_ids)

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        shared = source_matrix[torch.from_numpy(source_ids)].float()
        weighted, average = anchors.T @ shared, shared.mean(dim=0)
        for block, ids in row_blocks(problem.new_ids[rows]):
            values = (units[block] @ weighted) / totals[block]
            out[ids] = torch.where(lost[block], average, values).to(out.dtype)

    notes = {"cancelling_weights": int(lost.sum())}
    return known_rule(problem, rows, fill_rows, origin="averaged", neighbours=len(source_ids), notes=notes)


def sava(problem: TransferProblem) -> Rule:
    """SAVA: one global linear map from donor rows to source rows, least squares over all anchors, no bias.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No donor, or fewer anchors than the donor is wide.
    """
    donor = problem.require_donor("sava")
    target_ids, source_ids = problem.shared_ordinary(donor.target_anchors)
    require_overlap(
        len(source_ids), donor.target.shape[1], "sava, whose map has as many rows as the donor is wide"
    )
    rows = np.nonzero(donor.target_known[problem.new_ids])[0]
    anchors = donor.target[target_ids].double()
    # Normal equations: [h_t, h_t] instead of a factorisation of [n_anchors, h_t]; float64 has digits to spare.
    gram = torch.linalg.pinv(anchors.T @ anchors, hermitian=True)

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        linear_map = (gram @ (anchors.T @ source_matrix[torch.from_numpy(source_ids)].double())).float()
        for _, part in row_blocks(problem.new_ids[rows]):
            out[part] = (donor.target[part] @ linear_map).to(out.dtype)

    return known_rule(problem, rows, fill_rows, origin="regressed", neighbours=len(source_ids))


def omp(problem: TransferProblem) -> Rule:
    """Orthogonal matching pursuit (arXiv 2506.06607): k = 64 donor rows, their coefficients on source rows.

    A donor narrower than 64 gives as many atoms as it is wide: these write a row exactly, and the next would only
    fit rounding errors (our choice).

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No donor, or an overlap smaller than k.
    """
    donor = problem.require_donor("omp")
    target_ids, source_ids = problem.shared_ordinary(donor.target_anchors)
    atoms = min(OMP_ATOMS, donor.target.shape[1])
    require_overlap(len(source_ids), atoms, "omp")
    rows = np.nonzero(donor.target_known[problem.new_ids])[0]
    mixture = pursuit_mixture(
        donor.target[problem.new_ids[rows]], donor.target[target_ids], source_ids, atoms
    )
    return mixture_rule(problem, rows, mixture, "regressed")
