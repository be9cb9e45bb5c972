"""The kernel of co-occurrence counts: a batch of documents in, counts of words and pairs out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.engine import Partial
from lingraft.corpora.shards import SEPARATOR, Batch
from lingraft.pivots.automaton import Automaton, DocumentSets
from lingraft.pivots.matching import Matching, unspaced_units, word_units
from lingraft.pivots.runs import LONGEST, RunTable, Units

BLOCK_CHARACTERS = 2**20
"""Text that is searched at once, so that it and the arrays about it stay near the processor."""
_VERSION = 1
"""Of the kernel; partials of another one are not mixed with these."""

Found = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Words' numbers and the units that they begin at, int64 [found] each."""


@dataclass(frozen=True, slots=True)
class CountingKernel:
    """Counts documents.

    Attributes:
        words: The distinct words, as they are looked for.
        bounded: Which must not stand next to a word character.
        pairs: Numbers of the two words of each pair.
        matching: How words are matched.
        window: Also count documents in which both words of a pair begin less than so many words apart.
    """

    words: tuple[str, ...]
    bounded: tuple[bool, ...]
    pairs: tuple[tuple[int, int], ...]
    matching: Matching
    window: int | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return what makes its counts differ from another's."""
        return {
            "version": _VERSION,
            "words": self.words,
            "pairs": self.pairs,
            "matching": self.matching.describe(),
            "window": self.window,
        }

    def empty(self) -> Partial:
        """Return the counts of no document."""
        sizes = {"words": len(self.words), "both": len(self.pairs)}
        if self.window is not None:
            sizes["near"] = len(self.pairs)
        return {name: np.zeros(size, dtype=np.int64) for name, size in sizes.items()}

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return the counts of both."""
        return {name: left[name] + right[name] for name in left}

    def open(self) -> Callable[[Batch], Partial]:
        """Return what counts a batch."""
        counter = _Counter(self)
        return counter.count


class _Counter:
    """Both ways to find words, each for the texts it is made for."""

    def __init__(self, kernel: CountingKernel) -> None:
        self._kernel = kernel
        self._pairs = np.array(kernel.pairs, dtype=np.int64).reshape(-1, 2)
        ascii_words = [number for number, word in enumerate(kernel.words) if word.isascii()]
        self._ascii = _Finder(kernel, ascii_words, "ascii")
        self._wide = _Finder(kernel, range(len(kernel.words)), "utf-16-le")

    def count(self, batch: Batch) -> Partial:
        kernel = self._kernel
        sets = DocumentSets(len(kernel.words))
        partial = kernel.empty()
        before = 0
        for text in _blocks(batch.text):
            folded = kernel.matching.apply(text)
            finder = self._ascii if folded.isascii() else self._wide
            units, is_word = finder.encode(folded)
            words, starts = finder.find(units, is_word)
            # A document's number is how many ends of documents are before it.
            documents = np.searchsorted(np.flatnonzero(units == ord(SEPARATOR)), starts) + before
            before += text.count(SEPARATOR) + (not text.endswith(SEPARATOR))
            if kernel.window is not None:
                order = np.lexsort((starts, documents, words))
                near = _near(
                    words[order],
                    documents[order],
                    _positions(folded, units, is_word)[starts[order]],
                    self._pairs,
                    kernel.window,
                )
                partial["near"] += near
            # Document numbers are below 2**32, so both fit into one key.
            keys = np.sort((words << 32) | documents)
            keys = keys[np.diff(keys, prepend=-1) != 0]
            sets.add(keys >> 32, keys & (2**32 - 1))
        partial["words"] += sets.sizes()
        partial["both"] += sets.common(self._pairs)
        return partial


def _blocks(text: str) -> Iterator[str]:
    """Cut a batch behind ends of documents."""
    start = 0
    while start < len(text):
        end = text.find(SEPARATOR, start + BLOCK_CHARACTERS)
        end = len(text) if end < 0 else end + 1
        yield text[start:end]
        start = end


class _Finder:
    """Finds words in blocks of one encoding: ASCII, of one byte a unit, or UTF-16, of two."""

    def __init__(self, kernel: CountingKernel, numbers: Any, encoding: str) -> None:
        self._encoding, self._width = encoding, 1 if encoding == "ascii" else 2
        table = word_units()
        encoded = {number: kernel.words[number].encode(encoding) for number in numbers}
        runs = [
            number
            for number, word in encoded.items()
            if kernel.bounded[number]
            and len(word) <= LONGEST
            and all(table[ord(character)] for character in kernel.words[number])
        ]
        rest = sorted(encoded.keys() - set(runs))
        self._runs = RunTable([encoded[number] for number in runs], runs) if runs else None
        self._automaton = Automaton([encoded[number] for number in rest]) if rest else None
        self._rest = np.array(rest, dtype=np.int64)
        self._bounded = np.array([kernel.bounded[number] for number in rest], dtype=np.bool_)
        self._is_word = table[: 256**self._width].copy()

    def encode(self, text: str) -> tuple[Units, NDArray[np.bool_]]:
        """Return the text's units and which of them word characters are made of."""
        units = np.frombuffer(text.encode(self._encoding), dtype=np.uint8 if self._width == 1 else "<u2")
        is_word = self._is_word[units]
        if self._width == 2:
            high = np.flatnonzero((units & 0xFC00) == 0xD800)
            if len(high):
                codes = 0x10000 + ((units[high] & 0x3FF).astype(np.int64) << 10) + (units[high + 1] & 0x3FF)
                is_word[high] = is_word[high + 1] = word_units()[codes]
        return units, is_word

    def find(self, units: Units, is_word: NDArray[np.bool_]) -> Found:
        """Return all occurrences."""
        data = units.tobytes() + bytes(LONGEST)
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        if self._runs is not None:
            edges = np.flatnonzero(np.diff(is_word, prepend=False, append=False)) * self._width
            words, starts = self._runs.find(data, edges[::2], edges[1::2])
            found.append((words, starts // self._width))
        if self._automaton is not None:
            found.append(self._search(data[:-LONGEST], is_word))
        return np.concatenate([words for words, _ in found]), np.concatenate([starts for _, starts in found])

    def _search(self, data: bytes, is_word: NDArray[np.bool_]) -> Found:
        assert self._automaton is not None
        matches = self._automaton.find(data)
        if self._width == 2:
            # Half of a character and half of the next are no character.
            matches = matches[matches[:, 1] % 2 == 0]
        rows, starts, ends = matches[:, 0], matches[:, 1] // self._width, matches[:, 2] // self._width
        padded = np.concatenate([[False], is_word, [False]])
        good = ~(self._bounded[rows] & (padded[starts] | padded[ends + 1]))
        return self._rest[rows[good]], starts[good]


def _positions(text: str, units: Units, is_word: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many words begin before or at each unit: runs of word characters, or unspaced characters."""
    first = is_word & ~np.concatenate([[False], is_word[:-1]])
    if units.dtype != np.uint8:
        alone = unspaced_units()[: 2**16][units]
        high = np.flatnonzero((units & 0xFC00) == 0xD800)
        codes = 0x10000 + ((units[high] & 0x3FF).astype(np.int64) << 10) + (units[high + 1] & 0x3FF)
        alone[high] = unspaced_units()[codes]
        tail = np.zeros(len(units), dtype=np.bool_)
        tail[high + 1] = alone[high]
        after = np.concatenate([[False], (alone | tail)[:-1]])
        first = alone | ((first | (is_word & after)) & ~tail)
    return np.cumsum(first, dtype=np.int64)


def _near(
    words: NDArray[np.int64],
    documents: NDArray[np.int64],
    positions: NDArray[np.int64],
    pairs: NDArray[np.int64],
    window: int,
) -> NDArray[np.int64]:
    """Count documents with both words of a pair less than `window` words apart; all sorted by word, then place."""
    # One number line, on which documents are further apart than any window.
    document_gap = int(positions.max(initial=0)) + window + 1
    places = documents * document_gap + positions
    limits = np.searchsorted(words, np.stack([pairs, pairs + 1]))
    counts = np.zeros(len(pairs), dtype=np.int64)
    for row, ((left, right), (left_end, right_end)) in enumerate(zip(*limits.tolist(), strict=True)):
        if left == left_end or right == right_end:
            continue
        mine, theirs = places[left:left_end], places[right:right_end]
        begin = np.searchsorted(theirs, mine - window, side="right")
        end = np.searchsorted(theirs, mine + window, side="left")
        counts[row] = len(np.unique(documents[left:left_end][end > begin]))
    return counts
