"""Whether words that co-occur in a corpus are those that a model translates directly.

Two answers from the same counts: how well the number of documents with both words tells direct translations from those
by way of a pivot (area under the ROC curve), and how it goes along with the contrastive score (correlations). What is
correlated is log(1 + documents), which is our choice, as most words of a small corpus never meet.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError
from lingraft.pivots.behaviour import COOCCURRENCE, PIVOT
from lingraft.reports.intervals import Estimate

FEWEST = 10
"""With fewer observations, or fewer of either behaviour, a bootstrap interval is much too narrow; none is given."""
RESAMPLES = 2000

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float | None]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What co-occurrence says about behaviour and score.

    Attributes:
        auc: Chance that a direct translation's words meet in more documents than a pivot translation's, ties counting
            half; None where one of the behaviours does not occur.
        pearson: Correlation of log(1 + documents) with the score; None without scores, or where one is constant.
        spearman: Of their ranks; None likewise.
        words: How many words of each behaviour were counted.
        scored: How many words the correlations rest on.
        never_together: Share of words whose pair occurs in no document.
        missing: Words that were traced and not counted, and so left out.
    """

    auc: Estimate | None
    pearson: Estimate | None
    spearman: Estimate | None
    words: dict[str, int]
    scored: int
    never_together: float
    missing: int

    def as_json(self) -> dict[str, Any]:
        """Return everything, JSON-able."""
        return asdict(self)


def mid_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Rank values from 1; equal ones share the mean of their ranks.

    Args:
        values: `[n]`.

    Returns:
        `[n]`.
    """
    numbers = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks


def roc_auc(positive: ArrayLike, values: ArrayLike) -> float | None:
    """Area under the ROC curve by ranks (Mann and Whitney), ties counting half.

    Args:
        positive: `[n]`, which should have the higher values.
        values: `[n]`.

    Returns:
        The area, 0 to 1; None where all or none are positive.
    """
    wanted = np.asarray(positive, dtype=np.bool_)
    above, below = int(wanted.sum()), int((~wanted).sum())
    if not above or not below:
        return None
    return float((mid_ranks(values)[wanted].sum() - above * (above + 1) / 2) / (above * below))


def pearson(first: ArrayLike, second: ArrayLike) -> float | None:
    """Pearson's correlation.

    Args:
        first: `[n]`.
        second: `[n]`.

    Returns:
        From -1 to 1; None where one of both is constant, or with fewer than two observations.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    left, right = left - left.mean(), right - right.mean()
    return float(np.clip(left @ right / np.sqrt((left @ left) * (right @ right)), -1, 1))


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's correlation: Pearson's of the mid-ranks.

    Args:
        first: `[n]`.
        second: `[n]`.

    Returns:
        From -1 to 1; None where one of both is constant, or with fewer than two observations.
    """
    return pearson(mid_ranks(first), mid_ranks(second))


def auc_interval(
    positive: ArrayLike,
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """Area under the ROC curve with a bootstrap interval over words, drawn within each behaviour (our choice).

    Args:
        positive: `[n]`, which should have the higher values.
        values: `[n]`.
        confidence: Share of resamples inside the interval.
        resamples: How many times words are drawn.
        seed: Of the drawing.

    Returns:
        The area; without an interval where a behaviour has fewer than `FEWEST` words; None where one has no word.
    """
    wanted = np.asarray(positive, dtype=np.bool_)
    numbers = np.asarray(values, dtype=np.float64)
    area = roc_auc(wanted, numbers)
    if area is None:
        return None
    groups = np.flatnonzero(wanted), np.flatnonzero(~wanted)
    if min(map(len, groups)) < FEWEST:
        return Estimate(area, None, None, len(numbers))
    generator = np.random.default_rng(seed)
    order = np.concatenate(groups)
    labels = wanted[order]

    def draw() -> float | None:
        picks = np.concatenate([group[generator.integers(len(group), size=len(group))] for group in groups])
        return roc_auc(labels, numbers[picks])

    return _with_interval(area, [draw() for _ in range(resamples)], confidence, len(numbers))


def correlation_interval(
    statistic: Statistic,
    first: ArrayLike,
    second: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """A correlation with a bootstrap interval over words.

    Args:
        statistic: `pearson` or `spearman`.
        first: `[n]`.
        second: `[n]`.
        confidence: Share of resamples inside the interval.
        resamples: How many times words are drawn.
        seed: Of the drawing.

    Returns:
        The correlation; without an interval for fewer than `FEWEST` words; None where one of both is constant.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    value = statistic(left, right)
    if value is None:
        return None
    if len(left) < FEWEST:
        return Estimate(value, None, None, len(left))
    generator = np.random.default_rng(seed)

    def draw() -> float | None:
        picks = generator.integers(len(left), size=len(left))
        return statistic(left[picks], right[picks])

    return _with_interval(value, [draw() for _ in range(resamples)], confidence, len(left))


