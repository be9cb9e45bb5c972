"""Which tokens lie between a word and its translation: those that come with both more often than with anything.

For each word, `df(t)` is the share of sampled documents of the word that hold token t; for the background, of documents
sampled from all. A pivot's score is the lower of its two words' scores:

- `min-excess`: df with the word less df in the background;
- `pmi`: pointwise mutual information, log2 of the ratio of the two, each count raised by a half;
- `llr`: Dunning's log-likelihood ratio, negative where df is lower with the word than in the background.

Our choice: how many documents are sampled, that numbers, signs and a pair's own words are left out, and the smallest
number of documents that `pmi` and `llr` need.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lingraft.corpora.partials import Partial
from lingraft.pivots.discovery_sample import read_vocabulary
from lingraft.pivots.discovery_tokens import Tokens, WordTokens, is_wordlike
from lingraft.pivots.matching import Matching

Score = Literal["min-excess", "pmi", "llr"]
TOP = 50
"""Pivots of a pair (the paper's number)."""
SAMPLE, BACKGROUND = 500, 2000
FEWEST_DOCUMENTS = 3
"""Documents of each word's sample that must hold a token, for scores that reward rare ones."""

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """In how many sampled documents each token is.

    Attributes:
        tokens: The tokens, sorted.
        words: Counts for each word, float64 [words, tokens]; a row at a time, where they come from samples.
        word_documents: Documents sampled of each word, float64 [words].
        background: Counts for the background, float64 [tokens].
        background_documents: Documents in it.
        found: Documents of the corpus with each word, int64 [words].
    """

    tokens: tuple[str, ...]
    words: "Counts | SampleCounts"
    word_documents: Counts
    background: Counts
    background_documents: int
    found: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairPivots:
    """What was found for a pair, best first.

    Attributes:
        source_word: As given.
        target_word: As given.
        tokens: Numbers of the tokens, int64 [pivots].
        scores: float64 [pivots].
        why_none: Why there is none; "" where there are some.
    """

    source_word: str
    target_word: str
    tokens: NDArray[np.int64]
    scores: NDArray[np.float64]
    why_none: str = ""


def document_frequencies(partial: Partial) -> DocumentFrequencies:
    """Count tokens in the samples.

    Args:
        partial: Of a `SampleKernel`, merged.

    Returns:
        The counts.
    """
    vocabulary = tuple(read_vocabulary(partial))
    samples = [*partial["samples"], partial["background"][0]]
    rows = [np.flatnonzero(np.isin(partial["documents"], sample)) for sample in samples]
    starts = np.concatenate([[0], partial["ends"]])
    counts = SampleCounts(partial["tokens"], starts, rows, len(vocabulary))
    return DocumentFrequencies(
        tokens=vocabulary,
        words=counts,
        word_documents=np.array([len(sampled) for sampled in rows[:-1]], dtype=np.float64),
        background=counts[len(rows) - 1],
        background_documents=len(rows[-1]),
        found=partial["found"],
    )


class SampleCounts:
    """Counts of tokens in samples, one sample at a time: all of them would take words times tokens of memory.

    Args:
        tokens: Numbers of the documents' tokens, one document after the other.
        starts: Where each begins, and the end, int64 [documents + 1].
        rows: Each sample's documents.
        size: Distinct tokens.
    """

    def __init__(
        self,
        tokens: NDArray[np.int32],
        starts: NDArray[np.int64],
        rows: Sequence[NDArray[np.int64]],
        size: int,
    ) -> None:
        self._tokens, self._starts, self._rows, self._size = tokens, starts, rows, size

    def __getitem__(self, sample: int) -> Counts:
        """Return in how many of a sample's documents each token is, float64 [tokens]."""
        bounds = [(self._starts[row], self._starts[row + 1]) for row in self._rows[sample].tolist()]
        parts = [self._tokens[start:end] for start, end in bounds]
        joined = np.concatenate([np.zeros(0, dtype=np.int32), *parts])
        return np.bincount(joined, minlength=self._size).astype(np.float64)


def excess(frequencies: DocumentFrequencies, word: int) -> Counts:
    """Share of a word's documents with each token, less the background's; float64 [tokens]."""
    return _share(frequencies, word) - frequencies.background / max(1, frequencies.background_documents)


def mutual_information(frequencies: DocumentFrequencies, word: int) -> Counts:
    """Pointwise mutual information of a word and each token in bits; float64 [tokens]."""
    with_word = (frequencies.words[word] + 0.5) / (frequencies.word_documents[word] + 1)
    everywhere = (frequencies.background + 0.5) / (frequencies.background_documents + 1)
    found: Counts = np.log2(with_word / everywhere)
    return np.where(frequencies.words[word] >= FEWEST_DOCUMENTS, found, -np.inf)


def likelihood_ratio(frequencies: DocumentFrequencies, word: int) -> Counts:
    """Dunning's G squared of the two-by-two table, with the sign of the association; float64 [tokens]."""
    inside, outside = frequencies.words[word], frequencies.background
    sizes = float(frequencies.word_documents[word]), float(frequencies.background_documents)
    total = sum(sizes)
    ratio = np.zeros(len(inside))
    for cells, size in ((inside, sizes[0]), (outside, sizes[1])):
        for counts, margin in ((cells, inside + outside), (size - cells, total - inside - outside)):
            expected = margin * size / max(total, 1.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio += np.where(counts > 0, counts * np.log(counts / expected), 0.0)
    sign = np.sign(inside / max(sizes[0], 1.0) - outside / max(sizes[1], 1.0))
    return np.where(inside >= FEWEST_DOCUMENTS, sign * 2 * ratio, -np.inf)


SCORES: dict[str, Callable[[DocumentFrequencies, int], Counts]] = {
    "min-excess": excess,
    "pmi": mutual_information,
    "llr": likelihood_ratio,
}


def find_pivots(
    frequencies: DocumentFrequencies,
    pairs: Sequence[tuple[str, str]],
    rows: Sequence[tuple[int, int]],
    *,
    tokens: Tokens,
    score: Score = "min-excess",
    top: int = TOP,
    matching: Matching | None = None,
) -> list[PairPivots]:
    """Find the pivots of word pairs.

    Args:
        frequencies: Of the samples.
        pairs: Source and target words, as given.
        rows: Their rows in `frequencies`.
        tokens: How documents were cut into tokens.
        score: How tokens are scored.
        top: Pivots of a pair.
        matching: How words were matched.

    Returns:
        One result a pair; equal scores are in the order of their tokens. Only scores above 0 count.
    """
    matching = matching or Matching()
    shown = [tokens.show(token) for token in frequencies.tokens]
    wordlike = np.array([is_wordlike(text) for text in shown], dtype=np.bool_)
    folded = [matching.apply(text) for text in shown]
    places: dict[str, list[int]] = {}
    for number, text in enumerate(folded):
        places.setdefault(text, []).append(number)
    found = []
    for (source, target), row in zip(pairs, rows, strict=True):
        missing = [word for word, at in zip((source, target), row, strict=True) if not frequencies.found[at]]
        if missing:
            nothing = np.zeros(0, dtype=np.int64)
            why = f"{' and '.join(missing)} in no document"
            found.append(PairPivots(source, target, nothing, np.zeros(0), why))
            continue
        scores = [SCORES[score](frequencies, at) for at in row]
        values = np.where(wordlike, np.minimum(*scores), -np.inf)
        own = {part for word in (source, target) for part in _own_tokens(word, matching)}
        values[[number for text in own for number in places.get(text, [])]] = -np.inf
        good = np.flatnonzero(values > 0)
        best = good[np.lexsort((good, -values[good]))][:top]
        why = "" if len(best) else "no token comes with both words more often than with others"
        found.append(PairPivots(source, target, best, values[best], why))
    return found


def _own_tokens(word: str, matching: Matching) -> list[str]:
    return [matching.apply(word.strip()), *WordTokens(matching).split([word])[0]]


def pivot_table(
    found: Sequence[PairPivots],
    rows: Sequence[tuple[int, int]],
    frequencies: DocumentFrequencies,
    *,
    tokens: Tokens,
    similarities: Mapping[int, Sequence[float]] | None = None,
    kept: Mapping[int, Sequence[bool]] | None = None,
) -> pa.Table:
    """Lay pivots out as a table, a row each.

    Args:
        found: Of `find_pivots`.
        rows: The words' rows in `frequencies`.
        frequencies: Of the samples.
        tokens: How documents were cut into tokens.
        similarities: By pair number, each pivot's likeness to its words; None without a semantic filter.
        kept: By pair number, which pivots the filter keeps; None keeps all.

    Returns:
        Columns `source_word`, `target_word`, `token`, `token_id` (of a model's tokenizer, else null), `score`,
        `df_source`, `df_target`, `df_background` (shares of sampled documents), `rank` (from 1), `similarity`, `kept`.
    """
    background = frequencies.background / max(1, frequencies.background_documents)
    numbers = np.concatenate([np.zeros(0, dtype=np.int64), *(item.tokens for item in found)])
    model = not isinstance(tokens, WordTokens)
    keys = [frequencies.tokens[number] for number in numbers.tolist()]

    def shares(side: int) -> Counts:
        parts = [_share(frequencies, row[side])[item.tokens] for item, row in zip(found, rows, strict=True)]
        return np.concatenate([np.zeros(0), *parts])

    def by_pair(
        values: Mapping[int, Sequence[float | bool]] | None, otherwise: float | bool | None
    ) -> list[object]:
        return [
            otherwise if values is None else values[pair][place]
            for pair, item in enumerate(found)
            for place in range(len(item.tokens))
        ]

    return pa.table(
        {
            "source_word": pa.array([i.source_word for i in found for _ in i.tokens], pa.string()),
            "target_word": pa.array([i.target_word for i in found for _ in i.tokens], pa.string()),
            "token": pa.array([tokens.show(key) for key in keys], pa.string()),
            "token_id": pa.array([int(key) if model else None for key in keys], pa.int64()),
            "score": np.concatenate([np.zeros(0), *(item.scores for item in found)]),
            "df_source": shares(0),
            "df_target": shares(1),
            "df_background": background[numbers],
            "rank": pa.array([rank for i in found for rank in range(1, len(i.tokens) + 1)], pa.int64()),
            "similarity": pa.array(by_pair(similarities, None), pa.float64()),
            "kept": pa.array(by_pair(kept, True), pa.bool_()),
        }
    )


def _share(frequencies: DocumentFrequencies, word: int) -> Counts:
    share: Counts = frequencies.words[word] / max(1.0, frequencies.word_documents[word])
    return share
