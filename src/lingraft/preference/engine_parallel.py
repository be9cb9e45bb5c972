"""Already parallel data as an engine: what a text's translation is, is looked up."""

from collections.abc import Iterable, Sequence

from lingraft.errors import CorpusError


class ParallelEngine:
    """Looks translations up in pairs; a text that is in none has no translation.

    Args:
        pairs: Texts with their translations; of repeated texts the first counts.
        name: What the user typed.
        version: What pins the pairs.
        licence: Their licence, as far as it is known.
        source_language: ISO 639-1 code.
        target_language: ISO 639-1 code.

    Raises:
        CorpusError: There are no pairs.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        name: str,
        version: str,
        licence: str,
        source_language: str,
        target_language: str,
    ) -> None:
        self.name, self.version, self.licence = name, version, licence
        self.source_language, self.target_language = source_language, target_language
        self._known: dict[str, str] = {}
        for text, translation in pairs:
            self._known.setdefault(text.strip(), translation.strip())
        if not self._known:
            raise CorpusError(f"no pair in {name}", "texts with their translations", "check the file")

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """Return the translation of each text, empty where it is in no pair."""
        return [self._known.get(sentence.strip(), "") for sentence in sentences]
