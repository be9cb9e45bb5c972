r"""Folding UTF-8 text as `Matching.apply` does, and knowing its word characters, without a step of Python for each one.

ASCII is folded by a table. Of other characters each distinct one is looked at once, when it is first met: those that
folding replaces by as many bytes are replaced in place, those that normalising or folding may change otherwise send
their document to `Matching.apply`, and the rest, in most texts nearly all, stay.
"""

import functools
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.shards import SEPARATOR
from lingraft.corpora.word_characters import is_word_character
from lingraft.pivots.matching import Matching, is_unspaced

_KNOWN, _WORD, _UNSPACED, _REPLACED, _SLOW, _MARK, _COMPOSING = (1 << bit for bit in range(7))
_SEPARATOR = SEPARATOR.encode()
_ASCII_WORD = bytes(character >= 0x80 or is_word_character(chr(character)) for character in range(256))
"""Whether a byte is a word character's; those of other characters are taken for such and corrected."""

Flags = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A text as it is compared.

    Attributes:
        data: UTF-8.
        is_word: Which bytes are of word characters (`is_word_character`), bool [bytes].
        leads: First bytes of the characters beyond ASCII, int64 [characters].
        unspaced: Which of those are of scripts written without spaces, bool [characters].
    """

    data: bytes
    is_word: NDArray[np.bool_]
    leads: NDArray[np.int64]
    unspaced: NDArray[np.bool_]


class Folder:
    """Folds texts.

    Args:
        matching: How words are matched.
    """

    def __init__(self, matching: Matching) -> None:
        self._matching = matching
        self._flags = np.zeros(0x110000, dtype=np.uint8)
        self._marks = np.zeros(0x110000, dtype=np.uint8)
        self._joined: dict[int, bool] = {}
        self._replacements = np.zeros(0x110000, dtype=np.uint32)

    def fold(self, data: bytes) -> FoldedText:
        """Fold documents joined by `SEPARATOR`.

        Args:
            data: Valid UTF-8.

        Returns:
            What `Matching.apply` makes of them.
        """
        lower = data.lower() if self._matching.fold_case else data
        if data.isascii():
            nothing = np.zeros(0, dtype=np.int64)
            return FoldedText(lower, _word_bytes(lower), nothing, nothing.astype(np.bool_))
        leads, codes = code_points(lower)
        flags = self._look(codes)
        slow = flags & _SLOW > 0
        if np.any(flags & (_MARK | _COMPOSING)):
            # Marks that do not stand in their canonical order are reordered.
            marks = self._marks[codes]
            slow[1:] |= (marks[1:] > 0) & (marks[:-1] > marks[1:])
            composing = np.flatnonzero(flags & _COMPOSING)
            slow[composing] |= self._may_compose(leads, codes, composing)
        if slow.any():
            lower = self._apply(data, lower, leads[slow])
            leads, codes = code_points(lower)
            flags = self._look(codes)
        changed = np.flatnonzero(flags & _REPLACED)
        if len(changed):
            lower = _replace(lower, leads[changed], self._replacements[codes[changed]])
        is_word = _word_bytes(lower)
        others = np.flatnonzero(flags & _WORD == 0)
        if len(others):
            places, sizes = leads[others], _sizes(codes[others])
            for offset in range(4):
                is_word[places[sizes > offset] + offset] = False
        return FoldedText(lower, is_word, leads, flags & _UNSPACED > 0)

    def _may_compose(
        self, leads: NDArray[np.int64], codes: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Say whether characters may be joined with those before them: surely not those with which they never are."""
        before = np.maximum(rows - 1, 0)
        earlier = codes[before]
        changes = (leads[rows] - leads[before] != _sizes(earlier)) | (self._marks[earlier] > 0)
        keys = np.where(changes, -1, (earlier << 21) | codes[rows])
        pairs, places = np.unique(keys, return_inverse=True)
        for key in pairs.tolist():
            if key not in self._joined:
                pair = chr(key >> 21) + chr(key & (2**21 - 1)) if key >= 0 else ""
                self._joined[key] = not pair or unicodedata.normalize("NFC", pair) != pair
        joined: NDArray[np.bool_] = np.array([self._joined[key] for key in pairs.tolist()], dtype=np.bool_)
        return joined[places]

    def _apply(self, data: bytes, lower: bytes, places: NDArray[np.int64]) -> bytes:
        """Give the documents with these bytes to `Matching.apply`."""
        parts, done = [], 0
        for place in places.tolist():
            if place < done:
                continue
            start = data.rfind(_SEPARATOR, done, place) + 1 or done
            end = data.find(_SEPARATOR, place)
            end = len(data) if end < 0 else end
            parts += [lower[done:start], self._matching.apply(data[start:end].decode()).encode()]
            done = end
        return b"".join([*parts, lower[done:]])

    def _look(self, codes: NDArray[np.int64]) -> Flags:
        flags: Flags = self._flags[codes]
        if not flags.all():
            for code in np.unique(codes[flags == 0]).tolist():
                self._learn(code)
            flags = self._flags[codes]
        return flags

    def _learn(self, code: int) -> None:
        character = chr(code)
        flags = _KNOWN | _WORD * is_word_character(character) | _UNSPACED * is_unspaced(character)
        if self._matching.normalise:
            if unicodedata.normalize("NFC", character) != character:
                flags |= _SLOW
            flags |= _COMPOSING * (code in composing())
            self._marks[code] = unicodedata.combining(character)
            flags |= _MARK * (self._marks[code] > 0)
        folded = character.casefold() if self._matching.fold_case else character
        if folded != character:
            old, new = character.encode(), folded.encode()
            alike = all(
                (is_word_character(one), is_unspaced(one))
                == (is_word_character(character), is_unspaced(character))
                for one in folded
            )
            if alike and len(old) == len(new):
                flags |= _REPLACED
                self._replacements[code] = int.from_bytes(new, "little")
            else:
                flags |= _SLOW
        self._flags[code] = flags


