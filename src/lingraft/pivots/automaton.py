"""The one file that needs ahocorasick-rs and pyroaring."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import MissingExtraError

PURPOSE = "counting words in a corpus"


class Automaton:
    """Finds byte strings, overlapping ones too, in one pass (Aho-Corasick).

    Args:
        patterns: Distinct byte strings, none empty.
    """

    def __init__(self, patterns: Sequence[bytes]) -> None:
        try:
            import ahocorasick_rs
        except ImportError as error:
            raise MissingExtraError("ahocorasick-rs", "corpora", PURPOSE) from error
        self._automaton: Any = ahocorasick_rs.BytesAhoCorasick(patterns)

    def find(self, data: bytes) -> NDArray[np.int64]:
        """Return every occurrence: the pattern's number, its first byte and the byte after it, int64 [found, 3]."""
        found = self._automaton.find_matches_as_indexes(data, overlapping=True)
        flat = np.fromiter(
            (value for match in found for value in match), dtype=np.int64, count=3 * len(found)
        )
        return flat.reshape(-1, 3)


class DocumentSets:
    """The set of documents of each word, as compressed bitmaps."""

    def __init__(self, words: int) -> None:
        try:
            from pyroaring import BitMap
        except ImportError as error:
            raise MissingExtraError("pyroaring", "corpora", PURPOSE) from error
        self._make: Any = BitMap
        self._sets: list[Any] = [None] * words

    def add(self, words: NDArray[np.int64], documents: NDArray[np.int64]) -> None:
        """Add occurrences.

        Args:
            words: The words' numbers, ascending, int64 [found].
            documents: The documents', int64 [found], less than 2**32.
        """
        from array import array

        if not len(words):
            return
        numbers = array("I", documents.astype(np.uint32).tobytes())
        starts = np.flatnonzero(np.diff(words, prepend=-1))
        ends = [*starts[1:].tolist(), len(words)]
        for word, start, end in zip(words[starts].tolist(), starts.tolist(), ends, strict=True):
            new = self._make(numbers[start:end])
            if self._sets[word] is None:
                self._sets[word] = new
            else:
                self._sets[word] |= new

    def sizes(self) -> NDArray[np.int64]:
        """Return how many documents each word is in, int64 [words]."""
        return np.array([0 if found is None else len(found) for found in self._sets], dtype=np.int64)

    def common(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many documents both words of each pair are in.

        Args:
            pairs: Words' numbers, int64 [pairs, 2].

        Returns:
            int64 [pairs].
        """
        sets = self._sets
        return np.array(
            [
                0
                if sets[left] is None or sets[right] is None
                else sets[left].intersection_cardinality(sets[right])
                for left, right in pairs.tolist()
            ],
            dtype=np.int64,
        )
