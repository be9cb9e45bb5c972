"""Word translation from a bilingual lexicon: the same word asked for in English and in the other language."""

import contextlib
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lingraft.errors import ConfigError
from lingraft.patching.task_files import Row
from lingraft.patching.task_wording import NAMES, WORDS, WordWording

MOST_TRANSLATIONS = 6
"""Words with more translations are left out as too ambiguous to judge (ours)."""


def read_lexicon(path: Path) -> dict[str, tuple[str, ...]]:
    """Read English words with their translations.

    Our choice of entries: an English word of lower-case letters, three at least, that has one-word translations, six at
    most; a translation is of letters, is no affix, and differs from the English word. Words that come with translations
    of several words keep those of one word.

    Args:
        path: Lines of an English word, a tab and a translation; further columns are not read.

    Returns:
        Translations by English word, in the file's order.

    Raises:
        ConfigError: The file cannot be read, or no line has two columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "a lexicon in UTF-8", "check the file") from error
    found: dict[str, list[str]] = {}
    columns = [line.split("\t") for line in lines if "\t" in line]
    if not columns:
        raise ConfigError(
            f"{path} has no line with a tab", "an English word, a tab, a translation", "give a lexicon"
        )
    for english, translation, *_ in columns:
        word, other = (unicodedata.normalize("NFC", text.strip()) for text in (english, translation))
        usable = word.isalpha() and word.isascii() and word.islower() and len(word) >= 3
        if usable and _is_word(other) and other.casefold() != word:
            known = found.setdefault(word, [])
            if other not in known:
                known.append(other)
    return {word: tuple(others) for word, others in found.items() if len(others) <= MOST_TRANSLATIONS}


def read_words(
    directory: Path, language: str, *, limit: int | None, examples: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """Ask for translations of English words into a language, in that language and in English.

    Both prompts hold an instruction that names both languages, example pairs, and the word (design after the published
    word-translation prompt; the wording is ours). Words are drawn by the seed among those that most of the directory's
    lexicons hold, which are common words, and then are mostly the same for all languages. Examples come from words
    set apart, the same in both prompts, drawn anew for each word, and none has a translation that would be right.

    Args:
        directory: Holds the lexicon: NAME.txt with the language's English name in lower case, LANG.txt, LANG.tsv, or
            pairs.tsv.
        language: The language's code, one of `WORDS`.
        limit: How many words; None for all but the examples'.
        examples: Example pairs in a prompt.
        seed: Of both draws.

    Returns:
        The receiver's rows and the donor's, with the accepted translations.

    Raises:
        ConfigError: An unknown language, a missing lexicon, or too few words in it.
    """
    own, english = wordings(language)
    path = _lexicon_file(directory, language)
    lexicon = _cached(path, path.stat().st_mtime_ns)
    held = _held(directory, path)
    apart = max(4 * examples, min(200, len(lexicon) // 10))
    if len(lexicon) <= apart:
        raise ConfigError(
            f"{path} has {len(lexicon)} usable words",
            f"more than {apart}, with one-word translations",
            "give a larger lexicon, or fewer examples",
        )
    words = _common_words(lexicon, held, len(lexicon) if limit is None else apart + limit, seed)
    pool, chosen = words[:apart], words[apart:][:limit]
    draw = random.Random(f"{seed} {language}")
    receivers, donors = [], []
    for word in chosen:
        accepted = lexicon[word]
        fitting = [example for example in pool if not set(lexicon[example]) & set(accepted)]
        # An example that has one translation only is the clearer.
        clear = [example for example in fitting if len(lexicon[example]) == 1]
        drawn = draw.sample(clear if len(clear) >= 2 * examples else fitting, min(examples, len(fitting)))
        shown = [(example, lexicon[example][0]) for example in drawn]
        receivers.append(Row(word_prompt(own, shown, word), (), accepted))
        donors.append(Row(word_prompt(english, shown, word), (), accepted))
    return receivers, donors


def wordings(language: str) -> tuple[WordWording, WordWording]:
    """Return how word translation from English is asked in a language, and how in English.

    Args:
        language: The language's code, one of `WORDS`.

    Returns:
        The receiver's wording and the donor's.

    Raises:
        ConfigError: An unknown language.
    """
    if language not in WORDS:
        raise ConfigError(
            f"no wording for word translation into {language!r}",
            f"one of {', '.join(sorted(WORDS))}",
            "write the prompts as a JSONL file of your own",
        )
    name = NAMES[language]
    return WORDS[language], WordWording(f"Translate from English to {name}.", "English: ", f"{name}: ")


def word_prompt(wording: WordWording, shown: Sequence[tuple[str, str]], word: str) -> str:
    """Ask for a translation: an instruction, example pairs, the word.

    Args:
        wording: One of `wordings`.
        shown: English words with their translations.
        word: English.

    Returns:
        The text, which the translation continues.
    """
    pairs = [f"{wording.english}{first}\n{wording.own}{second}" for first, second in shown]
    return "\n\n".join([wording.instruction, *pairs, f"{wording.english}{word}\n{wording.own}"]).rstrip()


def _common_words(
    lexicon: dict[str, tuple[str, ...]], held: Counter[str], wanted: int, seed: int
) -> list[str]:
    """Draw words: at least as many as are wanted, of those that the most lexicons hold."""
    common = sorted(lexicon, key=lambda word: -held[word])[min(wanted, len(lexicon)) - 1]
    # One draw for all languages, so that words which all lexicons have come in the same order.
    order = sorted({*held, *lexicon})
    random.Random(seed).shuffle(order)
    return [word for word in order if word in lexicon and held[word] >= held[common]]


@lru_cache(maxsize=32)
def _cached(path: Path, _changed: int) -> dict[str, tuple[str, ...]]:
    """A lexicon read once, though every language's words are counted over all of them."""
    return read_lexicon(path)


def _held(directory: Path, path: Path) -> Counter[str]:
    """How many lexicons of the directory hold each English word."""
    held = Counter(_cached(path, path.stat().st_mtime_ns).keys())
    for other in sorted([*directory.glob("*.txt"), *directory.glob("*.tsv")]):
        if other != path:
            # A note that lies beside them is no lexicon.
            with contextlib.suppress(ConfigError):
                held.update(_cached(other, other.stat().st_mtime_ns).keys())
    return held


def _lexicon_file(directory: Path, language: str) -> Path:
    names = [f"{NAMES[language].lower()}.txt", f"{language}.txt", f"{language}.tsv", "pairs.tsv"]
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise ConfigError(
        f"no lexicon for {language!r} in {directory}", f"a file {' or '.join(names)}", "give its directory"
    )


def _is_word(text: str) -> bool:
    """One word of letters and their marks; long enough to be a word where letters are no words."""
    if not text or any(unicodedata.category(character)[0] not in "LM" for character in text):
        return False
    return len(text) > 1 or unicodedata.name(text, "").startswith("CJK UNIFIED")
