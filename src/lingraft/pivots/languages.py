"""Names and scripts of languages, and whether a lexicon's columns are the right way round."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from lingraft.errors import ConfigError

_LATIN, _HAN = ("LATIN",), ("CJK",)
_TABLE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "ar": ("ara", "Arabic", ("ARABIC",)),
    "bg": ("bul", "Bulgarian", ("CYRILLIC",)),
    "bn": ("ben", "Bengali", ("BENGALI",)),
    "cs": ("ces", "Czech", _LATIN),
    "de": ("deu", "German", _LATIN),
    "el": ("ell", "Greek", ("GREEK",)),
    "en": ("eng", "English", _LATIN),
    "es": ("spa", "Spanish", _LATIN),
    "et": ("est", "Estonian", _LATIN),
    "eu": ("eus", "Basque", _LATIN),
    "fa": ("fas", "Persian", ("ARABIC",)),
    "fi": ("fin", "Finnish", _LATIN),
    "fr": ("fra", "French", _LATIN),
    "he": ("heb", "Hebrew", ("HEBREW",)),
    "hi": ("hin", "Hindi", ("DEVANAGARI",)),
    "hu": ("hun", "Hungarian", _LATIN),
    "id": ("ind", "Indonesian", _LATIN),
    "it": ("ita", "Italian", _LATIN),
    "ja": ("jpn", "Japanese", (*_HAN, "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")),
    "ko": ("kor", "Korean", ("HANGUL", *_HAN)),
    "nl": ("nld", "Dutch", _LATIN),
    "pl": ("pol", "Polish", _LATIN),
    "pt": ("por", "Portuguese", _LATIN),
    "ru": ("rus", "Russian", ("CYRILLIC",)),
    "sv": ("swe", "Swedish", _LATIN),
    "sw": ("swh", "Swahili", _LATIN),
    "ta": ("tam", "Tamil", ("TAMIL",)),
    "th": ("tha", "Thai", ("THAI",)),
    "tr": ("tur", "Turkish", _LATIN),
    "uk": ("ukr", "Ukrainian", ("CYRILLIC",)),
    "ur": ("urd", "Urdu", ("ARABIC",)),
    "vi": ("vie", "Vietnamese", _LATIN),
    "zh": ("zho", "Chinese", _HAN),
}


@dataclass(frozen=True, slots=True)
class Language:
    """A language as the task needs it.

    Attributes:
        code: As the user gave it.
        name: Its English name, which prompts use.
        scripts: First words of its letters' Unicode names; empty where they are not known.
    """

    code: str
    name: str
    scripts: tuple[str, ...] = ()

    def writes(self, word: str) -> bool:
        """Whether every letter of a word belongs to the language's scripts; True where those are not known."""
        letters = [character for character in word if character.isalpha()]
        return not self.scripts or all(script_of(letter) in self.scripts for letter in letters)


def find_language(code: str) -> Language:
    """Look a language up.

    Args:
        code: Two or three letters, or an English name. What is not in the table is taken as a name whose script is
            not known, so that any lexicon can be used.

    Returns:
        The language.

    Raises:
        ConfigError: A code of two or three letters that the table lacks, or nothing.
    """
    wanted = code.strip()
    for short, (long, name, scripts) in _TABLE.items():
        if wanted.lower() in (short, long, name.lower()):
            return Language(code, name, scripts)
    if len(wanted) <= 3:
        raise ConfigError(
            f"the language {code!r}", f"one of {', '.join(_TABLE)}", "give another language's English name"
        )
    return Language(code, wanted)


def script_of(character: str) -> str:
    """Return the first word of a letter's Unicode name: LATIN, CJK, DEVANAGARI; wide letters count as narrow ones."""
    name = unicodedata.name(character, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    return name.partition(" ")[0]


def why_reversed(
    pairs: Sequence[tuple[str, str]],
    languages: tuple[Language, Language],
    known: frozenset[str] = frozenset(),
) -> str | None:
    """Say why a lexicon's columns seem to be the wrong way round (our choice of signs).

    Three signs: the columns' scripts; letters outside ASCII, which English has hardly any of, where one of two
    languages in Latin letters is English; and which column holds more of the known words of the first language.

    Args:
        pairs: Words of the first and of the second column.
        languages: What the first column should be, and the second.
        known: Words of the first language in lower case, of a frequency list; may be empty.

    Returns:
        What was seen, or None where nothing speaks against the direction.
    """
    if not pairs:
        return None
    first, second = languages

    def share(column: int, test: "Language | None" = None) -> float:
        if test is not None:
            return sum(test.writes(pair[column]) for pair in pairs) / len(pairs)
        return sum(not pair[column].isascii() for pair in pairs) / len(pairs)

    if first.scripts and second.scripts and set(first.scripts) != set(second.scripts):
        straight = share(0, first) + share(1, second)
        crossed = share(0, second) + share(1, first)
        return (
            f"{crossed / 2:.0%} of the words are in the other column's script" if crossed > straight else None
        )
    if known:
        left, right = (sum(pair[column].casefold() in known for pair in pairs) for column in (0, 1))
        if right > 2 * left and right > 0.1 * len(pairs):
            return (
                f"{right} of {len(pairs)} words of the second column are known {first.name} words,"
                f" {left} of the first"
            )
    if "English" in (first.name, second.name) and first.scripts == second.scripts == _LATIN:
        english = 0 if first.name == "English" else 1
        if share(english) > 0.05 and share(english) > 3 * share(1 - english):
            return f"{share(english):.0%} of the words that should be English have letters outside ASCII"
    return None
