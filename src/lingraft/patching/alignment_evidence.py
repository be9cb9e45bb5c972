"""How likely it is, without any model, that two rows in different languages say the same.

Evidence is a log-likelihood ratio in nats: rows that are translations against rows that are not, the latter as two rows
of these files are that have nothing to do with each other. It looks at lengths, numbers, words that both spell alike,
question marks, and at lines that repeat the row before (a context or premise asked about more than once). The constants
were read off public XNLI, XQuAD and XCOPA files (our choice throughout).
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPREADS = (0.8, 1.1, 1.5, 2.0)
"""How much wider than usual a language's lengths may scatter."""
SHARED = (0.02, 0.1, 0.3, 0.6)
"""How often a word of one row may come again in its translation, where it comes in the other file at all."""
_KEPT_NUMBERS = 0.8
_KEPT_REPEATS = 0.98
_KEPT_QUESTIONS = 0.95
_OUTLIERS = 0.03
_CAP = 5.0
_QUESTION_MARKS = "?？؟;⁇՞፧"


@dataclass(frozen=True, slots=True)
class Column:
    """One line of every row of one language, the same line of the prompt.

    Attributes:
        texts: The line of each row.
        numbers: Numbers in each.
        words: Words of four letters and more in each, in one spelling.
    """

    texts: tuple[str, ...]
    numbers: tuple[frozenset[str], ...]
    words: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for rows i of one file and i + k of another being translations, k = -most..most.

    Attributes:
        fixed: float64 `[rows, 2 most + 1]`, nats, from repeats, numbers and question marks.
        lengths: float64 `[spreads, rows, 2 most + 1]`, nats, for each of `SPREADS`.
        words: float64 `[shared, rows, 2 most + 1]`, nats, for each of `SHARED`.
    """

    fixed: NDArray[np.float64]
    lengths: NDArray[np.float64]
    words: NDArray[np.float64]


def columns_of(texts: Sequence[str], others: Sequence[str]) -> tuple[list[Column], list[Column]]:
    """Cut prompts into the lines that differ from row to row.

    Args:
        texts: One language's prompts.
        others: The other's.

    Returns:
        Columns of both, as many: one for each such line where nearly all rows of both languages have the same number
        of them (further lines count to the first), else a single one of whole prompts.
    """
    for scattered in (True, False):
        sides = [_varying_lines(rows, scattered) for rows in (texts, others)]
        usual = [Counter(len(row) for row in rows).most_common(1)[0] for rows in sides]
        count = usual[0][0]
        regular = all(many >= 0.9 * len(rows) for (_, many), rows in zip(usual, sides, strict=True))
        if regular and count > 0 and usual[1][0] == count:
            sides = [[_as_many(row, count) for row in rows] for rows in sides]
            break
    else:
        sides = [[[" ".join(row)] for row in rows] for rows in sides]
    first, second = (
        [_column([row[place] for row in rows]) for place in range(len(rows[0]))] for rows in sides
    )
    return first, second


def weigh(columns: Sequence[Column], others: Sequence[Column], most: int) -> Evidence:
    """Weigh every row against its neighbours' places in the other file.

    Args:
        columns: Columns of one language, `rows` long.
        others: The same columns of the other language, of any length.
        most: The largest shift looked at.

    Returns:
        The evidence; 0 where a place is outside the other file.
    """
    rows, width = len(columns[0].texts), 2 * most + 1
    fixed = np.zeros((rows, width))
    lengths = np.zeros((len(SPREADS), rows, width))
    words = np.zeros((len(SHARED), rows, width))
    for column, other in zip(columns, others, strict=True):
        place, partner, inside = _places(rows, len(other.texts), most)
        repeats, repeated = _repeats(column.texts), _repeats(other.texts)
        empty = [np.array([not text for text in side.texts], dtype=bool) for side in (column, other)]
        stale, staled = repeats | empty[0], repeated | empty[1]
        # A line that repeats the row before says nothing new but that it does.
        new = inside & ~stale[place] & ~staled[partner]
        fixed += np.where(inside, _binary(repeats, repeated, place, partner, _KEPT_REPEATS, 0.5), 0.0)
        asks, asked = (_asks(side.texts) for side in (column, other))
        fresh = new & ~_as_before(asks, asked, place, partner)
        fixed += np.where(fresh, _binary(asks, asked, place, partner, _KEPT_QUESTIONS, 0.8), 0.0)
        fixed += np.where(new, _shared(column.numbers, other.numbers, most, _KEPT_NUMBERS), 0.0)
        for number, spread in enumerate(SPREADS):
            weight = _length_ratio(column.texts, other.texts, place, partner, spread)
            lengths[number] += np.where(new, weight, 0.0)
        for number, share in enumerate(SHARED):
            words[number] += np.where(new, _shared(column.words, other.words, most, share), 0.0)
    return Evidence(fixed, lengths, words)


def _varying_lines(texts: Sequence[str], scattered: bool) -> list[list[str]]:
    """Each prompt's lines but those of its wording: what most rows have, and what many have here and there."""
    rows = [[line.strip() for line in text.split("\n") if line.strip()] for text in texts]
    held, runs = Counter[str](), Counter[str]()
    before: set[str] = set()
    for row in rows:
        held.update(set(row))
        runs.update(set(row) - before)
        before = set(row)
    many = max(4, 0.1 * len(rows)) if scattered else math.inf
    wording = {
        line for line in held if held[line] > 0.6 * len(rows) or (held[line] >= many and runs[line] >= 4)
    }
    return [[line for line in row if line not in wording] for row in rows]


