"""What a corpus is made of: documents, and pairs of texts that say the same in two languages."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One text as the corpus delivers it.

    Attributes:
        text: The text, Unicode, as read (no normalisation).
        id: A name that is unique within its corpus: the given id, or `FILE:LINE`.
        language: The language code the corpus states, or "" where it states none.
        meta: Whatever else the record carried, unchanged.
    """

    text: str
    id: str
    language: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParallelPair:
    """A text and its translation.

    Attributes:
        source_text: The text in the language translated from.
        target_text: The same in the language translated to.
        id: A name that is unique within its corpus.
        source_language: Language code of `source_text`, or "".
        target_language: Language code of `target_text`, or "".
    """

    source_text: str
    target_text: str
    id: str
    source_language: str = ""
    target_language: str = ""
