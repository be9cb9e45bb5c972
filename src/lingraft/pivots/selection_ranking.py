"""The best documents under a budget of tokens, in one pass: bounded lists that merge exactly.

Documents of a list are in a total order: by score, then by a hash of their text, so that equal scores are settled by
text and seed, not by shards or workers. A list keeps the shortest beginning of that order that fills its budget. What a
part of the corpus leaves out stands behind a full budget there, hence in the whole; so lists of parts merge into the
list of the whole, in any grouping, and hold no more documents than the budget asks for. Equal texts count once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.corpora.partials import Partial
from lingraft.corpora.records import Record
from lingraft.pivots.controls import holds_both, length_cell
from lingraft.pivots.discovery_tokens import ModelTokens, Tokens, WordFinder, hash_text, mix
from lingraft.pivots.matching import Matching
from lingraft.pivots.packed_languages import LANGUAGE_BYTES, kept_language, pack_languages

Order = Literal["pivots", "frequency", "random"]
COLUMNS: dict[str, Any] = {
    "key": np.uint64,
    "score": np.float64,
    "size": np.int64,
    "place": np.int64,
    "units": np.int64,
    "language": np.dtype((np.uint8, LANGUAGE_BYTES)),
}
COUNTS = (
    "documents",
    "too short",
    "both words of a test pair",
    "no quota for the language",
    "no pivot in it",
)
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Channel:
    """A list of documents to fill.

    Attributes:
        name: Its own.
        order: What the score is: the share of pivots, of the frequency-matched tokens, or nothing.
        budget: Tokens to fill it with.
        salt: Names the order of equal scores.
        language: Only documents in it; None for all.
        cell: Only documents of this length (see `length_cell`); None for all.
        parallel: Only documents that hold two of the languages.
    """

    name: str
    order: Order
    budget: int
    salt: str
    language: str | None = None
    cell: int | None = None
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Which documents may be chosen at all, by the selection and by every control alike.

    Attributes:
        least_units: Scoring tokens that a document needs.
        test_pairs: Documents that hold both words of one of these are kept out.
        languages: Languages with a quota; empty for no quotas.
    """

    least_units: int = 1
    test_pairs: tuple[tuple[str, str], ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RankKernel:
    """Fills channels.

    Attributes:
        channels: What is filled.
        tokens: What scores are shares of.
        pivots: The tokens of the pivot set.
        matched: Tokens as frequent as those, drawn at random; may be empty.
        counter: What the budget is counted in; None for the tokens of the score.
        eligibility: Which documents may be chosen.
        identifier: Makes the language identifier, for documents that state no language; None for none.
        identified: The languages that it chooses among.
        seed: Of all orders.
        matching: How words are matched.
    """

    channels: tuple[Channel, ...]
    tokens: Tokens
    pivots: frozenset[str]
    matched: frozenset[str]
    counter: ModelTokens | None
    eligibility: Eligibility
    identifier: Callable[[], LanguageIdentifier] | None
    identified: tuple[str, ...]
    seed: int
    matching: Matching = field(default_factory=Matching)

    def describe(self) -> Mapping[str, Any]:
        """Return what makes its lists differ from another's."""
        return {
            "version": _VERSION,
            "channels": [asdict(channel) for channel in self.channels],
            "tokens": self.tokens.name(),
            "pivots": sorted(self.pivots),
            "matched": sorted(self.matched),
            "counter": None if self.counter is None else self.counter.name(),
            "eligibility": asdict(self.eligibility),
            "identified": self.identified,
            "seed": self.seed,
        }

    def empty(self) -> Partial:
        """Return the lists of no document."""
        lists = {
            f"{channel.name}.{column}": np.zeros(0, dtype=kind)
            for channel in self.channels
            for column, kind in COLUMNS.items()
        }
        return {**lists, "counts": np.zeros(len(COUNTS), dtype=np.int64)}

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return the lists of both; `right` stands behind `left`."""
        merged: Partial = {"counts": left["counts"] + right["counts"]}
        for channel in self.channels:
            columns = {
                column: np.concatenate([left[f"{channel.name}.{column}"], right[f"{channel.name}.{column}"]])
                for column in COLUMNS
            }
            columns["place"][len(left[f"{channel.name}.place"]) :] += left["counts"][0]
            for column, values in prune(columns, channel.budget).items():
                merged[f"{channel.name}.{column}"] = values
        return merged

    def open(self) -> Callable[[Sequence[Record], Partial], Partial]:
        """Return what ranks documents."""
        return _Ranker(self).rank


def prune(columns: Mapping[str, NDArray[Any]], budget: int) -> dict[str, NDArray[Any]]:
    """Order a list and cut it behind the document that fills its budget.

    Args:
        columns: Of `COLUMNS`, [documents, ...] each.
        budget: Tokens.

    Returns:
        The same columns; of equal texts the first.
    """
    order = np.lexsort((columns["place"], columns["key"], -columns["score"]))
    key, score = columns["key"][order], columns["score"][order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (key[1:] != key[:-1]) | (score[1:] != score[:-1])
    order = order[first]
    sizes = columns["size"][order]
    order = order[np.cumsum(sizes) - sizes < budget]
    return {column: values[order] for column, values in columns.items()}


def channel_columns(partial: Partial, name: str) -> dict[str, NDArray[Any]]:
    """Return a channel's list."""
    return {column: partial[f"{name}.{column}"] for column in COLUMNS}


class _Ranker:
    """Ranks documents; made once for each worker."""

    def __init__(self, kernel: RankKernel) -> None:
        self.kernel = kernel
        self.identifier = None if kernel.identifier is None else kernel.identifier()
        pairs = kernel.eligibility.test_pairs
        self.finder = (
            WordFinder([word for pair in pairs for word in pair], kernel.matching) if pairs else None
        )
        self.pairs = [] if self.finder is None else self.finder.rows.reshape(-1, 2).tolist()

    def rank(self, records: Sequence[Record], before: Partial) -> Partial:
        kernel = self.kernel
        partial = kernel.empty()
        counts = partial["counts"]
        counts[0] = len(records)
        split = kernel.tokens.split([record.text for record in records])
        rows = []
        for row, (record, tokens) in enumerate(zip(records, split, strict=True)):
            if len(tokens) < kernel.eligibility.least_units:
                counts[1] += 1
            elif self._leaks(record.text):
                counts[2] += 1
            else:
                rows.append(row)
        languages = self._languages([records[row] for row in rows])
        units = np.array([len(split[row]) for row in rows], dtype=np.int64)
        scores = {
            "pivots": _shares([split[row] for row in rows], kernel.pivots),
            "frequency": _shares([split[row] for row in rows], kernel.matched),
            "random": np.zeros(len(rows)),
        }
        hashes = np.array([hash_text(records[row].text, kernel.seed) for row in rows], dtype=np.uint64)
        quotas = kernel.eligibility.languages
        counts[3] = sum(language not in quotas for language in languages) if quotas else 0
        counts[4] = int((scores["pivots"] == 0).sum())
        cells = np.array([length_cell(count) for count in units.tolist()], dtype=np.int64)
        named = np.array(languages, dtype=object)
        places, texts = np.array(rows, dtype=np.int64), [records[row].text for row in rows]
        sizes = _Sizes(texts, units, kernel.counter)
        for channel in kernel.channels:
            score, keys = scores[channel.order], mix(hashes, channel.salt)
            wanted = np.ones(len(rows), dtype=np.bool_) if channel.order == "random" else score > 0
            if channel.language is not None:
                wanted &= named == channel.language
            if channel.cell is not None:
                wanted &= cells == channel.cell
            wanted &= _before_last(channel_columns(before, channel.name), channel.budget, score, keys)
            if channel.parallel:
                for row in np.flatnonzero(wanted).tolist():
                    wanted[row] = self.identifier is not None and holds_both(texts[row], self.identifier)
            chosen = np.flatnonzero(wanted)
            values: dict[str, NDArray[Any]] = {
                "key": keys[chosen],
                "score": score[chosen],
                "size": sizes.of(chosen),
                "place": places[chosen],
                "units": units[chosen],
                "language": pack_languages([languages[row] for row in chosen.tolist()]),
            }
            partial.update({f"{channel.name}.{column}": array for column, array in values.items()})
        return partial

    def _leaks(self, text: str) -> bool:
        if self.finder is None:
            return False
        found = self.finder.find(self.kernel.matching.apply(text))
        return any(source in found and target in found for source, target in self.pairs)

    def _languages(self, records: Sequence[Record]) -> list[str]:
        stated = [record.fields.get("language") for record in records]
        languages = [kept_language(language) if isinstance(language, str) else "" for language in stated]
        unknown = [row for row, language in enumerate(languages) if not language]
        if self.identifier is not None and unknown:
            guesses = self.identifier.identify([records[row].text for row in unknown])
            for row, guess in zip(unknown, guesses, strict=True):
                languages[row] = guess.language
        return languages


class _Sizes:
    """Documents' tokens in the unit of the budget, counted once and only where they are wanted."""

    def __init__(self, texts: Sequence[str], units: NDArray[np.int64], counter: ModelTokens | None) -> None:
        self._texts, self._counter = texts, counter
        self._sizes = units.copy() if counter is None else np.full(len(units), -1, dtype=np.int64)

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        unknown = rows[self._sizes[rows] < 0]
        if len(unknown) and self._counter is not None:
            self._sizes[unknown] = self._counter.count([self._texts[row] for row in unknown.tolist()])
        return self._sizes[rows]


def _shares(split: Sequence[Sequence[str]], wanted: frozenset[str]) -> NDArray[np.float64]:
    return np.array(
        [sum(token in wanted for token in tokens) / len(tokens) for tokens in split], dtype=np.float64
    )


def _before_last(
    kept: Mapping[str, NDArray[Any]], budget: int, scores: NDArray[np.float64], keys: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Which documents stand before the last of a full list; all, where it is not full."""
    if int(kept["size"].sum()) < budget:
        return np.ones(len(scores), dtype=np.bool_)
    score, key = kept["score"][-1], kept["key"][-1]
    before: NDArray[np.bool_] = (scores > score) | ((scores == score) & (keys < key))
    return before
