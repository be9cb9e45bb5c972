"""Words that do not belong: which script a word is in, and which English words give English away.

The scripts of letters are read off their Unicode names, as Python's standard library does not know the property.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache

LATIN = "LATIN"
_NON_LATIN = {
    "CYRILLIC": ("be", "bg", "kk", "ky", "mk", "mn", "ru", "tg", "uk"),
    "ARABIC": ("ar", "fa", "ps", "sd", "ug", "ur"),
    "HEBREW": ("he", "yi"),
    "DEVANAGARI": ("hi", "mr", "ne", "sa"),
    "BENGALI": ("as", "bn"),
    "GURMUKHI": ("pa",),
    "GUJARATI": ("gu",),
    "ORIYA": ("or",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "SINHALA": ("si",),
    "THAI": ("th",),
    "LAO": ("lo",),
    "MYANMAR": ("my",),
    "KHMER": ("km",),
    "TIBETAN": ("bo", "dz"),
    "GREEK": ("el",),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy",),
    "ETHIOPIC": ("am", "ti"),
}
_LATIN = (
    "af az ca cs cy da de en eo es et eu fi fr ga gl ha hr hu id ig is it la lb lg lt lv mg mi ms mt nb nl nn no ny oc"
    " pl pt rn ro rw sk sl sn so sq st su sv sw tl tn tr ts vi wo xh yo zu"
)
SCRIPTS: dict[str, frozenset[str]] = {
    **{code: frozenset({script}) for script, codes in _NON_LATIN.items() for code in codes},
    "ja": frozenset({"HIRAGANA", "KATAKANA", "CJK"}),
    "zh": frozenset({"CJK", "BOPOMOFO"}),
    "ko": frozenset({"HANGUL", "CJK"}),
    # Written in both.
    **{code: frozenset({LATIN, "CYRILLIC"}) for code in ("bs", "sr", "uz")},
    **dict.fromkeys(_LATIN.split(), frozenset({LATIN})),
}
"""ISO 639-1 code to the scripts that a language is written in; a language that is not here is not judged by words."""

UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})
"""Languages that do not put spaces between words."""
UNSPACED_SCRIPTS = frozenset[str]().union(*(SCRIPTS[code] for code in UNSPACED))
"""The scripts of those."""
_WHOLE_WORDS = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})
"""Scripts of which one letter can be a word; of the others one is a symbol, as in "angle α"."""

_FUNCTION_WORDS = (
    "the with which that this those there their theirs they what when where why because about between through though"
    " although while whether however therefore would should could cannot you your yours every each other others before"
    " during within without whose whom itself himself herself themselves ourselves yourself"
)
ENGLISH_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Frequent English words that are words of hardly any other language in Latin letters (our choice).

Left out for that reason are "and" (a duck in Danish, a gift in Estonian), "have" (Danish), "from" (Swedish), "these"
(Dutch), "been" (Dutch), "than" (Vietnamese), "were" (Yoruba), "into" (Finnish), "in", "is", "of", "on", "to", "for",
"was", "are" and all that are shorter. Words that end in "n't" count besides.
"""
_OWN_WORDS = {
    "da": {"the"},
    "nb": {"the"},
    "nn": {"the"},
    "no": {"the"},
    "vi": {"the", "that"},
    "sq": {"the"},
    "ga": {"the", "each"},
}
"""Of these, what is a word of the language after all."""

_HIDDEN = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|www\.\S+|\S+@\S+\.\S+|<[^<>\n]+>", re.DOTALL)
"""What no language is read off: code, addresses, tags."""
_THOUGHT = re.compile(
    r"\A\s*<(think|thinking|thought|reasoning)>.*?(?:</\1>\s*|\Z)|\A(?:(?!<think>).)*</think>\s*", re.DOTALL
)
_APOSTROPHES = "'’ʼʻ‘"
_MINIMUM_LETTERS = 4


@lru_cache(maxsize=2**16)
def script_of(character: str) -> str:
    """Return a letter's script, the first word of its Unicode name (`LATIN`, `CYRILLIC`, `CJK`).

    Args:
        character: One character, in NFKC.

    Returns:
        The script; "" for what is no letter and for letters of no script (ordinal and modifier letters).
    """
    if not unicodedata.category(character).startswith("L"):
        return ""
    script = unicodedata.name(character, "").partition(" ")[0]
    if script in {"IDEOGRAPHIC", "KANGXI"}:
        return "CJK"
    # The mark that prolongs a vowel, "ー".
    if script.startswith("KATAKANA"):
        return "KATAKANA"
    return "" if script in {"MODIFIER", "MICRO", "FEMININE", "MASCULINE", "MATHEMATICAL"} else script


