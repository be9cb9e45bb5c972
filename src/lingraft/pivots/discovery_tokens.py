"""What documents are made of for discovery and selection: tokens, which words occur, and a number to draw by.

Tokens are words unless a model's tokenizer is given: maximal runs of word characters (see `word_characters`) after
`Matching.apply`, and every two neighbouring characters in scripts written without spaces, where words cannot be told
without a dictionary (our choice; a model's tokenizer says more there).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.word_characters import is_word_character, word_pattern, word_runs
from lingraft.pivots.automaton import Automaton
from lingraft.pivots.matching import Matching, is_unspaced, list_words, unspaced_units

_MASK = 2**64 - 1


class Tokens(Protocol):
    """How texts are cut into tokens; picklable."""

    def name(self) -> str:
        """Say what a token is, in words."""

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Return each text's tokens in order."""

    def show(self, token: str) -> str:
        """Return a token as a person reads it."""

    def cut(self, text: str, tokens: int) -> str:
        """Return the beginning of a text that holds so many tokens."""


@dataclass(frozen=True, slots=True)
class WordTokens:
    """Words.

    Attributes:
        matching: How texts are normalised.
    """

    matching: Matching = field(default_factory=Matching)

    def name(self) -> str:
        """Say what a token is."""
        return "words"

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Return each text's words, normalised."""
        return [self._words(self.matching.apply(text)) for text in texts]

    def show(self, token: str) -> str:
        """Return the word."""
        return token

    def cut(self, text: str, tokens: int) -> str:
        """Return the text up to the end of its `tokens`-th word; of unspaced scripts by characters."""
        end = 0
        for run in word_pattern().finditer(text):
            words = _pieces(run[0]) if not run[0].isascii() and is_unspaced(run[0]) else [run[0]]
            if len(words) > tokens:
                return text[: run.start() + max(1, tokens)] if tokens else text[:end]
            tokens -= len(words)
            end = run.end()
        return text

    @staticmethod
    def _words(text: str) -> list[str]:
        runs = word_runs(text)
        if text.isascii() or not is_unspaced(text):
            return runs
        return [word for run in runs for word in (_pieces(run) if not run.isascii() else [run])]


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """The tokens of a model's tokenizer, as their ids in decimal.

    Attributes:
        tokenizer: A fast transformers tokenizer.
        reference: What the user typed for it.
    """

    tokenizer: Any
    reference: str

    def name(self) -> str:
        """Say what a token is."""
        return f"tokens of {self.reference}"

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the ids of each text's tokens, no special token added."""
        if not texts:
            return []
        ids = self._encode(texts)["input_ids"]
        return [list(map(str, row)) for row in ids]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        return [len(row) for row in self._encode(texts)["input_ids"]] if texts else []

    def show(self, token: str) -> str:
        """Return the token's text, without the blank before it."""
        return str(self.tokenizer.decode([int(token)])).strip()

    def cut(self, text: str, tokens: int) -> str:
        """Return the text up to the end of its `tokens`-th token."""
        offsets = self._encode([text], offsets=True)["offset_mapping"][0]
        return text if tokens >= len(offsets) else text[: offsets[tokens][0]]

    def _encode(self, texts: Sequence[str], *, offsets: bool = False) -> Any:
        return self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )


def _pieces(run: str) -> list[str]:
    """Cut a run at changes between spaced and unspaced scripts, and the unspaced parts into pairs of characters."""
    table, words = unspaced_units(), []
    for unspaced, group in groupby(run, lambda character: bool(table[ord(character)])):
        part = "".join(group)
        if unspaced and len(part) > 1:
            words += [left + right for left, right in pairwise(part)]
        else:
            words.append(part)
    return words


class WordFinder:
    """Says which words occur in a text, by the rules of `pivots count`.

    Args:
        words: The words, as given.
        matching: How they are matched.

    Raises:
        ConfigError: A word that nothing is left of.
    """

    def __init__(self, words: Sequence[str], matching: Matching) -> None:
        listed = list_words(words, (f"word {number}" for number in range(1, len(words) + 1)), matching)
        self.rows = listed.rows
        self.count = len(listed.words)
        self._runs: dict[str, int] = {}
        self._rest: list[tuple[int, str]] = []
        patterns = []
        for number, (word, bounded) in enumerate(zip(listed.words, listed.bounded.tolist(), strict=True)):
            if bounded and word_pattern().fullmatch(word):
                self._runs[word] = number
            else:
                self._rest.append((number, word if bounded else ""))
                patterns.append(word.encode())
        self._automaton = Automaton(patterns) if patterns else None

    def find(self, folded: str) -> set[int]:
        """Find words in a text.

        Args:
            folded: The text after `Matching.apply`.

        Returns:
            Numbers of the distinct words (see `rows`) that occur.
        """
        found = {self._runs[word] for word in self._runs.keys() & set(word_runs(folded))}
        if self._automaton is not None:
            for row in np.unique(self._automaton.find(folded.encode())[:, 0]).tolist():
                number, word = self._rest[row]
                if not word or _stands_alone(word, folded):
                    found.add(number)
        return found


def _stands_alone(word: str, text: str) -> bool:
    """Whether a word occurs in a text with no word character next to it."""
    begin = text.find(word)
    while begin >= 0:
        around = text[max(0, begin - 1) : begin] + text[begin + len(word) : begin + len(word) + 1]
        if not any(map(is_word_character, around)):
            return True
        begin = text.find(word, begin + 1)
    return False


def hash_text(text: str, seed: int) -> int:
    """Return 64 bits that depend on a text and a seed alone: what documents are drawn by, whatever the shards."""
    key = seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little")


def mix(values: NDArray[np.uint64], salt: str) -> NDArray[np.uint64]:
    """Turn numbers into others that order them in an unrelated way (splitmix64).

    Args:
        values: uint64 [n].
        salt: Names the order.

    Returns:
        uint64 [n]; different for different values.
    """
    number = int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")
    mixed = np.asarray(values, dtype=np.uint64) ^ np.uint64(number)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def is_wordlike(shown: str) -> bool:
    """Whether a token holds a letter; numbers and signs are no pivots (our choice)."""
    return any(character.isalpha() for character in shown)
