"""Splitting a corpus by file, and keeping near-duplicates of training text out of what is held out."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

_UNIT = re.compile(
    r"[぀-ヿ㐀-䶿一-鿿豈-﫿฀-๿຀-໿ༀ-࿿က-႟ក-៿]"  # written without spaces: a character is a unit
    r"|[^\W_]+"
)
_DIGITS = re.compile(r"\d+")
HELD_OUT_SHARE = 0.1
SHINGLE = 3
"""Units in a shingle: short, so that one changed word in a sentence does not hide a copy."""
LONG_SHINGLE = 8
"""Units in a run that hardly occurs twice by chance: what a longer text shares as a quotation."""
NEAR_DUPLICATE = 0.5
"""Our choice: the Jaccard overlap of short shingles with one training text, or the share of long shingles
found anywhere in the training text, from which a held-out text counts as a near-duplicate."""


def held_out(file: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a file is held out: by its name alone, so alike in every language and release."""
    digest = hashlib.sha256(file.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def units(text: str) -> list[str]:
    """Return a text's words (or characters, where a script sets no spaces), case folded, numbers as `0`."""
    return _UNIT.findall(_DIGITS.sub("0", text.casefold()))


def shingles(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """Return the runs of `size` units; a shorter text is one run."""
    if len(words) <= size:
        return {tuple(words)}
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def remove_near_duplicates(candidates: Iterable[str], training: Sequence[str]) -> tuple[list[str], int]:
    """Return the candidates that no training text nearly repeats, and how many were removed.

    Args:
        candidates: Held-out texts.
        training: The training texts.

    Returns:
        The texts kept, in order, and the number removed.
    """
    index = _Index(training)
    kept, removed = [], 0
    for text in candidates:
        if index.has_near_duplicate(text):
            removed += 1
        else:
            kept.append(text)
    return kept, removed


class _Index:
    """An exact inverted index of the shingles of the training texts."""

    def __init__(self, training: Sequence[str]) -> None:
        self.short: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self.long: set[tuple[str, ...]] = set()
        self.sizes: list[int] = []
        for number, text in enumerate(training):
            words = units(text)
            runs = shingles(words, SHINGLE)
            self.sizes.append(len(runs))
            for run in runs:
                self.short[run].append(number)
            if len(words) >= LONG_SHINGLE:
                self.long |= shingles(words, LONG_SHINGLE)

    def has_near_duplicate(self, text: str) -> bool:
        words = units(text)
        if len(words) >= LONG_SHINGLE:
            runs = shingles(words, LONG_SHINGLE)
            if sum(run in self.long for run in runs) >= NEAR_DUPLICATE * len(runs):
                return True
        runs = shingles(words, SHINGLE)
        shared: Counter[int] = Counter()
        for run in runs:
            shared.update(self.short.get(run, ()))
        return any(
            count >= NEAR_DUPLICATE * (len(runs) + self.sizes[number] - count)
            for number, count in shared.items()
        )
