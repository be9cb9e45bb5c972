"""Word pairs from parallel text, for languages without a lexicon: words that come in the same sentence pairs.

Our choice throughout (the paper takes its words from a lexicon): words are runs of letters, NFC and case-folded,
counted once a sentence pair; a pair of words is scored by Dunning's log-likelihood ratio (1993) or by Dice's
coefficient of the sentence pairs that hold them, and kept where each is the other's best, they come together often
enough, and they are different words. There is no stemming: where a language puts endings on its words (Basque,
Korean), the pair names the form that fits best. Scripts without spaces are refused. Everything is exact and depends on
nothing but the text, which is held in memory.
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import xlogy

from lingraft.errors import ConfigError
from lingraft.pivots.matching import is_unspaced

Measure = Literal["log-likelihood", "dice"]
MEASURES: tuple[Measure, ...] = ("log-likelihood", "dice")
MINIMUM_COUNT = 5
"""Sentence pairs that must hold both words."""
MINIMUM_DICE = 0.5
"""Least Dice coefficient of a kept pair, whatever it is ranked by. Of German pairs whose English word FreeDict holds,
it lists the German one for 63 % of those at 0.5 and above, 56 % at 0.4 to 0.5, 50 % at 0.3 to 0.4, 37 % below."""
LOWER_SHARE = 0.1
"""A word is spelled in lower case where this share of its occurrences is; German nouns are not."""
BLOCK_ENTRIES = 5_000_000
"""Co-occurrences held at a time."""

_JOINERS = "'\u2019-"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class InducedPair:
    """Two words that come together.

    Attributes:
        source_word: As it is mostly spelled, NFC.
        target_word: Likewise.
        score: By the measure asked for: `-2 log` of the likelihood ratio (natural logarithm), or 0 to 1.
        dice: Dice's coefficient: `2 both / (source_count + target_count)`.
        both: Sentence pairs that hold both.
        source_count: Sentence pairs that hold the source word.
        target_count: Sentence pairs that hold the target word.
    """

    source_word: str
    target_word: str
    score: float
    dice: float
    both: int
    source_count: int
    target_count: int


@dataclass(frozen=True, slots=True)
class _Side:
    """One side's words: case-folded in code point order, how each is spelled, and who holds which.

    Attributes:
        words: Folded words.
        spellings: What each is shown as.
        held: `[pairs, words]`, 1.0 where a sentence pair holds a word.
    """

    words: list[str]
    spellings: list[str]
    held: csr_array

    @property
    def counts(self) -> Ints:
        """`[words]`, how many sentence pairs hold each."""
        return np.asarray(self.held.sum(axis=0), dtype=np.int64).reshape(-1)


def induce_pairs(
    sentences: Iterable[tuple[str, str]],
    *,
    measure: Measure = "log-likelihood",
    minimum_count: int = MINIMUM_COUNT,
    minimum_dice: float = MINIMUM_DICE,
) -> list[InducedPair]:
    """Find word pairs in sentence pairs.

    Args:
        sentences: Text and its translation; a pair that is the same text twice (untranslated) counts for nothing.
        measure: What words are ranked and matched by; only pairs that come together more often than by chance count.
        minimum_count: Sentence pairs that must hold both words.
        minimum_dice: Least Dice coefficient of a kept pair.

    Returns:
        Pairs that are each other's best, best first. Among equals the more frequent and then the first in code point
        order is the best.

    Raises:
        ConfigError: An unknown measure, a number out of range, no sentence, or a side in a script without spaces.
    """
    _check(measure, minimum_count, minimum_dice)
    kept = [pair for pair in sentences if pair[0].strip() != pair[1].strip()]
    first, second = (_read_side([pair[side] for pair in kept], minimum_count) for side in (0, 1))
    if not first.words or not second.words:
        return []
    source, target, both = _together(first, second, minimum_count)
    own, other = first.counts[source], second.counts[target]
    score, dice = (_score(name, both, own, other, len(kept)) for name in (measure, MEASURES[1]))
    best = _best(source, target, both, score) & _best(target, source, both, score)
    best &= dice >= minimum_dice
    order = np.lexsort((target, source, -both, -score))
    return [
        InducedPair(
            first.spellings[source[place]],
            second.spellings[target[place]],
            float(score[place]),
            float(dice[place]),
            int(both[place]),
            int(own[place]),
            int(other[place]),
        )
        for place in order[best[order]]
        if first.words[source[place]] != second.words[target[place]]
    ]


def words_of(text: str) -> Iterator[str]:
    """Return the words of a text: runs of letters with their marks, in NFC, joined by apostrophes and hyphens.

    Args:
        text: Any text.

    Yields:
        Words as spelled; what holds a digit or an underscore is none.
    """
    for run in unicodedata.normalize("NFC", text).split():
        yield from _cut(run)


@functools.lru_cache(maxsize=2**18)
def _cut(run: str) -> tuple[str, ...]:
    """Cut at everything that is neither a letter, a mark, a digit, nor a joiner between two letters."""
    parts: list[str] = [""]
    for place, letter in enumerate(run):
        joins = letter in _JOINERS and bool(parts[-1]) and run[place + 1 : place + 2].isalpha()
        if letter == "_" or unicodedata.category(letter)[0] in "LMN" or joins:
            parts[-1] += letter
        elif parts[-1]:
            parts.append("")
    return tuple(part for part in parts if part and all(_belongs(letter) for letter in part))


def _belongs(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter)[0] in "LM"


def _check(measure: str, minimum_count: int, minimum_dice: float) -> None:
    if measure not in MEASURES:
        raise ConfigError(f"measure {measure!r}", f"one of {', '.join(MEASURES)}", "name one of them")
    if minimum_count < 1:
        raise ConfigError(f"a minimum count of {minimum_count}", "at least 1", "give a larger number")
    if not 0 <= minimum_dice <= 1:
        raise ConfigError(f"a least Dice coefficient of {minimum_dice}", "0 to 1", "give another number")


def _read_side(texts: Sequence[str], minimum_count: int) -> _Side:
    spelled = [list(words_of(text)) for text in texts]
    occurrences = Counter(word for words in spelled for word in words)
    if not occurrences:
        raise ConfigError("no word in the sentence pairs", "text and its translation", "give another file")
    unspaced = sum(count for word, count in occurrences.items() if is_unspaced(word))
    if 2 * unspaced > occurrences.total():
        raise ConfigError(
            "sentences in a script without spaces",
            "words between spaces",
            "give a lexicon instead (Japanese has freedict-eng-jpn)",
        )
    folded = {word: word.casefold() for word in occurrences}
    held = Counter(word for words in spelled for word in {folded[word] for word in words})
    words = sorted(word for word, count in held.items() if count >= minimum_count)
    number = {word: place for place, word in enumerate(words)}
    rows: list[int] = []
    columns: list[int] = []
    for row, found in enumerate(spelled):
        mine = {number[folded[word]] for word in found if folded[word] in number}
        rows += [row] * len(mine)
        columns += mine
    cells = (np.ones(len(rows)), (rows, columns))
    return _Side(words, _spellings(words, occurrences, folded), csr_array(cells, (len(texts), len(words))))


def _spellings(words: Sequence[str], occurrences: Counter[str], folded: dict[str, str]) -> list[str]:
    forms: dict[str, list[str]] = {}
    for form in sorted(occurrences):
        forms.setdefault(folded[form], []).append(form)
    shown = []
    for word in words:
        lower = [form for form in forms[word] if form == form.lower()]
        total = sum(occurrences[form] for form in forms[word])
        often = sum(occurrences[form] for form in lower) >= LOWER_SHARE * total
        # `max` takes the first of equals, and the forms are in code point order.
        shown.append(max(lower if often and lower else forms[word], key=occurrences.__getitem__))
    return shown


def _together(source: _Side, target: _Side, minimum_count: int) -> tuple[Ints, Ints, Ints]:
    """Return the word numbers of all pairs that come together often enough, and how often."""
    found: list[tuple[Ints, Ints, Ints]] = []
    by_word = source.held.T.tocsr()
    # A word's row has at most as many entries as its sentences have words.
    lengths = np.diff(target.held.indptr)
    reach = np.cumsum(by_word @ lengths)
    begin = 0
    while begin < len(source.words):
        before = reach[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(reach, before + BLOCK_ENTRIES, side="right")))
        block = (by_word[begin:end] @ target.held).tocoo()
        often = block.data >= minimum_count
        rows, columns = (np.asarray(block.coords[axis], dtype=np.int64)[often] for axis in (0, 1))
        found.append((rows + begin, columns, block.data[often].astype(np.int64)))
        begin = end
    rows, columns, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, counts


def _score(measure: Measure, both: Ints, first: Ints, second: Ints, total: int) -> Floats:
    """Score pairs of words; what comes together no more often than by chance has minus infinity.

    Args:
        measure: By what.
        both: `[n]`, sentence pairs with both words.
        first: `[n]`, with the source word.
        second: `[n]`, with the target word.
        total: All sentence pairs.

    Returns:
        `[n]`.
    """
    if measure == "dice":
        return 2.0 * both / (first + second)
    cells = [both, first - both, second - both, total - first - second + both]
    # Sums of k log k, each from whole numbers, so that equal counts have equal scores to the last bit.
    inner = sum(xlogy(cell, cell) for cell in cells)
    margins = sum(xlogy(cell, cell) for cell in (first, total - first, second, total - second))
    ratio = 2.0 * (inner - margins + xlogy(total, total))
    return np.where(both * total > first * second, ratio, -np.inf)


def _best(own: Ints, other: Ints, both: Ints, score: Floats) -> NDArray[np.bool_]:
    """Say which pairs are the best of their `own` word."""
    order = np.lexsort((other, -both, -score, own))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = own[order][1:] != own[order][:-1]
    best = np.zeros(len(order), dtype=np.bool_)
    best[order[first]] = True
    return best & np.isfinite(score)
