r"""What a word is made of: what Python's `\w` matches, and combining marks, without which Hindi's words fall apart.

Not among the marks are variation selectors and signs that enclose others (our choice): they stand behind emoji and
symbols, which are no parts of words.
"""

import functools
import re
import sys
import unicodedata
from itertools import groupby

_RUNS = re.compile(r"\w+")
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


@functools.lru_cache(maxsize=2**16)
def is_word_character(character: str) -> bool:
    """Whether a character is part of a word: a letter, digit, underscore or combining mark."""
    return re.match(r"\w", character) is not None or _is_mark(ord(character))


@functools.cache
def word_pattern() -> re.Pattern[str]:
    """Return what matches runs of word characters."""
    marks = []
    for is_mark, group in groupby(range(sys.maxunicode + 1), _is_mark):
        if is_mark:
            members = list(group)
            marks.append(f"{chr(members[0])}-{chr(members[-1])}")
    return re.compile(rf"[\w{''.join(marks)}]+")


def word_runs(text: str) -> list[str]:
    """Return the runs of word characters in a text, fast where it has no marks."""
    return (_RUNS if _all_marks().isdisjoint(text) else word_pattern()).findall(text)


@functools.cache
def _all_marks() -> frozenset[str]:
    return frozenset(chr(code) for code in range(sys.maxunicode + 1) if _is_mark(code))


def _is_mark(code: int) -> bool:
    return unicodedata.category(chr(code)) in {"Mn", "Mc"} and not any(code in some for some in _SELECTORS)
