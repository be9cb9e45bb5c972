"""What counts as an occurrence of a word in a text.

Text and words are normalised to NFC and case-folded. A word in a script written with spaces occurs where it stands and
no word character (a letter, digit, underscore or combining mark, see `word_characters`) is next to it; a word with a
character of a script written without spaces (Chinese, Japanese, Thai, Khmer, Lao, Burmese) occurs wherever it stands.
Both rules are our choice, and are stated in every result.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import ConfigError

_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u3134\u31a0-\u31bf\u31f0-\u31ff"  # kana, bopomofo, Han signs
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"  # Han, half-width kana
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"  # kana supplements, rare Han
    "]"
)


@dataclass(frozen=True, slots=True)
class Matching:
    """How words are matched.

    Attributes:
        normalise: Normalise text and words to NFC.
        fold_case: Take no notice of case.
        whole_words: Whole words in spaced scripts; False matches substrings everywhere.
    """

    normalise: bool = True
    fold_case: bool = True
    whole_words: bool = True

    def apply(self, text: str) -> str:
        """Return the text as it is compared: NFC, then case-folded."""
        if text.isascii():
            return text.lower() if self.fold_case else text
        if self.normalise:
            # Text that is composed already, as most is, is only looked at.
            text = unicodedata.normalize("NFC", text)
        return text.casefold() if self.fold_case else text

    def describe(self) -> dict[str, Any]:
        """Return the options, JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        """State the policy in words."""
        return ", ".join(
            [
                "NFC" if self.normalise else "not normalised",
                "case-folded" if self.fold_case else "case-sensitive",
                "whole words in spaced scripts (not next to a letter, digit, underscore or mark), substrings in "
                "Chinese, Japanese, Thai, Khmer, Lao, Burmese"
                if self.whole_words
                else "substrings",
            ]
        )


def is_unspaced(word: str) -> bool:
    """Whether a word has a character of a script that is written without spaces."""
    return _UNSPACED.search(word) is not None


def prepare_word(word: str, matching: Matching, place: str) -> str:
    """Return a word as it is looked for.

    Args:
        word: As given; white space around it is dropped.
        matching: How words are matched.
        place: Where it was given, for the error.

    Returns:
        The word, normalised.

    Raises:
        ConfigError: Nothing visible is left of it, or it has a line end in it.
    """
    ready = matching.apply(word.strip())
    if not any(unicodedata.category(character)[0] in "LNPS" for character in ready):
        raise ConfigError(
            f"{place}: the word {word!r}"
            + (" is empty" if not word.strip() else " has no visible character"),
            "a word with a letter, a digit or a sign",
            "mend or remove that line",
        )
    if "\n" in ready or "\r" in ready:
        raise ConfigError(f"{place}: the word {word!r}", "no line end in a word", "mend or remove that line")
    try:
        ready.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{place}: the word {word!r} has a lone surrogate", "Unicode text", "mend or remove that line"
        ) from error
    return ready


@dataclass(frozen=True, slots=True)
class WordList:
    """The distinct words to look for.

    Attributes:
        words: As they are looked for.
        bounded: Which of them must not stand next to a word character, bool [words].
        rows: For each word that was given, its place in `words`, int64 [given].
    """

    words: tuple[str, ...]
    bounded: NDArray[np.bool_]
    rows: NDArray[np.int64]


def list_words(given: Sequence[str], places: Iterable[str], matching: Matching) -> WordList:
    """Prepare words, each distinct one once.

    Args:
        given: The words.
        places: Where each was given, for errors.
        matching: How words are matched.

    Returns:
        The list.

    Raises:
        ConfigError: A word that cannot be looked for.
    """
    numbers: dict[str, int] = {}
    rows = [
        numbers.setdefault(prepare_word(word, matching, place), len(numbers))
        for word, place in zip(given, places, strict=True)
    ]
    words = tuple(numbers)
    bounded = np.array([matching.whole_words and not is_unspaced(word) for word in words], dtype=np.bool_)
    return WordList(words, bounded, np.array(rows, dtype=np.int64))


@functools.cache
def unspaced_units() -> NDArray[np.bool_]:
    """Return which code points are of scripts written without spaces, bool [0x110000]."""
    table = np.zeros(0x110000, dtype=np.bool_)
    for match in _UNSPACED.finditer("".join(map(chr, range(0x110000)))):
        table[match.start()] = True
    return table
