"""The kernel of co-occurrence counts: a batch of documents in, counts of words and pairs out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.partials import Partial
from lingraft.corpora.shards import SEPARATOR, Batch
from lingraft.corpora.word_characters import word_pattern
from lingraft.files import fingerprint
from lingraft.pivots.automaton import Automaton, DocumentSets
from lingraft.pivots.folding import FoldedText, Folder
from lingraft.pivots.matching import Matching
from lingraft.pivots.runs import LONGEST, RunTable

BLOCK_BYTES = 2**18
"""Text that is searched at once, so that it and the arrays about it stay near the processor."""
_VERSION = 3
"""Of the kernel; partials of another one are not mixed with these."""

Found = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Words' numbers and the bytes that they begin at, int64 [found] each."""


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
            # All of them would make a large file.
            "pairs": fingerprint({"words": self.words, "pairs": self.pairs}),
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
    """Finds the words of a batch, and the documents that they are in."""

    def __init__(self, kernel: CountingKernel) -> None:
        self._kernel = kernel
        self._pairs = np.array(kernel.pairs, dtype=np.int64).reshape(-1, 2)
        self._folder = Folder(kernel.matching)
        self._finder = _Finder(kernel)

    def count(self, batch: Batch) -> Partial:
        kernel = self._kernel
        partial = kernel.empty()
        before, keys = 0, [np.zeros(0, dtype=np.int64)]
        for block in _blocks(batch.encoded()):
            text = self._folder.fold(block)
            words, starts = self._finder.find(text)
            # A document's number is how many ends of documents are before it.
            ends = np.flatnonzero(np.frombuffer(text.data, dtype=np.uint8) == ord(SEPARATOR))
            documents = np.searchsorted(ends, starts) + before
            before += len(ends) + (not block.endswith(SEPARATOR.encode()))
            if kernel.window is not None:
                order = np.lexsort((starts, documents, words))
                near = _near(
                    words[order],
                    documents[order],
                    _positions(text)[starts[order]],
                    self._pairs,
                    kernel.window,
                )
                partial["near"] += near
            # Document numbers are below 2**32, so both fit into one key.
            keys.append((words << 32) | documents)
        ordered = np.sort(np.concatenate(keys))
        ordered = ordered[np.diff(ordered, prepend=-1) != 0]
        sets = DocumentSets(len(kernel.words))
        sets.add(ordered >> 32, ordered & (2**32 - 1))
        partial["words"] += sets.sizes()
        partial["both"] += sets.common(self._pairs)
        return partial


def _blocks(data: bytes) -> Iterator[bytes]:
    """Cut a batch behind ends of documents."""
    start, separator = 0, SEPARATOR.encode()
    while start < len(data):
        end = data.find(separator, start + BLOCK_BYTES)
        end = len(data) if end < 0 else end + 1
        yield data[start:end]
        start = end