def _with_interval(value: float, drawn: list[float | None], confidence: float, observations: int) -> Estimate:
    # A resample may be constant, and then has no correlation.
    there = [item for item in drawn if item is not None]
    if len(there) < len(drawn) / 2:
        return Estimate(value, None, None, observations)
    tail = (1 - confidence) / 2
    low, high = np.quantile(there, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), observations)


def attribute(
    counts: Path,
    traces: Path,
    *,
    scores: Path | None = None,
    words_only: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Attribution, pa.Table]:
    """Join counts, traces and scores by word pair.

    Args:
        counts: `counts.parquet` of `pivots count`.
        traces: `traces.parquet` of `pivots trace`; rows at the first target token are used.
        scores: `scores.parquet` of `pivots score`, or None.
        words_only: Take the behaviour of words, `behaviour_of_words`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        What came out, and the joined table: `source_word`, `target_word`, `behaviour`, `both`, `score` (NaN where
        there is none).

    Raises:
        ConfigError: A file is no such table, or no word is in all of them.
    """
    counted = _by_pair(counts, "both")
    behaviour = "behaviour_of_words" if words_only else "behaviour"
    labels = _by_pair(traces, behaviour, first_position=True)
    scored = {} if scores is None else _by_pair(scores, "score")
    pairs = [pair for pair in labels if pair in counted]
    if not pairs:
        raise ConfigError(
            f"none of the {len(labels)} pairs of {traces} is in {counts}",
            "the pairs that were traced to be counted",
            "count the words of the same task",
        )
    both = np.array([counted[pair] for pair in pairs], dtype=np.float64)
    label = np.array([labels[pair] for pair in pairs])
    score = np.array([scored.get(pair, np.nan) for pair in pairs], dtype=np.float64)
    judged, known = np.isin(label, (COOCCURRENCE, PIVOT)), np.isfinite(score)
    logs = np.log1p(both)
    found = Attribution(
        auc=auc_interval(label[judged] == COOCCURRENCE, logs[judged], resamples=resamples, seed=seed),
        pearson=correlation_interval(pearson, logs[known], score[known], resamples=resamples, seed=seed),
        spearman=correlation_interval(spearman, logs[known], score[known], resamples=resamples, seed=seed),
        words={
            str(name): int(number) for name, number in zip(*np.unique(label, return_counts=True), strict=True)
        },
        scored=int(known.sum()),
        never_together=float((both == 0).mean()),
        missing=len(labels) - len(pairs),
    )
    table = pa.table(
        {
            "source_word": [source for source, _ in pairs],
            "target_word": [target for _, target in pairs],
            "behaviour": label.tolist(),
            "both": both.astype(np.int64),
            "score": score,
        }
    )
    return found, table


def _by_pair(path: Path, column: str, *, first_position: bool = False) -> Mapping[tuple[str, str], Any]:
    """Read one column of a table by word pair; a pair that comes again keeps its first row."""
    names = ["source_word", "target_word", column] + (["position"] if first_position else [])
    try:
        table = pq.read_table(path, columns=names)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as a table: {str(error).splitlines()[0][:160]}",
            f"a parquet file with the columns {', '.join(names)}",
            "give the file that the other verb wrote",
        ) from error
    if missing := set(names) - set(table.column_names):
        raise ConfigError(
            f"{path} without the column {', '.join(sorted(missing))}",
            f"the columns {', '.join(names)}",
            "give the file that the other verb wrote",
        )
    found: dict[tuple[str, str], Any] = {}
    for row in table.to_pylist():
        if not first_position or row["position"] == 0:
            found.setdefault((row["source_word"], row["target_word"]), row[column])
    return found
