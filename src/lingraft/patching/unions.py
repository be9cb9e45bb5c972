"""How often a union of several tries is right by chance alone, and sampled answers to compare with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Samples:
    """Sampled answers of the unpatched model.

    Attributes:
        instances: Ids.
        correct: bool `[I, S]`, whether each of S samples is right.
    """

    instances: tuple[str, ...]
    correct: NDArray[np.bool_]


def expected_union(right: ArrayLike, pairs: int, tries: int) -> NDArray[np.float64]:
    """Probability that a random subset of the pairs holds a right one (hypergeometric, exact).

    Args:
        right: int `[I]`, how many of an instance's pairs are right.
        pairs: How many there are.
        tries: Size of the subset, from 0 to `pairs`.

    Returns:
        `[I]`: `1 - C(pairs - right, tries) / C(pairs, tries)`.

    Raises:
        ConfigError: More tries than pairs, or less than none.
    """
    if not 0 <= tries <= pairs:
        raise ConfigError(f"{tries} tries of {pairs} pairs", f"0 to {pairs}", "try no more than there are")
    step = np.arange(tries, dtype=np.float64)
    # Distinct counts only: there are at most pairs + 1 of them, however many instances.
    counts, place = np.unique(np.asarray(right, dtype=np.int64).reshape(-1), return_inverse=True)
    misses = np.clip((pairs - counts[:, None] - step) / (pairs - step), 0.0, None).prod(axis=1)
    return np.asarray((1.0 - misses)[place.reshape(-1)], dtype=np.float64)


def independent_union(rates: ArrayLike, tries: int) -> NDArray[np.float64]:
    """Probability that one of several independent tries is right.

    Args:
        rates: `[I]`, each instance's own probability of a right answer.
        tries: How many.

    Returns:
        `[I]`: `1 - (1 - rate) ** tries`.

    Raises:
        ConfigError: A rate outside 0 to 1, or a negative number of tries.
    """
    chance = np.asarray(rates, dtype=np.float64).reshape(-1)
    if tries < 0 or not ((chance >= 0) & (chance <= 1)).all():
        raise ConfigError(f"{tries} tries at rates outside 0 to 1", "probabilities", "correct the rates")
    return np.asarray(1.0 - (1.0 - chance) ** tries, dtype=np.float64)


def read_samples(path: Path) -> Samples:
    """Read sampled answers.

    Args:
        path: A parquet table with columns `instance`, `sample`, `correct`.

    Returns:
        The samples, instances in the file's order.

    Raises:
        ConfigError: The file is missing or no such table, or instances differ in their number of samples.
    """
    try:
        table = pq.read_table(path, columns=["instance", "sample", "correct"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ConfigError(
            f"{path}: {str(error).splitlines()[0]}", "a table of samples", "check it"
        ) from error
    found: dict[str, list[bool]] = {}
    for instance, correct in zip(table["instance"].to_pylist(), table["correct"].to_pylist(), strict=True):
        found.setdefault(instance, []).append(bool(correct))
    counts = sorted({len(row) for row in found.values()})
    if len(counts) != 1:
        raise ConfigError(
            f"{path}: instances with {counts} samples", "equally many, at least one", "sample again"
        )
    return Samples(tuple(found), np.array(list(found.values()), dtype=np.bool_))
