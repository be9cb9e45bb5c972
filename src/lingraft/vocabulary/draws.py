"""Rules that know nothing of the token: Hewitt's normal, and the controls."""

import numpy as np
import torch
from torch import Tensor

from lingraft.vocabulary.mixtures import row_blocks
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem
from lingraft.vocabulary.rules import draw_seed, fill_missing, known_rule


def multivariate(problem: TransferProblem) -> Rule:
    """Draw each row from the normal with the source rows' mean and full covariance (Hewitt)."""

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        mean, root = _mean_and_root(source_matrix)
        generator = torch.Generator().manual_seed(draw_seed(problem, which))
        for _, part in row_blocks(problem.new_ids):
            noise = torch.randn(len(part), len(mean), generator=generator)
            out[part] = (noise @ root + mean).to(out.dtype)

    everything = np.arange(len(problem.new_ids))
    return known_rule(problem, everything, fill_rows, origin="drawn", neighbours=0)


def random(problem: TransferProblem) -> Rule:
    """Control: draw each column on its own, with the source column's mean and standard deviation."""

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        fill_missing(problem, np.zeros(0, np.int64), which, source_matrix, out)

    everything = np.arange(len(problem.new_ids))
    return known_rule(problem, everything, fill_rows, origin="drawn", neighbours=0)


def mean(problem: TransferProblem) -> Rule:
    """Control: every new row is the mean source row."""

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        average = source_matrix.mean(dim=0, dtype=torch.float64)
        out[torch.from_numpy(problem.new_ids)] = average.to(out.dtype)

    everything = np.arange(len(problem.new_ids))
    return known_rule(problem, everything, fill_rows, origin="averaged", neighbours=len(problem.source_input))


def _mean_and_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[w]` and symmetric root `[w, w]` of the rows' covariance, summed in float64 a few rows at a time."""
    mean = matrix.mean(dim=0, dtype=torch.float64)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for _, part in row_blocks(np.arange(len(matrix))):
        centred = matrix[part].double() - mean
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / max(len(matrix) - 1, 1))
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return mean.float(), root.float()
