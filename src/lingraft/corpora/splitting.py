"""Training and held-out documents, without near-duplicates between them."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.documents import Document
from lingraft.errors import CorpusError

SHINGLE_WORDS = 5
"""Words in a shingle (our choice)."""

SHINGLE_CHARACTERS = 10
"""Characters in a shingle of a text that is mostly in a script written without spaces (our choice)."""


@dataclass(frozen=True, slots=True)
class Split:
    """A corpus in two parts.

    Attributes:
        train: Documents to train on.
        heldout: Documents to measure on; none is a near-duplicate of a training document.
        dropped: Held-out candidates that were near-duplicates of training documents, and are in neither part.
    """

    train: tuple[Document, ...]
    heldout: tuple[Document, ...]
    dropped: tuple[Document, ...]


def split_heldout(
    documents: Iterable[Document],
    *,
    share: float = 0.1,
    seed: int = 0,
    overlap: float = 0.5,
    group_field: str | None = None,
) -> Split:
    """Split documents by a hash of their id (our choice): a document's part does not depend on the others.

    A held-out candidate is dropped when more than `overlap` of its shingles occur anywhere in the training part:
    containment, so a paragraph lifted out of a long training document counts too.

    Args:
        documents: The corpus; ids must differ.
        share: Expected share of held-out candidates.
        seed: Another seed gives another split.
        overlap: Largest share of shingles that may occur in the training part.
        group_field: Name of a `meta` field; documents that agree on it (a file, a web site) stay together.

    Returns:
        The two parts and what was dropped, each in the corpus's order.

    Raises:
        CorpusError: A part would be empty, or two documents have the same id.
    """
    if not 0 < share < 1:
        raise CorpusError(f"a held-out share of {share}", "more than 0 and less than 1", "give another share")
    train: list[Document] = []
    candidates: list[Document] = []
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise CorpusError(
                f"two documents with the id {document.id!r}", "ids that differ", "renumber the documents"
            )
        seen.add(document.id)
        key = document.id if group_field is None else str(document.meta.get(group_field, document.id))
        (candidates if _uniform(key, seed) < share else train).append(document)
    known = _union(shingles(document.text) for document in train)
    heldout: list[Document] = []
    dropped: list[Document] = []
    for document in candidates:
        own = shingles(document.text)
        copied = np.isin(own, known, assume_unique=True).mean() if len(own) else 1.0
        (dropped if copied > overlap else heldout).append(document)
    for name, part in (("training", train), ("held-out", heldout)):
        if not part:
            raise CorpusError(
                f"no {name} document among {len(seen)} ({len(dropped)} were near-duplicates)",
                "documents for both parts",
                "give more documents or another held-out share",
            )
    return Split(tuple(train), tuple(heldout), tuple(dropped))


def shingles(text: str) -> NDArray[np.uint64]:
    """Return the hashes of a text's shingles: so many words in a row, folded to NFKC lower case, numbers made alike.

    A text of fewer words is one shingle. In a script without spaces each character counts as a word.

    Args:
        text: Any text.

    Returns:
        uint64 [distinct shingles], sorted.
    """
    folded = re.sub("0+", "0", unicodedata.normalize("NFKC", text).casefold().translate(_FOLDING))
    runs = [(run, any(map(_unspaced, run))) for run in folded.split()]
    words = [word for run, unspaced in runs for word in (run if unspaced else (run,))]
    if not words:
        return np.zeros(0, dtype=np.uint64)
    letters = sum(len(run) for run, unspaced in runs if unspaced)
    length = SHINGLE_CHARACTERS if 2 * letters > len(words) else SHINGLE_WORDS
    number = max(1, len(words) - length + 1)
    hashes = [_hash("\x1f".join(words[start : start + length])) for start in range(number)]
    return np.unique(np.array(hashes, dtype=np.uint64))


class _Folding(dict[int, str]):
    """What each character becomes: letters and marks stay, numbers become 0, all else a space. Filled as met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)[0]
        self[code] = "0" if kind == "N" else character if kind in "LM" else " "
        return self[code]


_FOLDING = _Folding()


def _unspaced(character: str) -> bool:
    """Whether a character is of Thai, Lao, Tibetan, Burmese, Khmer, kana or Han."""
    code = ord(character)
    return (
        0x0E00 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0x20000 <= code <= 0x3FFFF
    )


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _uniform(key: str, seed: int) -> float:
    """Return a number in [0, 1) that only the key and the seed decide."""
    return _hash(f"{seed}\x1f{key}") / 2**64


def _union(parts: Iterable[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Return the sorted distinct values of all parts, merging as they come, so that repeats take no memory."""
    merged = np.zeros(0, dtype=np.uint64)
    waiting: list[NDArray[np.uint64]] = []
    for part in parts:
        waiting.append(part)
        if len(waiting) == 4096:
            merged = np.unique(np.concatenate([merged, *waiting]))
            waiting = []
    return np.unique(np.concatenate([merged, *waiting]))
