"""Do two languages' rows belong together? Shifted, dropped and shuffled rows, found without a model."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lingraft.patching.alignment_evidence import SHARED, SPREADS, columns_of, weigh

_BREAK = 9.0
"""Nats of evidence that a change of shift must be worth."""
_START = 6.0
"""Nats that a first row without its partner must be worth."""
_CLEAR = 6.0
"""Nats for rows being together, below which nothing is certain."""
_BEFORE = 5.0
"""Nats by which a break may lie earlier than where it is likeliest."""
_MANY = 40
"""Rows that are enough to expect evidence of any translations."""
_LEAST = 0.2
"""Nats a row that so many translations bring at least; real ones brought 0.46 and more."""
_MARGIN = 4
"""Rows before the likeliest break that are not trusted in any case."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows with the same shift.

    Attributes:
        first: The first row, from 0.
        rows: How many.
        shift: Row i of the donor belongs to row i + shift of the receiver; None where no partner near is found.
        evidence: Nats for this against the rows being paired as they stand.
    """

    first: int
    rows: int
    shift: int | None
    evidence: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """Whether rows belong together.

    Attributes:
        aligned: Nothing speaks against it.
        certain: There is enough evidence for what `aligned` says.
        rows: Rows of the donor and of the receiver.
        first_row: The first suspicious row, from 0, as an estimate; None where rows belong together.
        shift: How far most of the rows that are not together are shifted, see `Segment`; None where there are none,
            or where no shift fits.
        trusted_rows: How many rows from the first on belong together with near certainty.
        segments: The file's parts, in order.
        summary: The finding in a line.
    """

    aligned: bool
    certain: bool
    rows: tuple[int, int]
    first_row: int | None
    shift: int | None
    trusted_rows: int
    segments: tuple[Segment, ...]
    summary: str


def check_alignment(
    donor: Sequence[str],
    receiver: Sequence[str],
    *,
    donor_answers: Sequence[Sequence[str | int]] | None = None,
    receiver_answers: Sequence[Sequence[str | int]] | None = None,
    most_shift: int = 8,
) -> Alignment:
    """Find whether rows of two languages are translations of each other (our own method).

    Each row is weighed against the rows about its place in the other file by lengths, numbers, words spelt alike,
    question marks and repeated lines (`alignment_evidence`); the likeliest way through the file is the one of most
    evidence in all, where every change of shift costs 9 nats. Numbers of right options are compared row by row where
    all rows have them.

    What it cannot tell: a break in the last few rows (two to six, by how much the rows differ); a change among rows of
    equal length without numbers, names and repeats; a single row with another's text; two rows exchanged. Few rows
    leave it uncertain (`certain` is False): three of GlobalOpinionQA, or twenty-five of XCOPA's short lines. A file in
    quite another order, and a shift beyond `most_shift`, read as rows without a partner.

    Args:
        donor: Prompts of one language, one a row.
        receiver: Prompts of the other.
        donor_answers: The donor's right options, by number, for each row.
        receiver_answers: The receiver's.
        most_shift: The largest shift looked for.

    Returns:
        The finding.
    """
    if not donor or not receiver:
        return Alignment(False, True, (len(donor), len(receiver)), 0, None, 0, (), "a file without rows")
    evidence = weigh(*columns_of(donor, receiver), most_shift)
    path, weights = _likeliest(evidence.fixed, evidence.lengths, evidence.words, most_shift)
    segments = _segments(path, weights, most_shift)
    total = float(weights[:, most_shift].sum())
    first, shift = _break(segments)
    trusted = len(path) if first is None else _trusted(first, path[first], weights, most_shift)
    said = _describe(segments)
    if first is None and len(path) >= _MANY and total < _LEAST * len(path):
        first, trusted = 0, 0
        said = f"nothing in {len(path)} rows shows that they belong together"
    wrong = _answers_part(donor_answers, receiver_answers)
    if wrong is not None:
        said += f"; right options differ in {wrong[1]} of {wrong[2]} rows"
        if first is None or wrong[0] < first:
            first, shift, trusted = wrong[0], None, min(trusted, max(0, wrong[0] - _MARGIN))
    if len(donor) != len(receiver):
        said = f"{len(donor)} and {len(receiver)} rows; {said}"
        first = min(len(donor), len(receiver)) - 1 if first is None else first
        trusted = min(trusted, first)
    aligned, certain = first is None, first is not None or total >= _CLEAR
    rows = len(donor), len(receiver)
    return Alignment(aligned, certain, rows, first, shift, trusted, segments, said)


def _likeliest(
    fixed: NDArray[np.float64], lengths: NDArray[np.float64], words: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best path over all settings of the two free parameters, with the weights that gave it."""
    best: tuple[float, NDArray[np.int64], NDArray[np.float64]] | None = None
    for spread in range(len(SPREADS)):
        for share in range(len(SHARED)):
            nearby = fixed + lengths[spread] + words[share]
            # The last state is a row without a partner: by definition no evidence either way.
            weights = np.concatenate([nearby, np.zeros((len(nearby), 1))], axis=1)
            worth, path = _viterbi(weights, most)
            if best is None or worth > best[0]:
                best = worth, path, weights
    assert best is not None
    return best[1], best[2]


