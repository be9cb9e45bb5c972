"""`--method auto`: the method with the smallest error on held-out anchors."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.errors import ConfigError, TransferError
from lingraft.tokenizers.overlap import VocabularyMatch
from lingraft.tokenizers.splitting import split_without_itself
from lingraft.vocabulary.initializers import INITIALIZERS
from lingraft.vocabulary.problem import TransferProblem

CANDIDATES = ("fused", "salt", "salt-safe", "focus", "clp", "sava", "omp", "subword-mean", "mean")
HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 1000


def choose_method(problem: TransferProblem) -> tuple[str, str]:
    """Hold out a tenth of the overlap, predict its rows by every usable method, and take the best.

    Our choice: the error is the squared distance to the true rows over their variance, so that 1 is what the mean row
    would score. It is a proxy: the order of methods by likelihood after training can differ.

    Args:
        problem: The transfer to be made.

    Returns:
        The method's name, and the reason with each method's error.

    Raises:
        ConfigError: No candidate can run on these inputs.
    """
    trial, truth_ids = held_out_problem(problem)
    truth = problem.source_input[torch.from_numpy(truth_ids)].float()
    variance = float((truth - truth.mean(dim=0)).square().sum())
    errors: dict[str, float] = {}
    for name in CANDIDATES:
        try:
            rule = INITIALIZERS[name](trial)
        except TransferError:
            continue
        out = torch.zeros(len(problem.target_pieces), truth.shape[1])
        rule.fill("input", problem.source_input, out)
        predicted = out[torch.from_numpy(trial.new_ids)]
        error = float((predicted - truth).square().sum()) / max(variance, 1e-30)
        if math.isfinite(error):
            errors[name] = error
    if not errors:
        raise ConfigError("no method can run on these inputs", "an overlap or a donor", "name a --method")
    best = min(errors, key=lambda name: errors[name])
    table = ", ".join(
        f"{name} {error:.3f}" for name, error in sorted(errors.items(), key=lambda item: item[1])
    )
    return best, (
        f"smallest error on {len(truth_ids)} held-out shared tokens (squared error over variance: {table})"
    )


def held_out_problem(problem: TransferProblem) -> tuple[TransferProblem, NDArray[np.int64]]:
    """A problem whose new tokens are shared tokens with known rows, and their source ids.

    The held-out tokens are hidden from the overlap and from `fused`'s wider anchors, and split as they would be if the
    source did not have them.

    Args:
        problem: The transfer to be made.

    Returns:
        The problem of predicting known rows, and the `[n]` source ids of these rows.

    Raises:
        ConfigError: Fewer than 20 shared tokens.
    """
    ordinary = np.nonzero(~problem.match.by_role)[0]
    if len(ordinary) < 20:
        raise ConfigError(
            f"only {len(ordinary)} shared tokens to validate on",
            "at least 20 for --method auto",
            "name a --method",
        )
    generator = np.random.default_rng(problem.seed)
    count = min(MOST_HELD_OUT, max(2, int(len(ordinary) * HELD_OUT_SHARE)))
    held = np.sort(generator.choice(ordinary, size=count, replace=False))
    match, source_ids = problem.match, problem.match.source_ids[held]
    # Twins of a held-out token (several target tokens may share a source row) would give its row away.
    kept = np.nonzero(match.by_role | ~np.isin(match.source_ids, source_ids))[0]
    trial = replace(
        problem,
        match=VocabularyMatch(match.target_ids[kept], match.source_ids[kept], match.by_role[kept]),
        new_ids=match.target_ids[held],
        held_out_source_ids=source_ids,
        known_splits=split_without_itself(source_ids, problem.source_tokenizer),
        neighbour_cache={},
        # The shift trades the rows' own error for likelihood; here the rows are judged.
        final_states=None,
    )
    return trial, source_ids
