"""What of a translation to refuse, and why: other output languages, wrong language, odd lengths, loops."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.preference.items import TEXTS, PairedItem, refusal
from lingraft.preference.languages import LANGUAGES, OTHER_NAMES, language_name
from lingraft.preference.protection import without_passages

_NAMES = "|".join(sorted({name for _, name in LANGUAGES.values()} | set(OTHER_NAMES), key=len, reverse=True))
_LANGUAGE = rf"(?:the\s+)?(?:\w+\s+)?(?:{_NAMES})(?:\s+language)?\b"
_SAY = (
    "answer|compose|craft|create|describe|draft|explain|express|generate|give|list|make|phrase|produce|provide|reply|"
    "respond|say|speak|spell|state|summari[sz]e|tell|write"
)
_TEXT = "text|sentences?|paragraphs?|phrases?|passage|words?|quotes?|poem|lyrics|dialogue|article|story|expression"

_ASKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "asks for a translation",
        re.compile(
            rf"\b(?:translat(?:e|ing)|interpret|render|convert|change|transcribe|rewrite)\b[^.?!\n]{{0,200}}?"
            rf"\b(?:in|into|to|from)\s+{_LANGUAGE}"
            rf"|\btranslat(?:e|ing)\b\s+(?:(?:this|these|that|the|following|given|below|each|a|my)\s+){{0,3}}(?:{_TEXT})\b"
            rf"|\btranslat(?:e|ion)\b[^.?!\n]{{0,60}}?\b(?:other|another|different|foreign|target|native)\s+languages?\b"
            rf"|\b{_LANGUAGE}\s+(?:translation|equivalents?|version|words?|terms?)\s+(?:of|for)\b"
            rf"|\b(?:word|term|phrase|expression|name)s?\s+for\b[^.?!\n]{{0,80}}?\bin\s+{_LANGUAGE}"
            rf"|\bhow\s+(?:do|would|can|could|to)\b[^.?!\n]{{0,40}}?\bsay\b[^.?!\n]{{0,80}}?\bin\s+{_LANGUAGE}",
            re.IGNORECASE,
        ),
    ),
    (
        "asks for another output language",
        re.compile(
            rf"\b(?:{_SAY})\b[^.?!\n]{{0,120}}?\b(?:in|using)\s+{_LANGUAGE}(?!\s+[a-z]*\s*(?:class|history|culture|literature))"
            rf"|\b(?:answer|respond|reply|speak|write)\s+(?:only\s+)?{_LANGUAGE}"
            rf"|\b(?:in|into)\s+(?:another|some\s+other|a\s+(?:different|foreign|new|second))\s+language\b"
            rf"|\b(?:output|response|answer)\s+(?:must|should|has\s+to)\s+be\s+(?:written\s+)?in\s+{_LANGUAGE}",
            re.IGNORECASE,
        ),
    ),
)
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_SYLLABLES = re.compile("[\uac00-\ud7af\u1100-\u11ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class FilterLimits:
    """What is let pass; all numbers are our choice.

    Attributes:
        letters: Texts with fewer letters outside code, addresses and numbers are not judged by their language.
        confidence: A text is refused for its language where the identifier is at least so sure of another one.
        longest: A translation may be at most so many times as long as its English, and at least that part of it; a
            character of Chinese or Japanese counts as three, of Korean, Thai or Burmese as two.
        characters: English texts shorter than this are not judged by length.
        repetition: By how much more of a translation's word triples may be repetitions than of its English.
    """

    letters: int = 20
    confidence: float = 0.6
    longest: float = 2.5
    characters: int = 20
    repetition: float = 0.25


def asks_for_language(prompt: str) -> str | None:
    """Say whether an English prompt asks for text in a named or another language, which its translation would undo.

    Such items train wrong behaviour (CLO's authors leave them out too; the rules are ours). They cost some harmless
    prompts, such as "Explain how verbs work in Spanish".

    Args:
        prompt: The prompt.

    Returns:
        The reason to refuse it, or None.
    """
    for reason, pattern in _ASKS:
        if pattern.search(prompt):
            return reason
    return None


def refuse_languages(
    texts: Sequence[str], language: str, identifier: LanguageIdentifier, limits: FilterLimits
) -> tuple[list[str | None], int]:
    """Say which texts are not in a language.

    Args:
        texts: The texts.
        language: ISO 639-1 code that they should be in.
        identifier: What identifies languages.
        limits: What is let pass.

    Returns:
        For each text the language it is in instead, or None; and how many were too short to judge.
    """
    plain = [" ".join(without_passages(text).split()) for text in texts]
    long = [number for number, text in enumerate(plain) if sum(map(str.isalpha, text)) >= limits.letters]
    found: list[str | None] = [None] * len(texts)
    for number, guess in zip(long, identifier.identify([plain[number] for number in long]), strict=True):
        if guess.language not in {language, ""} and guess.confidence >= limits.confidence:
            found[number] = guess.language
    return found, len(texts) - len(long)


def refuse_english(
    items: Sequence[tuple[str, str]], identifier: LanguageIdentifier, limits: FilterLimits
) -> list[str | None]:
    """Say of English items, before anything is translated, which are not in English.

    Args:
        items: Prompts and responses.
        identifier: What identifies languages.
        limits: What is let pass.

    Returns:
        A reason for each, or None.
    """
    reasons: list[str | None] = [None] * len(items)
    for side, name in ((1, "response"), (0, "prompt")):
        found, _ = refuse_languages([item[side] for item in items], "en", identifier, limits)
        reasons = [
            f"{name} not in English" if other else old for other, old in zip(found, reasons, strict=True)
        ]
    return reasons


def refuse_translations(
    items: Sequence[PairedItem], identifier: LanguageIdentifier | None, limits: FilterLimits
) -> tuple[list[str | None], int]:
    """Say of translated items of one target language which to refuse.

    Args:
        items: The items.
        identifier: What identifies languages; None judges none by its language.
        limits: What is let pass.

    Returns:
        A reason for each, or None: one of `refusal`, or a wrong language, an odd length or a loop; and how many
        translated texts were too short to be judged by their language.
    """
    reasons = [_refusal(item, limits) for item in items]
    short = 0
    if identifier is not None and items:
        language = items[0].target_language
        for field in ("target_response", "target_prompt"):
            texts = [getattr(item, field) for item in items]
            found, unjudged = refuse_languages(texts, language, identifier, limits)
            short += unjudged
            for number, other in enumerate(found):
                if other is not None and reasons[number] is None:
                    reasons[number] = f"{field} not in {language_name(language)}"
    return reasons, short


def _refusal(item: PairedItem, limits: FilterLimits) -> str | None:
    found = refusal({name: getattr(item, name) for name in (*TEXTS, "target_language")})
    if found is not None:
        return found
    for side in ("prompt", "response"):
        english, target = getattr(item, f"english_{side}"), getattr(item, f"target_{side}")
        if len(english) >= limits.characters:
            ratio = reading_length(target) / reading_length(english)
            if ratio > limits.longest:
                return f"target_{side} too long for its English"
            if ratio * limits.longest < 1:
                return f"target_{side} too short for its English"
        if repetition(target) - repetition(english) > limits.repetition:
            return f"target_{side} repeats itself"
    return None


def reading_length(text: str) -> float:
    """Return a text's length in characters, those that stand for more than a letter counted as two or three."""
    plain = text.strip()
    return len(plain) + 2 * len(_WIDE.findall(plain)) + len(_SYLLABLES.findall(plain))


def repetition(text: str) -> float:
    """Return which share of a text's triples of words are repetitions; of six characters where no blanks divide words.

    Args:
        text: The text.

    Returns:
        From 0 to 1; 0 for fewer than ten triples.
    """
    units: Sequence[str] = _WORD.findall(text.lower())
    size = 3
    if sum(map(len, units)) > 15 * len(units):  # words are not divided
        units, size = "".join(units), 6
    runs = [tuple(units[start : start + size]) for start in range(len(units) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) >= 10 else 0.0
