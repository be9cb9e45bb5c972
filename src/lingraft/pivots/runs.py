"""Looking up whole runs of word characters among thousands of words, without a step of Python for each run.

A bounded word that is one run of word characters occurs exactly where a maximal run of the text is equal to it. A run
is compared through up to eight overlapping 8-byte loads, so it may have up to 64 bytes; longer words are left to the
automaton. All of it is exact: a hash only finds the candidate that is then compared whole.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 64
"""Bytes of the longest word that is looked up."""

_TABLE_BITS = 20
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    dtype=np.uint64,
)
"""Odd numbers that multiplication spreads keys by."""
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], dtype=np.uint64)

Units = NDArray[np.uint8] | NDArray[np.uint16]


class RunTable:
    """Words by the bytes they are made of.

    Args:
        words: Distinct encoded words, 1 to `LONGEST` bytes each.
        numbers: The word's number that a hit is reported as, one each.
    """

    def __init__(self, words: Sequence[bytes], numbers: Sequence[int]) -> None:
        padded = b"".join(word.ljust(LONGEST, b"\0") for word in words) + bytes(LONGEST)
        starts = np.arange(len(words), dtype=np.int64) * LONGEST
        sizes = np.array([len(word) for word in words], dtype=np.int64)
        loads = _loads(padded, starts, sizes, _first(padded, starts, sizes))
        hashes = _hash(loads, sizes)
        order = np.argsort(hashes)
        self._hashes, self._sizes = hashes[order], sizes[order]
        self._loads = [load[order] for load in loads]
        self._numbers = np.array(numbers, dtype=np.int64)[order]
        if len(np.unique(hashes)) < len(words):
            raise AssertionError("two words with the same hash")
        self._longest = int(sizes.max(initial=0))
        self._maybe = np.zeros(2**_TABLE_BITS, dtype=np.bool_)
        self._maybe[_slots(loads[0], sizes)] = True

    def find(
        self, data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look up runs.

        Args:
            data: The text's bytes, with `LONGEST` bytes after the last run.
            starts: First bytes, int64 [runs].
            ends: The bytes after the last, int64 [runs].

        Returns:
            The numbers of the words found and the first bytes of their runs, int64 [found] each.
        """
        sizes = ends - starts
        short = np.flatnonzero(sizes <= self._longest)
        starts, sizes = starts[short], sizes[short]
        first = _first(data, starts, sizes)
        likely = np.flatnonzero(self._maybe[_slots(first, sizes)])
        starts, sizes, first = starts[likely], sizes[likely], first[likely]
        loads = _loads(data, starts, sizes, first)
        hashes = _hash(loads, sizes)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        same = (self._hashes[places] == hashes) & (self._sizes[places] == sizes)
        for mine, theirs in zip(self._loads, loads, strict=True):
            same &= mine[places] == theirs
        return self._numbers[places[same]], starts[same]


def _words_at(data: bytes) -> NDArray[np.uint64]:
    """View the 8 bytes from every byte on, without a copy."""
    return np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))


def _first(data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    first: NDArray[np.uint64] = _words_at(data)[starts] & _MASKS[np.minimum(sizes, 8)]
    return first


def _loads(
    data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64], first: NDArray[np.uint64]
) -> list[NDArray[np.uint64]]:
    """Return 8-byte loads that together cover each run; those that it is too short for are 0."""
    loads = [first]
    for offset in range(8, LONGEST, 8):
        # The last load of a run ends with it.
        load = np.zeros(len(starts), dtype=np.uint64)
        long = np.flatnonzero(sizes > offset)
        load[long] = _words_at(data)[np.minimum(starts[long] + offset, starts[long] + sizes[long] - 8)]
        loads.append(load)
    return loads


def _hash(loads: Sequence[NDArray[np.uint64]], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = sizes.astype(np.uint64) * _MIX[4]
    for load in loads:
        mixed ^= load * _MIX[3]
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX[0]
    return mixed


def _slots(first: NDArray[np.uint64], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    slots: NDArray[np.uint64] = ((first + sizes.astype(np.uint64)) * _MIX[1]) >> np.uint64(64 - _TABLE_BITS)
    return slots
