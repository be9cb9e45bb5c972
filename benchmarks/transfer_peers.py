"""What Lingraft's vocabulary transfer is timed against: SALT's formula taken literally, and mergekit's pursuit."""

import importlib
import time

import numpy as np
import torch

from lingraft.vocabulary.neighbours import unit_rows
from lingraft.vocabulary.pursuit import orthogonal_matching_pursuit

ATOMS = 64
MERGEKIT_BATCH = 512
"""mergekit's own default, all new tokens at once, would need 34 GB for one matrix of inner products."""


def literal_row(problem, shared, anchors, token):
    """SALT's formula for one token as a reader would write it; `anchors` are the shared tokens' unit vectors."""
    space, donor = problem.auxiliary.target, problem.donor.target
    cosines = (anchors @ (space[token] / space[token].norm())).double()
    ordered, order = torch.sort(cosines, descending=True)
    sums = ordered.cumsum(0)
    size = int((1 + torch.arange(1, len(ordered) + 1) * ordered > sums).sum())
    target_ids, source_ids = (ids[order[:size].numpy()] for ids in shared)
    linear_map = torch.linalg.pinv(donor[target_ids].double()) @ problem.source_input[source_ids].double()
    return donor[token].double() @ linear_map


def time_literal(problem, tokens):
    """Seconds a token (the first one warms up), and the rows."""
    shared = problem.shared_ordinary(problem.auxiliary.target_known & problem.donor.target_known)
    anchors = unit_rows(problem.auxiliary.target[shared[0]])
    rows, seconds = [literal_row(problem, shared, anchors, tokens[0])], []
    for token in tokens[1:]:
        start = time.perf_counter()
        rows.append(literal_row(problem, shared, anchors, token))
        seconds.append(time.perf_counter() - start)
    return float(np.mean(seconds)), torch.stack(rows)


def relative_error(rows, exact):
    return float(((rows.double() - exact).norm(dim=1) / exact.norm(dim=1)).max())


def find_batch_omp():
    try:
        return importlib.import_module("mergekit.tokensurgeon.omp").batch_omp
    except ImportError:
        return None


def pursue_both(problem, tokens, batch_omp):
    """Our seconds and mergekit's for the same targets, batch by batch in turn, and how far they agree."""
    atoms = problem.donor.target[problem.match.target_ids]
    ours = theirs = 0.0
    same, gaps = [], []
    for start in range(0, len(tokens), MERGEKIT_BATCH):
        targets = problem.donor.target[tokens[start : start + MERGEKIT_BATCH]]
        begin = time.perf_counter()
        indices, coefficients = orthogonal_matching_pursuit(targets, atoms, ATOMS)
        ours += time.perf_counter() - begin
        if batch_omp is None:
            continue
        begin = time.perf_counter()
        their_indices, their_coefficients = batch_omp(targets, atoms, ATOMS)
        theirs += time.perf_counter() - begin
        equal = (indices == their_indices).all(dim=1)
        same += equal.tolist()
        gap = (coefficients - their_coefficients).norm(dim=1) / their_coefficients.norm(dim=1)
        gaps += gap[equal].tolist()
    return ours, theirs, (float(np.mean(same)) if same else float("nan")), max(gaps, default=float("nan"))
