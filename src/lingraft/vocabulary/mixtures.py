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
        """Write row r of the mixture of `source_matrix [V_s, h]` into `out[rows[r]]`, a few thousand at a time."""
        for start in range(0, len(self.offsets) - 1, ROW_CHUNK):
            stop = min(start + ROW_CHUNK, len(self.offsets) - 1)
            first, last = int(self.offsets[start]), int(self.offsets[stop])
            combined = functional.embedding_bag(
                torch.from_numpy(self.source_ids[first:last]),
                source_matrix,
                torch.from_numpy(self.offsets[start:stop] - first),
                per_sample_weights=torch.from_numpy(self.coefficients[first:last]).to(source_matrix.dtype),
                mode="sum",
            )
            out[torch.from_numpy(rows[start:stop])] = combined.to(out.dtype)


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
