"""Samples of the documents that hold each word, and of all documents, drawn in one pass over a corpus.

A sample is the documents with the lowest hashes of their texts: it depends on the corpus and the seed alone, not on
shards, workers or order, and equal texts count once. A partial holds the tokens of the sampled documents and nothing of
the others, so its size depends on the number of words and the size of a sample, not on the corpus.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.partials import Partial
from lingraft.corpora.shards import SEPARATOR, Batch
from lingraft.pivots.discovery_tokens import Tokens, WordFinder, hash_text
from lingraft.pivots.matching import Matching

_VERSION = 2
_NONE = np.uint64(2**64 - 1)
"""Stands where a sample has no further document."""


@dataclass(frozen=True, slots=True)
class SampleKernel:
    """Draws the samples.

    Attributes:
        words: The words, as given; may be none.
        tokens: How documents are cut into tokens.
        matching: How words are matched.
        sample: Documents drawn for each word.
        background: Documents drawn of all.
        seed: Of the draw.
    """

    words: tuple[str, ...]
    tokens: Tokens
    matching: Matching
    sample: int
    background: int
    seed: int

    def describe(self) -> Mapping[str, Any]:
        """Return what makes its samples differ from another's."""
        return {
            "version": _VERSION,
            "words": self.words,
            "tokens": self.tokens.name(),
            "matching": self.matching.describe(),
            "sample": self.sample,
            "background": self.background,
            "seed": self.seed,
        }

    def empty(self) -> Partial:
        """Return the samples of no document."""
        words = len(dict.fromkeys(map(self.matching.apply, map(str.strip, self.words))))
        return {
            "samples": np.full((words, self.sample), _NONE, dtype=np.uint64),
            "background": np.full((1, self.background), _NONE, dtype=np.uint64),
            "found": np.zeros(words, dtype=np.int64),
            **_pack({}),
        }

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return the samples of both."""
        merged = {
            name: _lowest(left[name], right[name], left[name].shape[1]) for name in ("samples", "background")
        }
        wanted = set(np.unique(np.concatenate([merged[name].ravel() for name in merged])).tolist())
        pool = {
            key: tokens for part in (right, left) for key, tokens in unpack(part).items() if key in wanted
        }
        return {**merged, "found": left["found"] + right["found"], **_pack(pool)}

    def open(self) -> Callable[[Batch], Partial]:
        """Return what samples a batch."""
        finder = WordFinder(self.words, self.matching) if self.words else None

        def work(batch: Batch) -> Partial:
            return self._sample(batch, finder)

        return work

    def _sample(self, batch: Batch, finder: WordFinder | None) -> Partial:
        texts = [text for text in batch.text.split(SEPARATOR) if text.strip()]
        hashes = np.array([hash_text(text, self.seed) for text in texts], dtype=np.uint64)
        holders: list[list[int]] = [[] for _ in range(finder.count if finder else 0)]
        if finder is not None:
            for row, text in enumerate(texts):
                for word in finder.find(self.matching.apply(text)):
                    holders[word].append(row)
        partial = self.empty()
        for word, rows in enumerate(holders):
            partial["found"][word] = len(rows)
            partial["samples"][word] = _drawn(hashes[rows], self.sample)
        partial["background"][0] = _drawn(hashes, self.background)
        wanted = np.unique(np.concatenate([partial["samples"].ravel(), partial["background"].ravel()]))
        # Equal texts have equal hashes, and one of them is enough.
        drawn = {int(hashes[row]): texts[row] for row in np.flatnonzero(np.isin(hashes, wanted)).tolist()}
        split = self.tokens.split(list(drawn.values()))
        return {**partial, **_pack({key: sorted(set(row)) for key, row in zip(drawn, split, strict=True)})}


def _drawn(hashes: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """Return the lowest distinct hashes, filled up."""
    lowest = np.unique(hashes)[:size]
    return np.concatenate([lowest, np.full(size - len(lowest), _NONE, dtype=np.uint64)])


def _lowest(left: NDArray[Any], right: NDArray[Any], size: int) -> NDArray[np.uint64]:
    """Merge sorted rows of distinct hashes."""
    both = np.sort(np.concatenate([left, right], axis=1), axis=1)
    both[:, 1:][both[:, 1:] == both[:, :-1]] = _NONE
    return np.sort(both, axis=1)[:, :size]


def _pack(pool: Mapping[int, list[str]]) -> Partial:
    """Lay documents' tokens out as arrays, the same for equal contents."""
    keys = sorted(pool)
    vocabulary = sorted({token for key in keys for token in pool[key]})
    numbers = {token: number for number, token in enumerate(vocabulary)}
    rows = [[numbers[token] for token in pool[key]] for key in keys]
    return {
        "documents": np.array(keys, dtype=np.uint64),
        "ends": np.cumsum([len(row) for row in rows], dtype=np.int64),
        "tokens": np.array([number for row in rows for number in row], dtype=np.int32),
        "vocabulary": np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8),
    }


def read_vocabulary(partial: Partial) -> list[str]:
    """Return the tokens that `tokens` numbers."""
    joined = partial["vocabulary"].tobytes().decode()
    return joined.split("\n") if joined else []


def unpack(partial: Partial) -> dict[int, list[str]]:
    """Return the sampled documents' tokens, sorted and each once, by the documents' hashes."""
    vocabulary = read_vocabulary(partial)
    numbers, starts = partial["tokens"].tolist(), [0, *partial["ends"].tolist()]
    return {
        key: [vocabulary[number] for number in numbers[starts[row] : starts[row + 1]]]
        for row, key in enumerate(partial["documents"].tolist())
    }
