"""The losses: cross-lingual optimization, the baselines it is compared with, and its ablations. Pure functions.

A row is a prompt with the answer in its language (chosen) and the answer in the other language (rejected). An item of
English and a target language gives two rows. A loss is a sum over rows, so that a batch may be computed in pieces: what
it is divided by, tokens and items of the whole batch, is known beforehand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch.nn import functional

Counted = Literal["target", "both", "none"]
"""The chosen answers whose likelihood is a term of the loss."""


@dataclass(frozen=True, slots=True)
class AnswerLogs:
    """Log-probabilities of answers, nats, summed over an answer's tokens; all `[rows]`.

    Attributes:
        chosen: Of the answer in the prompt's language.
        rejected: Of the answer in the other language; None where the objective compares nothing.
        chosen_reference: The same under the initial model; None without a reference.
        rejected_reference: The same under the initial model; None without a reference.
        chosen_tokens: Tokens of the answers.
        rejected_tokens: Tokens of the answers; None where the objective compares nothing.
        target: Whether the prompt is in the target language, bool.
    """

    chosen: torch.Tensor
    rejected: torch.Tensor | None
    chosen_reference: torch.Tensor | None
    rejected_reference: torch.Tensor | None
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor | None
    target: torch.Tensor


@dataclass(frozen=True, slots=True)
class Terms:
    """The parts of the loss, a value a row.

    Attributes:
        likelihood: Negative log-likelihood of counted answers, nats, summed over tokens; 0 for others. `[rows]`.
        preference: What comparing the answers costs. `[rows]`.
        margin: What is to be positive, beta included; None without a comparison. `[rows]`.
    """

    likelihood: torch.Tensor
    preference: torch.Tensor
    margin: torch.Tensor | None


Preference = Callable[[AnswerLogs, float], tuple[torch.Tensor, torch.Tensor]]
"""From the log-probabilities and beta to cost and margin, `[rows]` each."""


def dpo(logs: AnswerLogs, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare answers by how much likelier they became: `-log sigmoid(beta (D(chosen) - D(rejected)))`.

    `D(y|x) = log pi(y|x) - log pi_ref(y|x)`; without a reference D is the log-probability itself (our choice).

    Args:
        logs: Log-probabilities.
        beta: Scale of the margin.

    Returns:
        Cost and margin.
    """
    chosen, rejected = _gains(logs)
    margin = beta * (chosen - rejected)
    return -functional.logsigmoid(margin), margin


def dpo_normalised(logs: AnswerLogs, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare as `dpo` does, with each answer's D divided by its number of tokens.

    Args:
        logs: Log-probabilities.
        beta: Scale of the margin; wants to be larger than `dpo`'s by about an answer's length.

    Returns:
        Cost and margin.
    """
    chosen, rejected = _gains(logs)
    if logs.rejected_tokens is None:
        raise ValueError("no rejected answers")
    margin = beta * (chosen / logs.chosen_tokens - rejected / logs.rejected_tokens)
    return -functional.logsigmoid(margin), margin


def odds_ratio(logs: AnswerLogs, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare as ORPO does (arXiv 2403.07691): `-log sigmoid(log odds(chosen) - log odds(rejected))`.

    Odds are those of the mean probability of a token, `p / (1 - p)` with `log p` the mean over the answer.

    Args:
        logs: Log-probabilities; the reference plays no part.
        beta: Scale of the margin; 1 in the paper.

    Returns:
        Cost and margin.
    """
    if logs.rejected is None or logs.rejected_tokens is None:
        raise ValueError("no rejected answers")
    chosen = _log_odds(logs.chosen / logs.chosen_tokens)
    margin = beta * (chosen - _log_odds(logs.rejected / logs.rejected_tokens))
    return -functional.logsigmoid(margin), margin


@dataclass(frozen=True, slots=True)
class Objective:
    """What a training minimises: `share` times the likelihood term and `1 - share` times the comparison.

    Attributes:
        counted: The answers whose likelihood counts.
        preference: How answers are compared; None compares nothing.
        reference: Whether the comparison needs the initial model's log-probabilities.
        share: Weight of the likelihood term where the user gives none.
        beta: Scale of the margin where the user gives none.
        about: What it is, for the help.
    """

    counted: Counted
    preference: Preference | None
    reference: bool
    share: float
    beta: float
    about: str


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "clo": Objective("target", dpo, True, 0.5, 0.1, "the paper's: likelihood of target answers only"),
        "clo-both": Objective("both", dpo, True, 0.5, 0.1, "ablation: likelihood of English answers too"),
        "clo-normalised": Objective("target", dpo_normalised, True, 0.5, 5.0, "margins a token"),
        "clo-free": Objective("target", dpo, False, 0.5, 0.1, "no reference model"),
        "sft": Objective("target", None, False, 1.0, 0.0, "likelihood of target answers"),
        "sft-both": Objective("both", None, False, 1.0, 0.0, "likelihood of both languages' answers"),
        "dpo": Objective("none", dpo, True, 0.0, 0.1, "the comparison alone"),
        "orpo": Objective("both", odds_ratio, False, 10 / 11, 1.0, "odds ratios, no reference model"),
    }
)
"""Every objective by name. Shares and betas are our choice, as the paper gives none; ORPO's are its lambda of 0.1."""