@functools.cache
def composing() -> frozenset[int]:
    """Return the code points that normalisation may join with the one before."""
    found = set(map(ord, unicodedata.normalize("NFD", "".join(map(chr, range(0xAC00, 0xD7A4))))))
    # Beyond the first two planes characters decompose into one other at most.
    for code in range(0xC0, 0x20000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(int(parts[1], 16))
    return frozenset(found)


def code_points(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Decode the characters beyond ASCII.

    Args:
        data: Valid UTF-8.

    Returns:
        Their first bytes and their code points, int64 [characters] each.
    """
    units = np.frombuffer(data, dtype=np.uint8)
    leads = np.flatnonzero(units >= 0xC0)
    first, second = units[leads], units[leads + 1] & 0x3F
    codes = ((first & 0x1F).astype(np.int64) << 6) | second
    longer = np.flatnonzero(first >= 0xE0)
    if len(longer):
        third = units[leads[longer] + 2] & 0x3F
        codes[longer] = ((codes[longer] & 0x3FF) << 6) | third
        longest = np.flatnonzero(first >= 0xF0)
        if len(longest):
            codes[longest] = ((codes[longest] & 0x7FFF) << 6) | (units[leads[longest] + 3] & 0x3F)
    return leads, codes


def _sizes(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = 2 + (codes >= 0x800).astype(np.int64) + (codes >= 0x10000)
    return sizes


def _word_bytes(data: bytes) -> NDArray[np.bool_]:
    return np.frombuffer(bytearray(data).translate(_ASCII_WORD), dtype=np.bool_)


def _replace(data: bytes, places: NDArray[np.int64], replacements: NDArray[np.uint32]) -> bytes:
    """Write other bytes, as many, over characters; the bytes of a replacement are those of the number, lowest first."""
    units = np.frombuffer(bytearray(data), dtype=np.uint8)
    for offset in range(4):
        byte = (replacements >> np.uint32(8 * offset)).astype(np.uint8)
        some = np.flatnonzero(byte)
        units[places[some] + offset] = byte[some]
    return units.tobytes()
