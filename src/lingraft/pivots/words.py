"""Bilingual lexicons as word lists: reading them, refusing bad rows by name, frequencies and parts of speech."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lingraft.corpora.word_characters import word_pattern
from lingraft.errors import ConfigError
from lingraft.pivots.languages import Language, find_language, why_reversed

_JOINERS = "'\u2019\u00b7\u30fb\u05f3\u05f4"
MOST_TRANSLATIONS = 6
"""Words with more translations are left out as too ambiguous to judge (our choice)."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words of one language with their translations into another.

    Attributes:
        source_language: The words' language.
        target_language: The translations' language.
        translations: Source word to its translations, in the file's order, the first being the main one.
        rejected: Rows (and, for too many translations, words) that were left out, by reason.
        examples: One rejected row for each reason: line number and content, cut to 60 characters.
    """

    source_language: Language
    target_language: Language
    translations: dict[str, tuple[str, ...]]
    rejected: dict[str, int]
    examples: dict[str, str]


def read_lexicon(
    path: Path,
    source_language: str,
    target_language: str,
    *,
    swap: bool = False,
    phrases: bool = False,
    known_words: Iterable[str] = (),
) -> Lexicon:
    """Read a bilingual lexicon; bad rows are counted by reason, never fatal one by one.

    A row is usable where both sides hold letters after NFC, are in their languages' scripts, are no affixes, are
    different words, and (unless `phrases`) are single words. Words of several tokens are kept.

    Args:
        path: UTF-8 lines of source word, tab, target word; further columns are not read.
        source_language: Code or English name of the first column's language, and of what is to be translated.
        target_language: Of the second column.
        swap: The file's columns are target word, source word.
        phrases: Keep entries of several words.
        known_words: Words of the source language, of a frequency list: helps to see a wrong direction.

    Returns:
        The lexicon.

    Raises:
        ConfigError: The file cannot be read, has no usable row, or seems to be in the wrong direction.
    """
    languages = (find_language(source_language), find_language(target_language))
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "a lexicon", "check the path") from error
    rejected: Counter[str] = Counter()
    examples: dict[str, str] = {}
    pairs: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _columns(line, swap)
        if isinstance(row, str):
            rejected[row] += 1
            examples.setdefault(row, f"line {number}: {line.decode('utf-8', 'replace').strip()[:60]}")
        else:
            pairs.append((number, *row))
    known = frozenset(word.casefold() for word in known_words)
    reversed_because = why_reversed([(word, other) for _, word, other in pairs], languages, known)
    if reversed_because is not None:
        raise ConfigError(
            f"{path}: {reversed_because}",
            f"{languages[0].name} words first and {languages[1].name} second",
            "exchange the two languages, or swap the columns (--swap)",
        )
    found: dict[str, list[str]] = {}
    for number, word, other in pairs:
        reason = _unusable(word, other, languages, phrases)
        if reason is None:
            known_already = found.setdefault(word, [])
            reason = "repeated" if other in known_already else None
            if reason is None:
                known_already.append(other)
        if reason is not None:
            rejected[reason] += 1
            examples.setdefault(reason, f"line {number}: {word[:30]} / {other[:30]}")
    for word in [word for word, others in found.items() if len(others) > MOST_TRANSLATIONS]:
        rejected["a word with too many translations"] += 1
        examples.setdefault("a word with too many translations", word)
        del found[word]
    if not found:
        raise ConfigError(
            f"{path} has no usable row ({_reasons(rejected)})",
            f"lines of word in {languages[0].name}, tab, word in {languages[1].name}",
            "give a bilingual lexicon",
        )
    translations = {word: tuple(others) for word, others in found.items()}
    return Lexicon(*languages, translations, dict(rejected), examples)


def read_frequencies(path: Path) -> dict[str, float]:
    """Read how frequent words are.

    Args:
        path: UTF-8 lines of word, tab, count; lines without a positive number after the tab are passed over.

    Returns:
        Case-folded word to its count; counts of words that fold alike add up.

    Raises:
        ConfigError: The file cannot be read, or holds no such line.
    """
    found: Counter[str] = Counter()
    for word, value in _two_columns(path):
        try:
            count = float(value)
        except ValueError:
            continue
        if 0 < count < math.inf:
            found[word.casefold()] += count  # type: ignore[assignment]
    if not found:
        raise ConfigError(f"{path} holds no frequency", "lines of word, tab, count", "give a frequency list")
    return {word: float(count) for word, count in found.items()}


def count_words(texts: Iterable[str]) -> dict[str, float]:
    """Count words of a spaced script: runs of letters, marks and digits, in NFC and case-folded.

    Args:
        texts: Documents.

    Returns:
        Word to count.

    Raises:
        ConfigError: There is no word in them.
    """
    found: Counter[str] = Counter()
    for text in texts:
        found.update(word_pattern().findall(unicodedata.normalize("NFC", text).casefold()))
    if not found:
        raise ConfigError("a corpus without words", "text of the source language", "give another corpus")
    return {word: float(count) for word, count in found.items()}


def read_parts_of_speech(path: Path) -> dict[str, str]:
    """Read words' parts of speech.

    Args:
        path: UTF-8 lines of word, tab, part of speech, in any tag set; a word's first line counts.

    Returns:
        Case-folded word to part of speech.

    Raises:
        ConfigError: The file cannot be read, or holds no such line.
    """
    found: dict[str, str] = {}
    for word, tag in _two_columns(path):
        if tag:
            found.setdefault(word.casefold(), tag)
    if not found:
        raise ConfigError(f"{path} holds no part of speech", "lines of word, tab, part of speech", "check it")
    return found


def _two_columns(path: Path) -> list[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "a word list in UTF-8", "check the file") from error
    rows = [line.split("\t") for line in text.split("\n") if "\t" in line]
    return [(unicodedata.normalize("NFC", row[0].strip()), row[1].strip()) for row in rows]


def _columns(line: bytes, swap: bool) -> tuple[str, str] | str:
    """Return both words in NFC, or the reason why there are none."""
    try:
        columns = line.decode("utf-8").rstrip("\r").split("\t")
    except UnicodeDecodeError:
        return "not UTF-8"
    if len(columns) < 2:
        return "no tab"
    first, second = (" ".join(unicodedata.normalize("NFC", text).split()) for text in columns[:2])
    first = first.removeprefix("\ufeff")
    if not first or not second:
        return "an empty word"
    if not any(map(str.isalpha, first)) or not any(map(str.isalpha, second)):
        return "a word without letters"
    return (second, first) if swap else (first, second)


def _unusable(word: str, other: str, languages: tuple[Language, Language], phrases: bool) -> str | None:
    if word.casefold() == other.casefold():
        return "the same word on both sides"
    if any(text.startswith("-") or text.endswith("-") for text in (word, other)):
        return "an affix"
    for text, language in zip((word, other), languages, strict=True):
        if not language.writes(text):
            return f"not in the script of {language.name}"
        if " " in text and not phrases:
            return "several words"
        if not all(_in_a_word(character, phrases) for character in text):
            return "digits or symbols"
    return None


def _in_a_word(character: str, phrases: bool) -> bool:
    """Letters, marks, spaces, hyphens, apostrophes and middle dots; in phrases any punctuation."""
    category = unicodedata.category(character)
    return (
        category[0] in "LMZ" or category == "Pd" or character in _JOINERS or (phrases and category[0] == "P")
    )


def _reasons(rejected: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in rejected.most_common()) or "it is empty"
