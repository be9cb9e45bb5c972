"""Looking up runs of word characters among thousands, without a step of Python for each run.

A run is looked up by its size and its first 8 bytes in a table of slots; the candidates, few, are compared whole by up
to eight overlapping 8-byte loads, so a run may have up to 64 bytes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 64
"""Bytes of the longest run that is looked up."""

_SLOT_BITS = 17
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""An odd number that multiplication spreads keys by."""


class RunTable:
    """Runs by the bytes they are made of.

    Args:
        runs: Distinct encoded runs, 1 to `LONGEST` bytes each, without NUL.
    """

    def __init__(self, runs: Sequence[bytes]) -> None:
        padded = b"".join(run.ljust(LONGEST, b"\0") for run in runs) + bytes(LONGEST)
        starts = np.arange(len(runs), dtype=np.int64) * LONGEST
        self._sizes = np.array([len(run) for run in runs], dtype=np.int64)
        self._loads = [_load(padded, starts, self._sizes, offset) for offset in range(0, LONGEST, 8)]
        # Runs of one slot are chained.
        self._heads = np.full(2**_SLOT_BITS, -1, dtype=np.int32)
        self._next = np.full(len(runs), -1, dtype=np.int64)
        for number, slot in enumerate(_slots(padded, starts, self._sizes).tolist()):
            self._next[number] = self._heads[slot]
            self._heads[slot] = number

    def find(
        self, data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look up runs.

        Args:
            data: The text's bytes, with `LONGEST` bytes after the last run.
            starts: First bytes, int64 [runs].
            ends: The bytes after the last, int64 [runs].

        Returns:
            The numbers of the runs found and their first bytes, int64 [found] each.
        """
        sizes = ends - starts
        heads = self._heads[_slots(data, starts, sizes)]
        likely = np.flatnonzero(heads >= 0)
        rows, starts, sizes = heads[likely].astype(np.int64), starts[likely], sizes[likely]
        found_rows, found_starts = [], []
        while len(rows):
            same = self._sizes[rows] == sizes
            for offset, loads in zip(range(0, LONGEST, 8), self._loads, strict=True):
                places = np.flatnonzero(same & (sizes > offset))
                if not len(places):
                    break
                mine = _load(data, starts[places], sizes[places], offset)
                same[places] = mine == loads[rows[places]]
            found_rows.append(rows[same])
            found_starts.append(starts[same])
            rows = self._next[rows]
            left = np.flatnonzero(~same & (rows >= 0))
            rows, starts, sizes = rows[left], starts[left], sizes[left]
        if not found_rows:
            return rows, starts
        return np.concatenate(found_rows), np.concatenate(found_starts)


def _words_at(data: bytes) -> NDArray[np.uint64]:
    """View the 8 bytes from every byte on, without a copy."""
    return np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))


def _keys(
    data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the first 8 bytes of each run, shifted up so that nothing after it is in them, and the sizes."""
    unsigned = sizes.view(np.uint64)
    shifts = np.uint64(64) - (np.minimum(unsigned, np.uint64(8)) << np.uint64(3))
    keys: NDArray[np.uint64] = _words_at(data)[starts] << shifts
    return keys, unsigned


def _slots(data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    keys, unsigned = _keys(data, starts, sizes)
    keys += unsigned
    keys *= _MIX
    keys >>= np.uint64(64 - _SLOT_BITS)
    return keys.view(np.int64)


def _load(
    data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64], offset: int
) -> NDArray[np.uint64]:
    """Return 8 bytes of each run from `offset` on, or its last 8; fewer if it has fewer."""
    if not offset:
        return _keys(data, starts, sizes)[0]
    # The last load of a run ends with it; a run that is too short for this one has none to compare.
    loads: NDArray[np.uint64] = _words_at(data)[starts + np.maximum(np.minimum(offset, sizes - 8), 0)]
    return loads
