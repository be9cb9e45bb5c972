"""Which language a text is in: a small protocol, and the default behind it (the one file that needs lingua)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lingraft.corpora.documents import Document
from lingraft.errors import CorpusError, MissingExtraError

COMMON_LANGUAGES = frozenset(
    ["ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pt", "ru", "sw", "tr", "zh"]
)
"""What a text may be in instead of the language that is wanted, where speed matters (our choice): choosing among all
that lingua knows takes ten times as long and a gigabyte."""


@dataclass(frozen=True, slots=True)
class LanguageGuess:
    """A language and how sure the identifier is.

    Attributes:
        language: ISO 639-1 code, or "" where the text shows none (no letters).
        confidence: From 0 to 1, over the languages that the identifier knows.
    """

    language: str
    confidence: float


class LanguageIdentifier(Protocol):
    """What identifies languages."""

    def identify(self, texts: Sequence[str]) -> list[LanguageGuess]:
        """Return the most likely language of each text."""


class LinguaIdentifier:
    """Language identification with lingua.

    Args:
        languages: ISO 639-1 codes to choose among, at least two; all 75 of lingua where None. Fewer are faster and
            surer.

    Raises:
        CorpusError: A code that lingua does not know, or only one.
        MissingExtraError: lingua-language-detector is not installed.
    """

    def __init__(self, languages: Iterable[str] | None = None) -> None:
        try:
            import lingua
        except ImportError as error:
            raise MissingExtraError(
                "lingua-language-detector", "corpora", "language identification"
            ) from error
        known = {language.iso_code_639_1.name.lower(): language for language in lingua.Language.all()}
        if languages is None:
            builder = lingua.LanguageDetectorBuilder.from_all_languages()
        else:
            codes = sorted({code.lower() for code in languages})
            if len(codes) < 2 or not known.keys() >= set(codes):
                raise CorpusError(
                    f"the languages {', '.join(codes)}",
                    f"two or more of {', '.join(sorted(known))}",
                    "leave the others out, or give an identifier of your own",
                )
            builder = lingua.LanguageDetectorBuilder.from_languages(*(known[code] for code in codes))
            known = {code: known[code] for code in codes}
        self.languages = frozenset(known)
        """ISO 639-1 codes of the languages it chooses among."""
        self._detector: Any = builder.build()

    def identify(self, texts: Sequence[str]) -> list[LanguageGuess]:
        """Return the most likely language of each text.

        Args:
            texts: Any texts.

        Returns:
            A guess for each.
        """
        answers = self._detector.compute_language_confidence_values_in_parallel(list(texts))
        return [self._best(values) for values in answers]

    @staticmethod
    def _best(values: Sequence[Any]) -> LanguageGuess:
        if not values or values[0].value == 0 or len({v.value for v in values}) == 1:
            return LanguageGuess("", 0.0)
        return LanguageGuess(values[0].language.iso_code_639_1.name.lower(), float(values[0].value))


def lingua_codes() -> dict[str, str]:
    """Return the languages that lingua knows, ISO 639-3 code to ISO 639-1 code; nothing where it is not installed."""
    try:
        import lingua
    except ImportError:
        return {}
    known = lingua.Language.all()
    return {one.iso_code_639_3.name.lower(): one.iso_code_639_1.name.lower() for one in known}


def keep_language(
    documents: Iterable[Document],
    language: str,
    identifier: LanguageIdentifier,
    *,
    confidence: float = 0.5,
    batch: int = 256,
    dropped: Callable[[Document, LanguageGuess], None] | None = None,
) -> Iterator[Document]:
    """Let through the documents that are in one language.

    Args:
        documents: The corpus.
        language: ISO 639-1 code.
        identifier: What identifies.
        confidence: Least confidence (our choice).
        batch: Documents identified together.
        dropped: Called with each document that is left out.

    Yields:
        Document: Those in the language.
    """
    waiting: list[Document] = []

    def settled() -> Iterator[Document]:
        guesses = identifier.identify([document.text for document in waiting])
        for document, guess in zip(waiting, guesses, strict=True):
            if guess.language == language and guess.confidence >= confidence:
                yield document
            elif dropped is not None:
                dropped(document, guess)

    for document in documents:
        waiting.append(document)
        if len(waiting) == batch:
            yield from settled()
            waiting.clear()
    if waiting:
        yield from settled()
