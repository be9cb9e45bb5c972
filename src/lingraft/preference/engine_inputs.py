"""How sentences are put to sequence-to-sequence models: the marks of languages, and what is too long."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lingraft.errors import ConfigError
from lingraft.preference.languages import codes_of, short_code

_FORCED = re.compile(r"__([a-z]{2,3})__|([a-z]{2,3}_(?:[A-Z][a-z]{3}|[A-Z]{2}))")
"""Tokens that a decoder is made to begin with: of M2M100; of NLLB and mBART."""
_PREFIXED = re.compile(r">>(\w+)<<|<2(\w+)>")
"""Tokens that stand before the source sentence: of Marian, of MADLAD."""
FEWEST_WORDS = 4
"""Words of a part that is not cut in two any more: what does not end then is a model that repeats itself."""
_CLAUSE = re.compile(r"[,;:–—]\s+|\s+[-–—]\s+")


@dataclass(frozen=True, slots=True)
class LanguageMarks:
    """How a model is told the languages.

    Attributes:
        source_code: What the tokenizer's `src_lang` is set to, or None.
        target_token: The token that the translation is made to begin with, or None.
        prefix: What is put before each sentence.
    """

    source_code: str | None = None
    target_token: str | None = None
    prefix: str = ""


def find_marks(
    tokenizer: Any,
    source_language: str,
    target_language: str,
    *,
    source_code: str | None = None,
    target_code: str | None = None,
    prefix: str = "",
) -> LanguageMarks:
    """Find how a tokenizer's model is told the languages: M2M100, NLLB, mBART, MADLAD, Marian, or by a prefix.

    Args:
        tokenizer: The model's tokenizer.
        source_language: ISO 639-1 code.
        target_language: ISO 639-1 code.
        source_code: The tokenizer's own code of the source language, where it cannot be found.
        target_code: The same of the target language, such as `zho_Hant`.
        prefix: Put before each sentence; the model is then told nothing else.

    Returns:
        The marks; none for a model of one language pair.

    Raises:
        ConfigError: The model does not know a language, knows several of the kind, or is of another pair.
    """
    if prefix:
        return LanguageMarks(prefix=prefix)
    vocabulary = {*tokenizer.get_vocab(), *getattr(tokenizer, "lang_token_to_id", {})}
    prefixed = _by_code(vocabulary, _PREFIXED)
    if prefixed:
        return LanguageMarks(prefix=_one(prefixed, target_language, target_code, "--target-code") + " ")
    forced = _by_code(vocabulary, _FORCED)
    if not forced:
        _check_pair(tokenizer, source_language, target_language)
        return LanguageMarks()
    source = _one(forced, source_language, source_code, "--source-code")
    target = _one(forced, target_language, target_code, "--target-code")
    return LanguageMarks(source_code=source.strip("_"), target_token=target)


def _by_code(vocabulary: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return the language tokens of one kind by the code in them."""
    matches = (pattern.fullmatch(token) for token in sorted(vocabulary))
    return {match[1] or match[2]: match[0] for match in matches if match is not None}


def _one(tokens: dict[str, str], language: str, code: str | None, option: str) -> str:
    """Return the token of a language, by the given code or by any code that the language has."""
    if code is not None:
        found = [code] if code in tokens else []
    else:
        wanted = codes_of(language)
        found = [name for name in tokens if name in wanted] or [
            name for name in tokens if name.partition("_")[0] in wanted
        ]
    if len(found) == 1:
        return tokens[found[0]]
    known = ", ".join(list(tokens)[:8]) + (f" and {len(tokens) - 8} more" if len(tokens) > 8 else "")
    raise ConfigError(
        f"the model knows {'no' if not found else 'several'} language {code or language!r}"
        + (f" ({', '.join(found)})" if found else ""),
        f"one of its codes: {known}",
        f"give {option} or another model",
    )


def _check_pair(tokenizer: Any, source_language: str, target_language: str) -> None:
    """Refuse a model that says itself that it is of another language pair."""
    for attribute, wanted in (("source_lang", source_language), ("target_lang", target_language)):
        stated = getattr(tokenizer, attribute, None)
        if isinstance(stated, str) and re.fullmatch("[a-z]{2,3}", stated) and short_code(stated) != wanted:
            raise ConfigError(
                f"the model's {attribute} is {stated!r}", wanted, "give a model of this language pair"
            )


def fit_length(text: str, size: Callable[[str], int], limit: int) -> list[str]:
    """Cut a sentence that is too long for a model, at the clause or blank nearest to its middle, until all parts fit.

    Args:
        text: The sentence.
        size: Counts the tokens of a text.
        limit: The most that the model reads.

    Returns:
        The parts in order, at least one; a part without any blank may still be too long.
    """
    if size(text) <= limit:
        return [text]
    middle = len(text) // 2
    for pattern in (_CLAUSE, re.compile(r"\s+")):
        places = [match.span() for match in pattern.finditer(text)]
        inner = [span for span in places if len(text) // 4 <= span[1] <= len(text) - len(text) // 4]
        if inner:
            _, cut = min(inner, key=lambda span: abs(span[1] - middle))
            return [
                *fit_length(text[:cut].strip(), size, limit),
                *fit_length(text[cut:].strip(), size, limit),
            ]
    half = text[:middle], text[middle:]
    return [part for piece in half for part in fit_length(piece, size, limit)] if middle else [text]


def translated_whole(
    sentences: Sequence[str],
    translate: Callable[[list[str]], list[str | None]],
    size: Callable[[str], int],
    limit: int,
) -> list[str]:
    """Translate sentences, in parts where they or their translations are too long.

    A part whose translation was cut off at the most tokens that an answer may have is cut in two and translated anew.

    Args:
        sentences: The sentences.
        translate: Gives a translation of each part, or None where it had no end.
        size: Counts the tokens of a text.
        limit: The most that the model reads.

    Returns:
        A translation for each sentence; empty where a part of fewer than `FEWEST_WORDS` words has none that ends.
    """
    cut = [fit_length(sentence, size, limit) for sentence in sentences]
    flat = [part for row in cut for part in row]
    answers = translate(flat) if flat else []
    endless = [
        number
        for number, answer in enumerate(answers)
        if answer is None and _words(flat[number]) >= FEWEST_WORDS
    ]
    if endless:
        again = [fit_length(flat[number], _words, _words(flat[number]) - 1) for number in endless]
        pieces = [piece for row in again for piece in row]
        found = translated_whole(pieces, translate, size, limit)
        for number, answer in zip(endless, join_parts([len(row) for row in again], found), strict=True):
            answers[number] = answer
    return join_parts([len(row) for row in cut], [answer or "" for answer in answers])


def _words(text: str) -> int:
    return len(text.split())


def join_parts(counts: Sequence[int], parts: Sequence[str]) -> list[str]:
    """Join the translations of parts again.

    Args:
        counts: How many parts each sentence has.
        parts: The translations of all parts in order.

    Returns:
        A translation for each sentence; empty where one of its parts has none.
    """
    joined, start = [], 0
    for count in counts:
        some = [part.strip() for part in parts[start : start + count]]
        joined.append(" ".join(some) if all(some) else "")
        start += count
    return joined
