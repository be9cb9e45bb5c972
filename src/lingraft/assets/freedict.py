"""FreeDict dictionaries: a dictd database as (word, translation) pairs."""

import gzip
import re
import string
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lingraft.assets.archives import broken_archive, read_deb

_DIGIT = {
    character: value
    for value, character in enumerate(string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/")
}
_PRONUNCIATION = re.compile(r"\s*/[^/]*/.*$|\s*[<\[({].*$")
_NUMBER = re.compile(r"^(\d+[.)]|[a-z]\)|[IVX]+\.)\s*")
_REMARK = re.compile(r'<[^>]*>|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|"[^"]*"|„[^“”]*[“”]')
_NO_TRANSLATION = re.compile(
    r"^(see:?|see also|cf\.?|syn(onyms?)?:?|ant(onyms?)?:?|note:?|plural of|\(|\"|-|•|/)", re.IGNORECASE
)
_OTHER_SCRIPT = {"ara", "bul", "ell", "hin", "jpn", "mkd", "rus"}
"""Target languages that are not written in Latin letters: what is, is an explanation."""
LONGEST_PHRASE = 3
"""Our choice: a head or translation of more words than this is a definition or a sentence, not a pair."""


def decode_number(digits: str) -> int:
    """Return the number that a dictd index writes in base 64.

    Args:
        digits: The digits, most significant first.

    Returns:
        The number.

    Raises:
        ValueError: A character is no such digit.
    """
    number = 0
    for digit in digits:
        if digit not in _DIGIT:
            raise ValueError(f"{digits!r} is no number of a dictd index")
        number = number * 64 + _DIGIT[digit]
    return number


def read_dictd(index: str, database: bytes) -> Iterator[tuple[str, str]]:
    """Yield (headword, entry) of a dictd database, without the entries that describe the database.

    Args:
        index: The index: lines of headword, offset and length.
        database: The uncompressed entries.

    Yields:
        The headword as indexed and the entry's text.

    Raises:
        ValueError: The index is damaged or points outside the database.
    """
    for number, line in enumerate(index.splitlines(), 1):
        fields = line.split("\t")
        if len(fields) < 3:
            raise ValueError(f"line {number} of the index has {len(fields)} fields")
        head, offset, length = fields[0], decode_number(fields[1]), decode_number(fields[2])
        if offset + length > len(database):
            raise ValueError(f"line {number} of the index points past the end of the database")
        if not head.startswith(("00-database", "00database")):
            yield head, database[offset : offset + length].decode("utf-8", "replace")


def entry_pairs(
    head: str, entry: str, counts: Counter[str], *, glosses: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the (word, translation) pairs of one entry; count what is passed over, by reason.

    The first line holds the word with pronunciation and grammar; translations stand on lines of their own,
    several divided by commas or semicolons; remarks in brackets, examples and cross-references are left out.

    Args:
        head: The headword as indexed, used where the entry's first line gives none.
        entry: The entry's text.
        counts: Gets the translations passed over.
        glosses: Whether the line after a sense's translations explains the sense, as in the dictionaries
            that were made from Wiktionary.

    Yields:
        Pairs of at most three words on either side.
    """
    lines = entry.split("\n")
    word = _clean(_PRONUNCIATION.sub("", lines[0])) or _clean(head)
    translated = False
    for line in lines[1:]:
        numbered = _NUMBER.match(line.strip())
        text = line.strip()[numbered.end() if numbered else 0 :]
        if numbered:
            translated = False
        if not text or _NO_TRANSLATION.match(text) or (glosses and translated):
            continue
        translated = True
        # What follows a dash between blanks is an example with its translation.
        text = re.split(r"\s+[-–]\s+", _REMARK.sub(" ", text))[0]
        for part in re.split(r"[,;]", text):
            translation = _clean(part.replace("~", " "))
            if not translation:
                continue
            if len(word.split()) > LONGEST_PHRASE or len(translation.split()) > LONGEST_PHRASE:
                counts["dropped: more than three words"] += 1
            elif translation.casefold() == word.casefold():
                counts["dropped: translation equals the word"] += 1
            else:
                yield word, translation


def _clean(text: str) -> str:
    cleaned = " ".join(text.split()).strip(" .:!?*")
    return cleaned if any(map(str.isalpha, cleaned)) else ""


def convert_freedict(deb: Path, directory: Path) -> dict[str, int]:
    """Write `pairs.tsv` (word, translation; sorted, no repetitions) and the licence from a FreeDict package.

    Args:
        deb: The dict-freedict package.
        directory: An existing directory to write into.

    Returns:
        Counts with reasons.

    Raises:
        AssetError: The package is damaged or holds no dictionary.
    """
    files: dict[str, bytes] = {}
    language = ""
    for name, content in read_deb(deb, lambda name: name.startswith(("usr/share/dictd/", "usr/share/doc/"))):
        for ending in (".index", ".dict.dz", "/copyright"):
            if name.endswith(ending):
                files[ending] = content
        if name.endswith(".index"):
            language = name.removesuffix(".index")[-3:]
    if not {".index", ".dict.dz"} <= files.keys():
        raise broken_archive(deb, "it holds no dictd dictionary")
    counts: Counter[str] = Counter()
    pairs: set[tuple[str, str]] = set()
    try:
        database = gzip.decompress(files[".dict.dz"])
        from_wiktionary = b"wikdict" in database[: 1 << 16].lower()
        for head, entry in read_dictd(files[".index"].decode("utf-8"), database):
            counts["entries"] += 1
            for pair in entry_pairs(head, entry, counts, glosses=from_wiktionary):
                if language in _OTHER_SCRIPT and pair[1].isascii():
                    counts["dropped: not in the language's script"] += 1
                    continue
                if pair in pairs:
                    counts["dropped: repeated pairs"] += 1
                pairs.add(pair)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise broken_archive(deb, str(error)) from error
    single = [(word, other) for word, other in pairs if " " not in word and " " not in other]
    counts["pairs"] = len(pairs)
    counts["pairs of single words"] = len(single)
    counts["words with a single-word translation"] = len({word for word, _ in single})
    lines = "".join(f"{word}\t{translation}\n" for word, translation in sorted(pairs))
    (directory / "pairs.tsv").write_text(lines, encoding="utf-8")
    if "/copyright" in files:
        (directory / "COPYRIGHT.txt").write_bytes(files["/copyright"])
    return dict(counts)
