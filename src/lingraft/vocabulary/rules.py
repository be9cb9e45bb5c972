"""What the initialisers share: checks, draws for tokens without vectors, and the rule a mixture makes."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.errors import TransferError
from lingraft.vocabulary.mixtures import Mixture, row_blocks
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem

DRAW_OFFSETS: Mapping[Matrix, int] = {"input": 0, "output": 1, "bias": 2}
"""Each matrix has draws of its own: equal noise in input and output rows would make them look related."""


def require_overlap(found: int, needed: int, method: str) -> None:
    """Refuse an overlap on which the method cannot be fitted.

    Args:
        found: Shared tokens with vectors.
        needed: How many the method needs.
        method: Its name, for the message.

    Raises:
        TransferError: Fewer than `needed` shared tokens have the vectors that the method needs.
    """
    if found < needed:
        raise TransferError(
            f"only {found} shared tokens with vectors",
            f"at least {needed} for {method}",
            "use a tokenizer or donor that shares more tokens with the model, or a method without regression"
            " such as subword-mean",
        )


def draw_seed(problem: TransferProblem, which: Matrix) -> int:
    """Seed of the draws for one matrix."""
    return problem.seed * len(DRAW_OFFSETS) + DRAW_OFFSETS[which]


def fill_missing(
    problem: TransferProblem, rows: NDArray[np.int64], which: Matrix, source_matrix: Tensor, out: Tensor
) -> None:
    """Draw the new tokens that are not among `rows` (positions in `new_ids`), as SALT and FOCUS draw.

    Each column comes from a normal with the source column's mean and standard deviation.
    """
    missing = np.setdiff1d(problem.new_ids, problem.new_ids[rows], assume_unique=True)
    if not len(missing):
        return
    generator = torch.Generator().manual_seed(draw_seed(problem, which))
    mean, deviation = source_matrix.float().mean(dim=0), source_matrix.float().std(dim=0)
    for _, ids in row_blocks(missing):
        noise = torch.randn(len(ids), source_matrix.shape[1], generator=generator)
        out[ids] = noise.mul_(deviation).add_(mean).to(out.dtype)


def spread(rows: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """`[count]` array with `values` at `rows` and NaN elsewhere."""
    full = np.full(count, np.nan)
    full[rows] = values
    return full


def known_rule(
    problem: TransferProblem,
    rows: NDArray[np.int64],
    fill_rows: Callable[[Matrix, Tensor, Tensor], None],
    *,
    origin: str,
    neighbours: NDArray[np.int64] | int,
    residual: NDArray[np.float64] | None = None,
    notes: Mapping[str, float | int | str] | None = None,
) -> Rule:
    """A rule that fills `rows` by `fill_rows` and draws the others, with the count of those drawn in its notes."""
    count = len(problem.new_ids)

    def fill(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        fill_missing(problem, rows, which, source_matrix, out)
        fill_rows(which, source_matrix, out)

    origins = np.full(count, "drawn", dtype="<U16")
    origins[rows] = origin
    sizes = np.zeros(count, np.int64)
    sizes[rows] = neighbours
    residuals = np.full(count, np.nan) if residual is None else spread(rows, residual, count)
    return Rule(fill, origins, sizes, residuals, {"without_vector": count - len(rows), **(notes or {})})


def mixture_rule(
    problem: TransferProblem,
    rows: NDArray[np.int64],
    mixture: Mixture,
    origin: str,
    residual: NDArray[np.float64] | None = None,
    notes: Mapping[str, float | int | str] | None = None,
) -> Rule:
    """The rule of a mixture with one row for each of `rows`."""

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        mixture.fill(source_matrix, out, problem.new_ids[rows])

    return known_rule(
        problem,
        rows,
        fill_rows,
        origin=origin,
        neighbours=mixture.counts,
        residual=residual,
        notes=notes,
    )
