"""Controls of a selection: what any documents of this budget would do, and parallel ones, and other tokens.

- `random`: documents drawn from all that may be chosen.
- `matched`: drawn so that each language and each length, by half octaves, has as many tokens as in the selection.
- `parallel`: drawn from documents that hold two languages; parallel text alone explains much of such gains
  (arXiv 2601.00364).
- `frequency`: chosen like the selection, by random tokens that are in as many documents as the pivots.
"""

import math
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import numpy as np

from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.pivots.discovery import DocumentFrequencies
from lingraft.pivots.discovery_tokens import Tokens, is_wordlike

CONTROLS = ("random", "matched", "parallel", "frequency")
SECOND_LANGUAGE = 0.2
"""Least share of a parallel document's letters that is in its second language (our choice)."""
_SENTENCE = re.compile(r"(?<=[.!?。！？।])\s+|[\n\r]+")
_SEGMENT = 40
"""Characters that a language can be told by."""


def length_cell(units: int) -> int:
    """Return which half octave a length is in: 16 to 22 is one, 23 to 31 the next."""
    return math.floor(2 * math.log2(max(1, units)))


def holds_both(text: str, identifier: LanguageIdentifier) -> bool:
    """Whether a document holds two languages.

    Args:
        text: The document.
        identifier: Of the languages in question.

    Returns:
        Whether segments in a second language hold `SECOND_LANGUAGE` of the letters or more.
    """
    segments: list[str] = []
    for sentence in _SENTENCE.split(text):
        if segments and len(segments[-1]) < _SEGMENT:
            segments[-1] += " " + sentence
        else:
            segments.append(sentence)
    if len(segments) < 2:
        return False
    letters: dict[str, int] = {}
    for segment, guess in zip(segments, identifier.identify(segments), strict=True):
        if guess.language:
            letters[guess.language] = letters.get(guess.language, 0) + sum(map(str.isalpha, segment))
    ranked = sorted(letters.values(), reverse=True)
    return len(ranked) > 1 and ranked[1] >= SECOND_LANGUAGE * sum(ranked)


def frequency_matched(
    pivots: Iterable[str],
    frequencies: DocumentFrequencies,
    *,
    tokens: Tokens,
    forbidden: Iterable[str] = (),
    seed: int = 0,
) -> frozenset[str]:
    """Draw, for each pivot, another token that is in about as many documents of a sample.

    Args:
        pivots: The pivot set.
        frequencies: Of a sample of the corpus; its background is used.
        tokens: How documents were cut into tokens.
        forbidden: Tokens never to draw.
        seed: Of the draw.

    Returns:
        As many tokens as pivots where so many are there; none is a pivot or forbidden.
    """
    wanted = sorted(set(pivots))
    numbers = {token: number for number, token in enumerate(frequencies.tokens)}
    left_out = {*wanted, *forbidden}
    pool = [
        number
        for token, number in numbers.items()
        if token not in left_out and is_wordlike(tokens.show(token)) and frequencies.background[number] > 0
    ]
    # In a random order within equal frequencies, so that the nearest ones are drawn, not taken by the alphabet.
    shuffled = np.random.default_rng(seed).permutation(np.array(pool, dtype=np.int64))
    order = shuffled[np.argsort(frequencies.background[shuffled], kind="stable")]
    values, free = frequencies.background[order].tolist(), order.tolist()
    drawn: list[str] = []
    # The frequent first, as few others are as frequent.
    counts = {
        token: float(frequencies.background[numbers[token]]) if token in numbers else 0.0 for token in wanted
    }
    generator = random.Random(seed)
    for token in sorted(wanted, key=lambda token: (-counts[token], token)):
        if not free:
            break
        place = _nearest(values, counts[token], generator)
        values.pop(place)
        drawn.append(frequencies.tokens[free.pop(place)])
    return frozenset(drawn)


def _nearest(values: list[float], count: float, generator: random.Random) -> int:
    """Return a place in the sorted values, at random among those that are nearest to a count."""
    place = bisect_left(values, count)
    near = values[max(0, place - 1) : place + 1]
    value = min(near, key=lambda value: (abs(value - count), value))
    return generator.randint(bisect_left(values, value), bisect_right(values, value) - 1)
