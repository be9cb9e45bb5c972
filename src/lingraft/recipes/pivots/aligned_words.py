"""From parallel text to a word list: what `lingraft pivots words --aligned` reads in place of a lexicon."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lingraft.assets.catalog import fetch_asset, is_asset_name
from lingraft.errors import ConfigError, CorpusError
from lingraft.files import sha256_of, write_text
from lingraft.pivots.induction import InducedPair, induce_pairs
from lingraft.pivots.languages import find_language

HELP = "libreoffice-help-"
PAIRS_FILE = "pairs.tsv"
"""What an aligned asset's directory holds."""
WRONG_COLUMNS, NOT_TEXT = "aligned: neither two nor four columns", "aligned: not UTF-8"
IDENTIFIER = "aligned: an identifier or acronym"
"""Reasons for what is passed over: lines, and word pairs of which a word has a capital letter inside (our choice)."""


@dataclass(frozen=True, slots=True)
class AlignedWords:
    """Word pairs that parallel text gave.

    Attributes:
        pairs: Best first.
        file: The text.
        sha256: Of the text.
        sentences: Sentence pairs read.
        bad: Lines and word pairs that were passed over, by reason.
    """

    pairs: list[InducedPair]
    file: Path
    sha256: str
    sentences: int
    bad: dict[str, int]

    def write(self, path: Path) -> None:
        """Write a lexicon: lines of source word, target word, score, Dice coefficient, count; tabs between.

        Args:
            path: Where, atomically.
        """
        write_text(path, "".join(f"{_row(pair)}\n" for pair in self.pairs))


def induce_words(aligned: str, source: str, target: str, *, swap: bool = False) -> AlignedWords:
    """Find word pairs in parallel text, see `induce_pairs`.

    Args:
        aligned: `libreoffice-help-LANG`, a `.tsv` file of either two columns (source text, target text) or four
            (document, id, English, other language), without a header, or a directory that holds it as `pairs.tsv`.
        source: Code or English name of the language to translate from.
        target: Of the language to translate into.
        swap: The two text columns are the other way round.

    Returns:
        The pairs.

    Raises:
        ConfigError: The text is of other languages, in a script without spaces, or gives no word pair.
        CorpusError: The file cannot be read or holds no sentence pair.
    """
    path = find_aligned(aligned, source, target)
    columns: Counter[int] = Counter()
    bad: Counter[str] = Counter()
    sentences: list[tuple[str, str]] = []
    for line in _lines(path):
        row = _cells(line)
        if isinstance(row, str):
            bad[row] += 1
            continue
        columns[len(row)] += 1
        sentences.append((row[-2].strip(), row[-1].strip()))
    sentences = [pair for pair in sentences if all(pair)]
    if not sentences:
        raise CorpusError(
            f"{path} holds no sentence pair ({_listed(bad)})",
            "lines of text, tab, translation, or of document, id, English, translation",
            "give parallel text",
        )
    if swap != (columns[4] > columns[2] and _is_english(target)):
        sentences = [(other, own) for own, other in sentences]
    found = induce_pairs(sentences)
    pairs = [pair for pair in found if not any(map(_has_inner_capital, (pair.source_word, pair.target_word)))]
    if len(pairs) < len(found):
        bad[IDENTIFIER] = len(found) - len(pairs)
    if not pairs:
        raise ConfigError(
            f"{path}: no two words come together often enough in {len(sentences):,} sentence pairs",
            "a few thousand sentence pairs",
            "give more parallel text, or a lexicon",
        )
    return AlignedWords(pairs, path, sha256_of(path), len(sentences), dict(bad))


def find_aligned(aligned: str, source: str, target: str) -> Path:
    """Find the file of parallel text, fetching a catalogued one.

    Args:
        aligned: What the user typed.
        source: Code or name of the language to translate from.
        target: Of the language to translate into.

    Returns:
        The file.

    Raises:
        ConfigError: The catalogued text is of other languages.
        CorpusError: There is no such file.
    """
    path = Path(aligned)
    if path.is_dir():
        path = path / PAIRS_FILE
    if path.exists():
        return path
    if not (aligned.startswith(HELP) and is_asset_name(aligned)):
        raise CorpusError(
            f"no file {path}",
            "parallel text, or libreoffice-help-LANG",
            "check the path, or the asset's name",
        )
    other = target if _is_english(source) else source
    code = aligned.removeprefix(HELP).partition("-")[0]
    fits = find_language(other).name in {code, _name_of(code)}
    if not fits or not (_is_english(source) or _is_english(target)):
        raise ConfigError(
            f"{aligned} for {find_language(source).name} to {find_language(target).name}",
            "English and the language that it is named for",
            "give another asset, or other languages",
        )
    return fetch_asset(aligned).path / PAIRS_FILE


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}", "parallel text", "check the path") from error


def _cells(line: bytes) -> list[str] | str:
    """Return the columns, or why there are none."""
    try:
        cells = line.decode("utf-8").rstrip("\r").split("\t")
    except UnicodeDecodeError:
        return NOT_TEXT
    return cells if len(cells) in (2, 4) else WRONG_COLUMNS


def _has_inner_capital(word: str) -> bool:
    return any(letter.isupper() for letter in word[1:])


def _row(pair: InducedPair) -> str:
    return f"{pair.source_word}\t{pair.target_word}\t{pair.score:.3f}\t{pair.dice:.4f}\t{pair.both}"


def _is_english(language: str) -> bool:
    return find_language(language).name == "English"


def _name_of(code: str) -> str | None:
    try:
        return find_language(code).name
    except ConfigError:
        return None


def _listed(bad: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in bad.items()) or "it is empty"