def _as_many(row: list[str], count: int) -> list[str]:
    """A row in `count` lines: a context may have breaks of its own, a question has none."""
    over = len(row) - count
    if over >= 0:
        return [" ".join(row[: over + 1]), *row[over + 1 :]]
    return [*row, *[""] * -over]


def _column(lines: list[str]) -> Column:
    # All lines begin alike as far as the first and the last in order do.
    first, last = min(lines), max(lines)
    letters = zip(first, last, strict=False)
    same = next((at for at, (one, other) in enumerate(letters) if one != other), len(first))
    label = first[:same] if first != last else ""
    # Up to the label's end ("Premise: "), not into the words behind it.
    cut = max((place + 1 for place, letter in enumerate(label) if not letter.isalnum()), default=0)
    texts = tuple(unicodedata.normalize("NFC", line[cut:]) for line in lines)
    return Column(
        texts,
        tuple(_numbers(text) for text in texts),
        tuple(_spelt(text) for text in texts),
    )


def _numbers(text: str) -> frozenset[str]:
    digits = "".join(str(unicodedata.digit(one, one)) if one.isdigit() else one for one in text)
    return frozenset(re.findall(r"[0-9]+", digits))


def _spelt(text: str) -> frozenset[str]:
    bare = (one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one))
    return frozenset(re.findall(r"[^\W\d_]{4,}", "".join(bare)))


def _asks(texts: Iterable[str]) -> NDArray[np.bool_]:
    return np.array([any(mark in text for mark in _QUESTION_MARKS) for text in texts], dtype=bool)


