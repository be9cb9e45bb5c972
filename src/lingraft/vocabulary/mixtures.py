"""Sparse signed combinations of source rows: what most initialisers come down to.

The same coefficients serve the input matrix, an untied output matrix and an output bias, so a rule is fitted once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

ROW_CHUNK = 4096
"""Rows computed at once: 4096 rows of width 4096 are 64 MiB in float32."""

FILL_CHUNK = 512
"""Mixed rows held at once before they are written: 512 rows of width 4096 are 8 MiB in float32."""


def row_blocks(ids: NDArray[np.int64], size: int = ROW_CHUNK) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of at most `size` positions, each with the ids there as a tensor that indexes rows."""
    for start in range(0, len(ids), size):
        block = slice(start, min(start + size, len(ids)))
        yield block, torch.from_numpy(ids[block])


@dataclass(frozen=True, slots=True)
class Mixture:
    """For each of n rows, which source rows to add up and with what coefficient.

    Attributes:
        offsets: `[n + 1]` int64; row r is `source_ids[offsets[r]:offsets[r + 1]]`.
        source_ids: `[n_entries]` int64 token ids in the source vocabulary.
        coefficients: `[n_entries]` float64.
    """

    offsets: NDArray[np.int64]
    source_ids: NDArray[np.int64]
    coefficients: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """`[n]` number of source rows behind each row."""
        return np.diff(self.offsets)

    def fill(self, source_matrix: Tensor, out: Tensor, rows: NDArray[np.int64]) -> None:
        """Write row r of the mixture of `source_matrix [V_s, h]` into `out[rows[r]]`, a few hundred at a time.

        Rows that share source rows are computed one after another, which then come from the cache.
        """
        order = alike_together(self.offsets, self.source_ids)
        for start in range(0, len(order), FILL_CHUNK):
            part = order[start : start + FILL_CHUNK]
            counts = self.counts[part]
            starts = np.cumsum(counts) - counts
            entries = np.repeat(self.offsets[part] - starts, counts) + np.arange(counts.sum())
            combined = functional.embedding_bag(
                torch.from_numpy(self.source_ids[entries]),
                source_matrix,
                torch.from_numpy(starts),
                per_sample_weights=torch.from_numpy(self.coefficients[entries]).to(source_matrix.dtype),
                mode="sum",
            )
            out[torch.from_numpy(rows[part])] = combined.to(out.dtype)


def alike_together(offsets: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order of compressed rows in which rows with many ids in common tend to be neighbours.

    Sorted by the least hash in each row (Broder's min-hash): two rows share it with a probability equal to the share
    of ids they have in common. The multiplier scrambles ids, since low ids are frequent tokens that many rows share.

    Args:
        offsets: `[n + 1]` row r is `ids[offsets[r]:offsets[r + 1]]`.
        ids: `[n_entries]`.

    Returns:
        `[n]` int64 permutation of the rows.
    """
    # Made in place and in 32 bits: this runs while both matrices are held.
    hashes = np.zeros(len(ids) + 1, dtype=np.uint32)
    hashes[:-1] = ids
    hashes *= np.uint32(0x9E3779B1)
    # An empty row takes the hash that follows it, the last ones a zero: where they stand does not matter.
    least = np.minimum.reduceat(hashes, offsets[:-1])
    return np.argsort(least, kind="stable")


def mixture_from_lists(
    source_ids: list[NDArray[np.int64]], coefficients: list[NDArray[np.float64]] | None = None
) -> Mixture:
    """Build a mixture from a list a row; without coefficients each row is the plain mean."""
    counts = np.array([len(ids) for ids in source_ids], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    if coefficients is None:
        coefficients = [np.full(count, 1.0 / count) for count in counts if count]
    empty_ids, empty_weights = np.zeros(0, np.int64), np.zeros(0, np.float64)
    return Mixture(
        offsets,
        np.concatenate([empty_ids, *source_ids]),
        np.concatenate([empty_weights, *coefficients]),
    )