def compute_terms(objective: Objective, logs: AnswerLogs, beta: float) -> Terms:
    """Compute the parts of an objective's loss.

    Args:
        objective: From `OBJECTIVES`.
        logs: Log-probabilities of the rows.
        beta: Scale of the margin.

    Returns:
        The parts.
    """
    zeros = torch.zeros_like(logs.chosen)
    counts = {
        "target": logs.target,
        "both": torch.ones_like(logs.target),
        "none": torch.zeros_like(logs.target),
    }
    likelihood = torch.where(counts[objective.counted], -logs.chosen, zeros)
    if objective.preference is None:
        return Terms(likelihood, zeros, None)
    cost, margin = objective.preference(logs, beta)
    return Terms(likelihood, cost, margin)


def combine(terms: Terms, *, share: float, tokens: int, items: int) -> torch.Tensor:
    """Return the rows' part of the batch's loss; the parts of all its pieces add up to the loss.

    `share * (sum of nats) / tokens + (1 - share) * (sum over both directions) / items`: the mean over all counted
    tokens of the batch, and the mean over items of the sum of both directions (our choice; the paper does not say).

    Args:
        terms: Of some rows of the batch.
        share: Weight of the likelihood term, the paper's lambda.
        tokens: Tokens of counted answers in the whole batch.
        items: Items in the whole batch.

    Returns:
        A scalar.
    """
    return share * terms.likelihood.sum() / max(1, tokens) + (1 - share) * terms.preference.sum() / items


def counted_tokens(objective: Objective, english: int, target: int) -> int:
    """Return how many tokens of an item the likelihood term counts.

    Args:
        objective: From `OBJECTIVES`.
        english: Tokens of the English answer.
        target: Tokens of the target answer.

    Returns:
        The number.
    """
    return {"target": target, "both": english + target, "none": 0}[objective.counted]


def _gains(logs: AnswerLogs) -> tuple[torch.Tensor, torch.Tensor]:
    if logs.rejected is None:
        raise ValueError("no rejected answers")
    if logs.chosen_reference is None or logs.rejected_reference is None:
        return logs.chosen, logs.rejected
    return logs.chosen - logs.chosen_reference, logs.rejected - logs.rejected_reference


def _log_odds(mean: torch.Tensor) -> torch.Tensor:
    """`log(p / (1 - p))` from `log p` below 0; exact near 0, where `1 - p` would be lost."""
    return mean - torch.log(-torch.expm1(mean.clamp(max=-1e-6)))
