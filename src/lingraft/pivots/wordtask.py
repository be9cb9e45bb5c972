"""The word-level cross-lingual translation task: items, distractors, examples and prompts (arXiv 2505.16385)."""

import math
import random
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lingraft.errors import ConfigError
from lingraft.pivots.languages import Language
from lingraft.pivots.words import Lexicon

EXAMPLES, DRAWS, DISTRACTORS = 5, 5, 9
"""Example pairs in a prompt, draws of them, and distractor source words for each item (the paper's numbers)."""
NEAREST = 100
"""Distractors are drawn among this many words next in frequency, or in length where that is unknown (our choice)."""


@dataclass(frozen=True, slots=True)
class WordItem:
    """One word to translate.

    Attributes:
        source_word: The word.
        target_word: Its main translation, which is scored and traced.
        accepted: All translations that count as right.
        distractors: Other source words, none of which has a translation in common with this one.
        frequency: The source word's count, None where it is not known.
        part_of_speech: None where it is not known.
    """

    source_word: str
    target_word: str
    accepted: tuple[str, ...]
    distractors: tuple[str, ...]
    frequency: float | None = None
    part_of_speech: str | None = None


@dataclass(frozen=True, slots=True)
class WordTask:
    """Words to translate, and the draws of examples that stand before them.

    Attributes:
        source_language: The language asked in.
        target_language: The language asked for.
        items: The test words.
        draws: Draws of example pairs; none of their words is a test word or an accepted translation of one.
        left_out: Words of the lexicon that could not be test words, by reason.
    """

    source_language: Language
    target_language: Language
    items: tuple[WordItem, ...]
    draws: tuple[tuple[tuple[str, str], ...], ...]
    left_out: dict[str, int]

    def prompt(self, word: str, draw: int) -> str:
        """Write a prompt: an instruction that names both languages, the examples, the word (wording is our choice).

        Args:
            word: The source word.
            draw: Number of the draw of examples.

        Returns:
            The text, which ends where `" " + translation` continues it.
        """
        source, target = self.source_language.name, self.target_language.name
        shown = [f"{source}: {first}\n{target}: {second}" for first, second in self.draws[draw]]
        instruction = f"Translate from {source} to {target}."
        return "\n\n".join([instruction, *shown, f"{source}: {word}\n{target}:"])


def build_word_task(
    lexicon: Lexicon,
    *,
    limit: int | None = None,
    seed: int = 0,
    examples: int = EXAMPLES,
    draws: int = DRAWS,
    distractors: int = DISTRACTORS,
    frequencies: Mapping[str, float] | None = None,
    most_frequent: int | None = None,
    parts_of_speech: Mapping[str, str] | None = None,
) -> WordTask:
    """Draw test words, their distractors and the examples from a lexicon; all by the seed.

    Args:
        lexicon: The words.
        limit: How many test words; None for all that are left.
        seed: Of every draw.
        examples: Example pairs in a prompt.
        draws: Draws of examples.
        distractors: Distractors of each test word.
        frequencies: Case-folded source word to count: distractors are then about as frequent as the test word.
        most_frequent: Take words only from this many most frequent ones; needs `frequencies`.
        parts_of_speech: Case-folded source word to part of speech: distractors then share it where enough words do.

    Returns:
        The task.

    Raises:
        ConfigError: Too few words, or `most_frequent` without frequencies.
    """
    words = _eligible(lexicon, frequencies, most_frequent)
    shown = max(1, examples * draws) if examples else 0
    if len(words) < shown + distractors + 1:
        raise ConfigError(
            f"{len(words)} usable words",
            f"at least {shown + distractors + 1}: {shown} for examples, {distractors} distractors and a test word",
            "give a larger lexicon, or fewer draws or examples",
        )
    order = random.Random(f"{seed} words")
    order.shuffle(words)
    # An example that has one translation only is the clearer.
    clear = sorted(words, key=lambda word: len(lexicon.translations[word]) > 1)[:shown]
    order.shuffle(clear)
    pool = [(word, lexicon.translations[word][0]) for word in clear]
    drawn = tuple(tuple(pool[draw * examples : (draw + 1) * examples]) for draw in range(draws))
    said = {text.casefold() for pair in pool for text in pair}
    usable = [
        word for word in words if not {word.casefold(), *map(str.casefold, lexicon.translations[word])} & said
    ]
    left_out = {
        "used as examples": len(pool),
        "a translation is among the examples": len(words) - len(usable) - len(pool),
        "not among the most frequent words": len(lexicon.translations) - len(words),
    }
    sampler = _Sampler(lexicon, usable, frequencies, parts_of_speech)
    items: list[WordItem] = []
    for word in usable:
        if limit is not None and len(items) == limit:
            break
        others = sampler.draw(word, distractors, seed)
        if len(others) < distractors:
            left_out["too few distractors"] = left_out.get("too few distractors", 0) + 1
            continue
        accepted = lexicon.translations[word]
        items.append(
            WordItem(word, accepted[0], accepted, others, sampler.frequency(word), sampler.tag(word))
        )
    if not items:
        raise ConfigError("no word is left to test", "at least one", "give a larger lexicon")
    languages = (lexicon.source_language, lexicon.target_language)
    return WordTask(*languages, tuple(items), drawn, {why: count for why, count in left_out.items() if count})