def _viterbi(weights: NDArray[np.float64], home: int) -> tuple[float, NDArray[np.int64]]:
    rows, states = weights.shape
    worth = weights[0] - _START
    worth[home] += _START
    came = np.zeros((rows, states), dtype=np.int64)
    own = np.arange(states)
    for row in range(1, rows):
        jump = int(worth.argmax())
        changed = worth[jump] - _BREAK
        came[row] = np.where(worth >= changed, own, jump)
        worth = np.maximum(worth, changed) + weights[row]
    path = np.zeros(rows, dtype=np.int64)
    path[-1] = int(worth.argmax())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return float(worth.max()), path


def _segments(path: NDArray[np.int64], weights: NDArray[np.float64], most: int) -> tuple[Segment, ...]:
    gain = weights[np.arange(len(path)), path] - weights[:, most]
    starts = [0, *(int(row) for row in np.flatnonzero(np.diff(path)) + 1), len(path)]
    return tuple(
        Segment(
            first=begin,
            rows=end - begin,
            shift=None if path[begin] == 2 * most + 1 else int(path[begin]) - most,
            evidence=float(gain[begin:end].sum()),
        )
        for begin, end in itertools.pairwise(starts)
    )


def _break(segments: Sequence[Segment]) -> tuple[int | None, int | None]:
    """Where the first rows without their partners are, and the shift of most of such rows."""
    apart = [segment for segment in segments if segment.shift != 0]
    if not apart:
        return None, None
    return apart[0].first, max(apart, key=lambda segment: segment.rows).shift


def _trusted(first: int, state: int, weights: NDArray[np.float64], most: int) -> int:
    """Rows before the earliest where the break may well be."""
    earliest, lost = first, 0.0
    for row in range(first - 1, -1, -1):
        lost += float(weights[row, most] - weights[row, state])
        if lost < _BEFORE:
            earliest = row
        elif lost > 4 * _BEFORE:
            break
    return max(0, min(earliest, first - _MARGIN))


def _answers_part(
    donor: Sequence[Sequence[str | int]] | None, receiver: Sequence[Sequence[str | int]] | None
) -> tuple[int, int, int] | None:
    """First row, number and all of the rows from where right options differ too often to be the same questions."""
    if donor is None or receiver is None:
        return None
    pairs = list(zip(donor, receiver, strict=False))
    if not all(len(side) == 1 and isinstance(side[0], int) for pair in pairs for side in pair):
        return None
    equal = np.array([one[0] == other[0] for one, other in pairs])
    # Translated labels agree; labels of other rows as often as chance has it, and a third at least is assumed.
    evidence = np.where(equal, math.log(0.98 / 0.5), math.log(0.02 / 0.5))
    after = np.concatenate([np.cumsum(evidence[::-1])[::-1], [0.0]])
    first = int(after.argmin())
    if after[first] > -_BREAK:
        return None
    return first, int((~equal[first:]).sum()), len(equal) - first


def _describe(segments: Sequence[Segment]) -> str:
    parts = []
    for segment in segments[:4]:
        last = segment.first + segment.rows - 1
        where = f"rows {segment.first} to {last}"
        if segment.shift is None:
            parts.append(f"{where} without a partner")
        else:
            parts.append(f"{where} shifted by {segment.shift:+d}" if segment.shift else f"{where} together")
    more = f", and {len(segments) - 4} parts more" if len(segments) > 4 else ""
    return ", ".join(parts) + more