def _repeats(texts: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([place > 0 and text == texts[place - 1] for place, text in enumerate(texts)], dtype=bool)


def _places(
    rows: int, others: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Row numbers `[rows, 1]`, their partners `[rows, 2 most + 1]` kept inside the file, and whether they are."""
    place = np.arange(rows)[:, None]
    partner = place + np.arange(-most, most + 1)[None, :]
    inside = (partner >= 0) & (partner < others)
    return place, np.clip(partner, 0, others - 1), inside


def _binary(
    one: NDArray[np.bool_],
    other: NDArray[np.bool_],
    place: NDArray[np.int64],
    partner: NDArray[np.int64],
    kept: float,
    alike: float,
) -> NDArray[np.float64]:
    """Evidence of a property that translations share; none where the files have it too unequally often."""
    first, second = float(one.mean()), float(other.mean())
    mean = (first + second) / 2
    if min(first, second) < alike * max(first, second) or not 0 < mean < 1:
        return np.zeros(partner.shape)
    floor = 0.5 / len(one)
    first, second = (min(max(rate, floor), 1 - floor) for rate in (first, second))
    mean = (first + second) / 2
    table = np.log(
        [
            [
                (1 - mean - (1 - kept) / 2 * 2 * mean * (1 - mean)) / ((1 - first) * (1 - second)),
                (1 - kept) * mean * (1 - mean) / ((1 - first) * second),
            ],
            [
                (1 - kept) * mean * (1 - mean) / (first * (1 - second)),
                (mean - (1 - kept) / 2 * 2 * mean * (1 - mean)) / (first * second),
            ],
        ]
    )
    weights: NDArray[np.float64] = table[one[place].astype(int), other[partner].astype(int)]
    return weights


def _as_before(
    one: NDArray[np.bool_], other: NDArray[np.bool_], place: NDArray[np.int64], partner: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where the rows before differ in the same way: rows alike in a row are one piece of evidence, not many."""
    differ = one[place] != other[partner]
    same = (one[place] == one[np.maximum(place - 1, 0)]) & (
        other[partner] == other[np.maximum(partner - 1, 0)]
    )
    found: NDArray[np.bool_] = differ & same & (place > 0) & (partner > 0)
    return found


def _shared(
    one: Sequence[frozenset[str]], other: Sequence[frozenset[str]], most: int, kept: float
) -> NDArray[np.float64]:
    """Evidence of numbers or words that translations keep, capped.

    Only what both files hold, and not often, counts; and what is as in the two rows before does not count again.
    """
    rows, others = len(one), len(other)
    counts, rates = Counter[str](), Counter[str]()
    for row in one:
        counts.update(row)
    for row in other:
        rates.update(row)
    rare = {
        key for key in counts if key in rates and rates[key] <= 0.2 * others and counts[key] <= 0.2 * rows
    }
    present = {key: math.log(kept * (others + 1) / (rates[key] + 0.5) + 1 - kept) for key in rare}
    absent = math.log(1 - kept)
    ours, theirs = [row & rare for row in one], [row & rare for row in other]
    weights = np.zeros((rows, 2 * most + 1))
    nothing: frozenset[str] = frozenset()
    for place in range(rows):
        for partner in range(max(0, place - most), min(others, place + most + 1)):
            mine, its = ours[place], theirs[partner]
            if not mine and not its:
                continue
            known, knew = (ours[place - 1], theirs[partner - 1]) if place and partner else (nothing, nothing)
            kept_now = (mine & its) - known - knew
            lost_now = len(mine - its - known) + len(its - mine - knew)
            weight = sum(present[key] for key in kept_now) + absent * lost_now / 2
            weights[place, partner - place + most] = min(max(weight, -_CAP), _CAP)
    return weights


def _length_ratio(
    one: Sequence[str],
    other: Sequence[str],
    place: NDArray[np.int64],
    partner: NDArray[np.int64],
    spread: float,
) -> NDArray[np.float64]:
    """Evidence of lengths: a translation's is proportional, the more closely the longer the text."""
    first, second = (np.log([len(text) + 1.0 for text in texts]) for texts in (one, other))
    usual = float(np.median(second) - np.median(first))
    apart = second[partner] - first[place] - usual
    far = float(first.var() + second.var())
    near = spread**2 * (0.1**2 + 1.2 / np.exp(first[place]))
    if far <= 0:
        return np.zeros(partner.shape)
    near = np.minimum(near, far)
    ratio = np.sqrt(far / near) * np.exp(-0.5 * apart**2 * (1 / near - 1 / far))
    weights: NDArray[np.float64] = np.minimum(np.log((1 - _OUTLIERS) * ratio + _OUTLIERS), _CAP)
    return weights
