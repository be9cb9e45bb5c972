"""Characters that a vocabulary with byte fallback, or with an unknown token, lacks for a corpus."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from lingraft.tokenizers.backend import Backend

COVERAGE = 0.9995
"""Share of a corpus's characters that a vocabulary should hold: SentencePiece's default of `character_coverage`."""
_KINDS = frozenset("LMNP")
"""Letters, marks, numbers, punctuation; and of these none of ASCII, which English has too. What else there is, such as
line breaks and emoji, stays in the bytes that the model knows it by."""


def missing_characters(
    words: Mapping[str, int], backend: Backend, *, taken: Collection[str], most: int, minimum_count: int
) -> list[str]:
    """Choose characters to add, so that merges have something to begin from (our choice).

    Without them a script that the vocabulary lacks stays in bytes, three tokens a character, since a decoder knows
    single byte pieces alone and they cannot be merged.

    Args:
        words: Words of the corpus, as the model sees them, and their occurrences.
        backend: The tokenizer's description.
        taken: Added tokens, which the vocabulary of the model lacks.
        most: How many at most.
        minimum_count: Rarer ones are left out.

    Returns:
        The characters, the most frequent first, until `COVERAGE` is reached; none of a byte-level vocabulary, which
        lacks none.
    """
    if backend.style == "byte-level" or backend.prefix:
        return []
    counts: Counter[str] = Counter()
    for word, occurrences in words.items():
        for character in word:
            counts[character] += occurrences

    def known(character: str) -> bool:
        return character in backend.vocabulary or character in taken or character.isascii()

    covered = sum(count for character, count in counts.items() if known(character))
    chosen: list[str] = []
    for character, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        if len(chosen) >= most or count < minimum_count or covered >= COVERAGE * counts.total():
            break
        if not known(character) and unicodedata.category(character)[0] in _KINDS:
            chosen.append(character)
            covered += count
    return chosen


def with_characters(backend: Backend, characters: list[str], first_id: int) -> Backend:
    """Return a tokenizer's description with further characters in its vocabulary.

    Args:
        backend: The description.
        characters: Single characters that it lacks.
        first_id: Id of the first; the others follow.

    Returns:
        A new description.
    """
    if not characters:
        return backend
    added = {character: first_id + place for place, character in enumerate(characters)}
    vocabulary = {**backend.vocabulary, **added}
    description = {**backend.description, "model": {**backend.model, "vocab": vocabulary}}
    return replace(backend, description=description, vocabulary=vocabulary)