def _eligible(
    lexicon: Lexicon, frequencies: Mapping[str, float] | None, most_frequent: int | None
) -> list[str]:
    words = sorted(lexicon.translations)
    if most_frequent is None:
        return words
    if frequencies is None:
        raise ConfigError(
            f"the {most_frequent} most frequent words without frequencies", "a frequency list", "give one"
        )
    known = [word for word in words if word.casefold() in frequencies]
    return sorted(known, key=lambda word: (-frequencies[word.casefold()], word))[:most_frequent]


def _mixed(entry: tuple[float, str]) -> tuple[float, int]:
    """Sorting key: by value, and equal ones in an order that has nothing to do with the alphabet."""
    return entry[0], zlib.crc32(entry[1].encode())


class _Sampler:
    """Draws distractors near a word: by frequency where it is known, else by length."""

    def __init__(
        self,
        lexicon: Lexicon,
        words: Sequence[str],
        frequencies: Mapping[str, float] | None,
        parts_of_speech: Mapping[str, str] | None,
    ) -> None:
        self.lexicon, self.frequencies, self.tags = lexicon, frequencies or {}, parts_of_speech or {}
        groups: dict[tuple[bool, str | None], list[tuple[float, str]]] = {}
        for word in words:
            for tag in dict.fromkeys([None, self.tag(word)]):
                groups.setdefault((self.frequency(word) is not None, tag), []).append((self._key(word), word))
        # Words of one length lie in no order, else distractors would all begin like the test word.
        self.groups = {key: sorted(group, key=_mixed) for key, group in groups.items()}

    def frequency(self, word: str) -> float | None:
        return self.frequencies.get(word.casefold())

    def tag(self, word: str) -> str | None:
        return self.tags.get(word.casefold())

    def _key(self, word: str) -> float:
        frequency = self.frequency(word)
        return float(len(word)) if frequency is None else math.log(frequency)

    def draw(self, word: str, count: int, seed: int) -> tuple[str, ...]:
        """Draw `count` words of the same part of speech where enough are there, else of any."""
        accepted = {other.casefold() for other in self.lexicon.translations[word]}
        generator = random.Random(f"{seed} distractors {word}")
        for tag in dict.fromkeys([self.tag(word), None]):
            group = self.groups.get((self.frequency(word) is not None, tag), [])
            # Begin anywhere among the words as long, or as frequent, as this one.
            low = bisect_left(group, (self._key(word), -1), key=_mixed)
            high = bisect_left(group, (self._key(word), 2**32), key=_mixed)
            middle = generator.randint(low, high)
            near = group[max(0, middle - NEAREST // 2 - count) : middle + NEAREST // 2 + count]
            fitting = [
                other
                for _, other in near
                if other.casefold() != word.casefold()
                and not accepted & {*map(str.casefold, self.lexicon.translations[other]), other.casefold()}
            ]
            if len(fitting) >= count:
                return tuple(generator.sample(fitting, count))
        return ()