def strip_hidden(text: str) -> str:
    """Put a space in the place of code, addresses and tags.

    Args:
        text: Any text.

    Returns:
        The rest, with its line breaks but for those inside code.
    """
    return _HIDDEN.sub(" ", text)


def without_thought(text: str) -> str:
    """Return what a model says behind a thought that it wrote first, between tags such as `<think>` and `</think>`.

    Args:
        text: An answer. The template may have written the opening tag; the closing one may be missing where the answer
            was cut off, and then nothing was said.

    Returns:
        The answer itself; the text as it is where there is no thought.
    """
    return _THOUGHT.sub("", text, count=1)


def letters(text: str) -> int:
    """Count the letters of a text, in any script."""
    return sum(unicodedata.category(character).startswith("L") for character in text)


def unspaced_letters(text: str) -> int:
    """Count the letters of a text in scripts that are written without spaces between words."""
    return sum(script_of(character) in UNSPACED_SCRIPTS for character in text)


def script_runs(text: str) -> Iterator[tuple[str, str]]:
    """Cut a text into runs of letters of one script.

    Apostrophes and marks go with the letters before them. Latin letters that touch a digit (`x86`, `mp3`) are left out.

    Args:
        text: Any text; it is normalised to NFKC.

    Yields:
        tuple[str, str]: The run and its script.
    """
    plain = unicodedata.normalize("NFKC", text)
    run, script, before = "", "", ""
    for place, character in enumerate([*plain, " "]):
        own = script_of(character)
        if run and (own == script or (not own and _goes_with_letters(character))):
            run += character
            continue
        # Letters beside a digit are a name in any language; other scripts write "5月" for May.
        if run and not (script == LATIN and (_is_digit(before) or _is_digit(character))):
            yield run.strip(_APOSTROPHES), script
        run, script = (character, own) if own else ("", "")
        before = plain[place - 1 : place]


def _goes_with_letters(character: str) -> bool:
    return character in _APOSTROPHES or unicodedata.category(character).startswith("M")


def _is_digit(character: str) -> bool:
    return character.isdigit() or character == "_"


def foreign_words(
    text: str,
    language: str,
    *,
    allowed: Collection[str] = (),
    english_words: Collection[str] | None = None,
) -> list[str] | None:
    """Return the words of a text that cannot be its language's.

    Always: words in a script that the language is not written in (our choice). For a language that is not written in
    Latin letters these include Latin words of at least four letters without a capital; names and abbreviations pass.
    With `english_words` only Latin words among those count, which is the rule of the Language Confusion Benchmark's
    released code (lower case, more than three letters, in a word list). For a language in Latin letters other than
    English the words of `ENGLISH_FUNCTION_WORDS` count too (our choice: the benchmark has no word rate there). They
    miss English nouns and verbs, so that rate is an upper bound.

    Args:
        text: An answer.
        language: ISO 639-1 code.
        allowed: Words that pass, whatever their case: those of the prompt, names of products.
        english_words: English words in lower case.

    Returns:
        The words in their order; None for a language whose scripts are not known (`SCRIPTS`).
    """
    scripts = SCRIPTS.get(language)
    if scripts is None:
        return None
    passing = {word.casefold() for word in allowed}
    english = ENGLISH_FUNCTION_WORDS - _OWN_WORDS.get(language, set()) if language != "en" else frozenset()
    found = []
    for run, script in script_runs(strip_hidden(text)):
        if run.casefold() in passing:
            continue
        if script in scripts:
            foreign = script == LATIN and bool(english) and _is_english(run, english)
        elif script == LATIN:
            listed = english_words is None or run in english_words
            foreign = run.islower() and letters(run) >= _MINIMUM_LETTERS and listed
        else:
            foreign = script in _WHOLE_WORDS or letters(run) > 1
        if foreign:
            found.append(run)
    return found


def _is_english(word: str, english: Collection[str]) -> bool:
    """Whether a word is one of these, "you'll" with them, or ends in "n't"."""
    first, *rest = re.split(f"[{_APOSTROPHES}]", word)
    return first in english or (word.islower() and first.endswith("n") and rest == ["t"])


def word_rule(language: str, *, with_list: bool = False) -> str:
    """Say what `foreign_words` checks in a language.

    Args:
        language: ISO 639-1 code.
        with_list: Whether there is a list of English words.

    Returns:
        A sentence for reports.
    """
    scripts = SCRIPTS.get(language)
    if scripts is None:
        return "not judged: the scripts of this language are not known"
    if language == "en":
        return "no word in another script"
    if LATIN in scripts:
        return "no word in another script, no frequent English function word (English content words are not seen)"
    latin = (
        "English word from the list" if with_list else "Latin word of four letters or more without a capital"
    )
    return f"no word in another script, no {latin}"