class _Finder:
    """Finds words in folded texts.

    Every run of word characters in a bounded word is a run of the text where the word occurs, so one of them, its
    anchor, is looked up, and the rest of the word is compared where that is found. Other words are left to the
    automaton.
    """

    def __init__(self, kernel: CountingKernel) -> None:
        anchors: dict[bytes, int] = {}
        exact: list[int] = []
        longer: list[tuple[int, int, int]] = []
        rest = []
        self._words = [word.encode() for word in kernel.words]
        for number, (word, bounded) in enumerate(zip(kernel.words, kernel.bounded, strict=True)):
            anchor = _anchor(word) if bounded else None
            if anchor is None:
                rest.append(number)
                continue
            content, offset = anchor
            row = anchors.setdefault(content, len(anchors))
            exact += [-1] * (row + 1 - len(exact))
            if content == self._words[number]:
                exact[row] = number
            else:
                longer.append((row, number, offset))
        self._runs = RunTable(list(anchors)) if anchors else None
        self._exact = np.array(exact, dtype=np.int64)
        heads = [word[:8] for word in self._words]
        self._firsts = np.array([int.from_bytes(head, "little") for head in heads], dtype=np.uint64)
        self._masks = np.array([(1 << 8 * len(head)) - 1 for head in heads], dtype=np.uint64)
        self._longer = np.array(sorted(longer), dtype=np.int64).reshape(-1, 3)
        self._bounds = np.searchsorted(self._longer[:, 0], np.arange(len(anchors) + 1))
        self._automaton = Automaton([self._words[number] for number in rest]) if rest else None
        self._rest = np.array(rest, dtype=np.int64)
        self._ascii_rest = any(self._words[number].isascii() for number in rest)
        self._bounded = np.array([kernel.bounded[number] for number in rest], dtype=np.bool_)

    def find(self, text: FoldedText) -> Found:
        """Return all occurrences."""
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        if self._runs is not None:
            padded = np.concatenate([[False], text.is_word, [False]])
            edges = np.flatnonzero(padded[1:] != padded[:-1])
            data = text.data + bytes(LONGEST)
            rows, starts = self._runs.find(data, edges[::2], edges[1::2])
            words = self._exact[rows]
            whole = words >= 0
            found.append((words[whole], starts[whole]))
            if len(self._longer):
                found.append(self._compare(data, padded, rows, starts))
        if self._automaton is not None and (self._ascii_rest or len(text.leads)):
            found.append(self._search(text))
        return np.concatenate([words for words, _ in found]), np.concatenate([starts for _, starts in found])

    def _compare(
        self, data: bytes, padded: NDArray[np.bool_], rows: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> Found:
        """Compare the words that are longer than their anchors where those were found."""
        first, counts = self._bounds[rows], self._bounds[rows + 1] - self._bounds[rows]
        some = np.flatnonzero(counts)
        first, counts = first[some], counts[some]
        # Each anchor found is repeated for each of its words.
        places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        begins = np.repeat(starts[some], counts) - self._longer[places, 2]
        numbers = self._longer[places, 1]
        # Most differ in the first bytes, and are not looked at one by one.
        firsts = np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))[np.maximum(begins, 0)]
        likely = np.flatnonzero(
            (begins >= 0) & ((firsts ^ self._firsts[numbers]) & self._masks[numbers] == 0)
        )
        numbers, begins = numbers[likely], begins[likely]
        good = [
            row
            for row, (number, begin) in enumerate(zip(numbers.tolist(), begins.tolist(), strict=True))
            if data.startswith(self._words[number], begin)
            and not padded[begin]
            and not padded[begin + len(self._words[number]) + 1]
        ]
        return numbers[good], begins[good]

    def _search(self, text: FoldedText) -> Found:
        assert self._automaton is not None
        matches = self._automaton.find(text.data)
        rows, starts, ends = matches[:, 0], matches[:, 1], matches[:, 2]
        padded = np.concatenate([[False], text.is_word, [False]])
        good = ~(self._bounded[rows] & (padded[starts] | padded[ends + 1]))
        return self._rest[rows[good]], starts[good]


def _anchor(word: str) -> tuple[bytes, int] | None:
    """Choose the run of word characters that a word is looked up by: the longest.

    Args:
        word: The word.

    Returns:
        The run and its first byte; None where there is none that can be looked up, or too short a part, which would be
        found too often.
    """
    runs = [
        (run[0], len(word[: run.start()].encode()))
        for run in word_pattern().finditer(word)
        if len(run[0].encode()) <= LONGEST and (run[0] == word or len(run[0]) > 1)
    ]
    if not runs:
        return None
    run, offset = max(runs, key=lambda entry: len(entry[0]))
    return run.encode(), offset


def _positions(text: FoldedText) -> NDArray[np.int64]:
    """Return how many words begin before or at each byte: runs of word characters, or unspaced characters."""
    begins = text.is_word & ~np.concatenate([[False], text.is_word[:-1]])
    alone = text.leads[text.unspaced]
    if len(alone):
        units = np.frombuffer(text.data + b" ", dtype=np.uint8)
        after = alone + 3 + (units[alone] >= 0xF0)
        begins = np.append(begins, False)
        begins[after] |= np.append(text.is_word, False)[after]
        begins[alone] = True
        begins = begins[:-1]
    return np.cumsum(begins, dtype=np.int64)


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
