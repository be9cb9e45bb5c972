"""Language identification behind a protocol; lingua as the default."""

import sys
from collections.abc import Sequence

import pytest

from lingraft.corpora.documents import Document
from lingraft.corpora.language_id import LanguageGuess, LinguaIdentifier, keep_language
from lingraft.errors import CorpusError, MissingExtraError


class ByFirstWord:
    """A stand-in that takes the first word for the language, and the second for the confidence."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def identify(self, texts: Sequence[str]) -> list[LanguageGuess]:
        self.sizes.append(len(texts))
        return [LanguageGuess(text.split()[0], float(text.split()[1])) for text in texts]


def test_keeps_the_language_in_order_and_reports_the_rest() -> None:
    texts = ["eu 0.9 bat", "en 0.9 one", "eu 0.2 bi", "eu 0.5 hiru", "de 1.0 vier"]
    identifier, lost = ByFirstWord(), []
    documents = [Document(text, str(n)) for n, text in enumerate(texts)]
    kept = list(
        keep_language(
            documents, "eu", identifier, batch=2, dropped=lambda d, g: lost.append((d.id, g.language))
        )
    )
    assert [d.id for d in kept] == ["0", "3"]
    assert lost == [("1", "en"), ("2", "eu"), ("4", "de")]
    assert identifier.sizes == [2, 2, 1]


def test_lingua() -> None:
    pytest.importorskip("lingua", reason="needs the extra `corpora`")
    identifier = LinguaIdentifier(["eu", "EN", "de", "es"])
    guesses = identifier.identify(
        [
            "Etxe zuri bat ikusi dut mendian",
            "The house on the hill is white",
            "Größe ändern und speichern",
            "12 — !",
        ]
    )
    assert [guess.language for guess in guesses] == ["eu", "en", "de", ""]
    assert all(0.5 < guess.confidence <= 1 for guess in guesses[:3])
    assert guesses[3].confidence == 0.0
    with pytest.raises(CorpusError, match="the languages eu, tlh"):
        LinguaIdentifier(["eu", "tlh"])
    with pytest.raises(CorpusError, match="two or more"):
        LinguaIdentifier(["eu"])


def test_without_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[corpora\]"):
        LinguaIdentifier()
