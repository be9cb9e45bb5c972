"""A shift of new rows so that the model's first guesses follow the corpus's unigram frequencies. Our choice.

New output rows come with logits of any height; until training has learnt each token's frequency, that is most of the
loss. A bias would mend it, and most heads have none; but the final states share a large mean, so a step along one
direction of the rows acts as a bias. The direction is the mean state whitened by the states' second moment, which
changes the mean logit by one and other logits least.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.vocabulary.mixtures import row_blocks
from lingraft.vocabulary.problem import FinalStates, Initializer, Matrix, Rule, TransferProblem

REGULARISATION = 0.1
"""Share of the mean eigenvalue added to the second moment before it is inverted."""
SMOOTHING = 0.5
"""Added to each count: an unseen token is rarer than one seen once, not impossible."""


@dataclass(frozen=True, slots=True)
class UnigramShift:
    """What shifts the new rows.

    Attributes:
        mean_state: `[h]` mean of the model's final states, after the last norm.
        direction: `[h]` with `direction @ mean_state = 1`.
        log_frequencies: `[V_t]` of the corpus, smoothed.
        shared_target_ids: Tokens that keep their rows, which set the level.
        shared_source_ids: Their source ids.
        shared_weights: Their counts in the corpus.
        tied: Whether the input matrix is also the head.
    """

    mean_state: Tensor
    direction: Tensor
    log_frequencies: NDArray[np.float64]
    shared_target_ids: NDArray[np.int64]
    shared_source_ids: NDArray[np.int64]
    shared_weights: NDArray[np.float64]
    tied: bool

    def applies_to(self, which: Matrix) -> bool:
        """Only the rows that make logits are shifted."""
        return which == ("input" if self.tied else "output")

    def apply(self, source_matrix: Tensor, out: Tensor, new_ids: NDArray[np.int64]) -> None:
        """Shift `out[new_ids]` so that their logits at the mean state stand as far apart as their frequencies."""
        shared = source_matrix[torch.from_numpy(self.shared_source_ids)].float() @ self.mean_state
        level = float(
            np.average(
                shared.double().numpy() - self.log_frequencies[self.shared_target_ids],
                weights=self.shared_weights,
            )
        )
        for block, ids in row_blocks(new_ids):
            rows = out[ids].float()
            wanted = torch.from_numpy(self.log_frequencies[new_ids[block]] + level).float()
            rows += (wanted - rows @ self.mean_state).unsqueeze(1) * self.direction
            out[ids] = rows.to(out.dtype)


def unigram_shift(problem: TransferProblem) -> UnigramShift | None:
    """The shift for a problem with corpus counts and final states; None without them or without a shared token."""
    states, counts = problem.final_states, problem.target_counts
    ordinary = ~problem.match.by_role
    if states is None or counts is None or not counts[problem.match.target_ids[ordinary]].any():
        return None
    return UnigramShift(
        mean_state=states.mean,
        direction=whitened_direction(states),
        log_frequencies=np.log((counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts))),
        shared_target_ids=problem.match.target_ids[ordinary],
        shared_source_ids=problem.match.source_ids[ordinary],
        shared_weights=counts[problem.match.target_ids[ordinary]].astype(np.float64),
        tied=states.tied,
    )


def whitened_direction(states: FinalStates) -> Tensor:
    """`[h]` direction with unit effect on the mean logit and the least effect on others, in mean square."""
    moment = states.second_moment.double()
    moment = moment + REGULARISATION * torch.trace(moment) / len(moment) * torch.eye(len(moment))
    raw = torch.linalg.solve(moment, states.mean.double())
    direction: Tensor = raw / (raw @ states.mean.double())
    return direction.float()


def shifted(initializer: Initializer) -> Initializer:
    """The initialiser with its new rows shifted; without a corpus or final states it stays as it is, and says so."""

    def shifted_initializer(problem: TransferProblem) -> Rule:
        rule = initializer(problem)
        shift = unigram_shift(problem)

        def fill(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
            rule.fill(which, source_matrix, out)
            if shift is not None and shift.applies_to(which):
                shift.apply(source_matrix.float(), out, problem.new_ids)

        note = "applied" if shift is not None else "not applied: no corpus or no final states"
        return replace(rule, fill=fill, notes={**rule.notes, "unigram_shift": note})

    return shifted_initializer
