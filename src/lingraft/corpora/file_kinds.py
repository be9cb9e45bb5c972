"""What a file holds, told by its name and its first bytes, and opening it as lines of UTF-8.

Names count in any case. A name that says nothing (`corpus.sw`, `corpus.tok`) is of plain text, a document a line; what
is known to be something else is refused, never read as if it were text.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from lingraft.corpora.zstandard_reader import open_zstandard
from lingraft.errors import CorpusError


class FileKind(StrEnum):
    """How the records of a file are written."""

    TEXT = "text"
    JSON_LINES = "JSON lines"
    JSON = "JSON lines or one JSON list"
    TSV = "tab-separated"
    CSV = "comma-separated"
    PARQUET = "parquet"


KINDS = {
    ".txt": FileKind.TEXT,
    ".jsonl": FileKind.JSON_LINES,
    ".ndjson": FileKind.JSON_LINES,
    ".json": FileKind.JSON,
    ".tsv": FileKind.TSV,
    ".csv": FileKind.CSV,
    ".parquet": FileKind.PARQUET,
}
NAMED = ".txt, .jsonl, .ndjson, .json, .tsv, .csv (also .gz, .zst, .xz, .bz2) or .parquet files"

_EXTRACT = "extract its texts into .txt (a document a line) or .jsonl first"
_REFUSED = {
    **dict.fromkeys((".arrow", ".feather"), "give the directory that it is in, as hf:DIRECTORY"),
    **dict.fromkeys((".warc", ".wet", ".wat", ".xml", ".html", ".htm", ".tmx", ".pdf", ".docx"), _EXTRACT),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".rar", ".7z"), "unpack it, and give what it holds"),
    **dict.fromkeys((".safetensors", ".gguf", ".npy", ".npz", ".pkl"), "give a file of texts"),
}
# Not `.pt` or `.bin`, which end names of Portuguese and Edo text; tensors of that name begin as zip archives do.
_COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".zst": open_zstandard,
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
}
_RENAME = "give the file the ending that says so"
_BEGINNINGS = {
    # UTF-32 first: in little-endian order it begins as UTF-16 does.
    b"\xff\xfe\x00\x00": ("text in UTF-32", "convert it: iconv -f UTF-32 -t UTF-8"),
    b"\x00\x00\xfe\xff": ("text in UTF-32", "convert it: iconv -f UTF-32 -t UTF-8"),
    b"\xff\xfe": ("text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
    b"\x1f\x8b\x08": ("gzip data (.gz)", _RENAME),
    b"\x28\xb5\x2f\xfd": ("Zstandard data (.zst)", _RENAME),
    b"\xfd7zXZ\x00": ("xz data (.xz)", _RENAME),
    b"BZh91AY&SY": ("bzip2 data (.bz2)", _RENAME),
    b"PAR1": ("parquet data (.parquet)", _RENAME),
    b"ARROW1": ("Arrow data", "give the directory that it is in, as hf:DIRECTORY"),
    b"PK\x03\x04": ("a zip archive", "unpack it, and give what it holds"),
    b"%PDF-": ("a PDF", _EXTRACT),
}

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a missing, forbidden or damaged file raises."""


def unpacked_suffix(name: str | Path) -> str:
    """Return the ending of a file's name in lower case, without that of its compression: `.txt`, `.jsonl`, `.tsv`."""
    path = Path(name)
    return Path(path.stem if path.suffix.lower() in _COMPRESSED else path).suffix.lower()


def file_kind(name: str | Path) -> FileKind:
    """Tell by a file's name how its records are written.

    Args:
        name: The file's name.

    Returns:
        The kind; plain text where the ending says nothing.

    Raises:
        CorpusError: The ending is one of files that hold no records of text.
    """
    suffix = unpacked_suffix(name)
    if suffix in _REFUSED:
        raise CorpusError(f"{name} is a {suffix} file", NAMED, _REFUSED[suffix])
    return KINDS.get(suffix, FileKind.TEXT)


def is_compressed(name: str | Path) -> bool:
    """Return whether a file's name says that it is compressed."""
    return Path(name).suffix.lower() in _COMPRESSED


def is_corpus_file(path: Path) -> bool:
    """Whether a file that lies in a directory holds a corpus, by its name.

    Hidden files do not. Nor does a bare `.json`, which is mostly about the files beside it; it is read where it is
    named, or compressed.
    """
    if path.name.startswith("."):
        return False
    suffix = unpacked_suffix(path)
    return suffix in KINDS and (suffix != ".json" or is_compressed(path))


def open_lines(path: Path) -> IO[bytes]:
    """Open a file of lines for reading, decompressed.

    Args:
        path: The file.

    Returns:
        A binary stream.

    Raises:
        CorpusError: It begins as no UTF-8 text does.
        MissingExtraError: The library for it is not installed.
    """
    # Anything: each of the classes has `peek`, and no type in common does.
    opener = _COMPRESSED.get(path.suffix.lower())
    stream: Any = path.open("rb") if opener is None else opener(path)
    try:
        _require_text(path, stream.peek(max(map(len, _BEGINNINGS))))
    except BaseException:
        stream.close()
        raise
    opened: IO[bytes] = stream
    return opened


def _require_text(path: Path, begin: bytes) -> None:
    for mark, (what, remedy) in _BEGINNINGS.items():
        if begin.startswith(mark):
            raise CorpusError(f"{path} holds {what}", "lines of text in UTF-8", remedy)


def unreadable(name: str, error: Exception) -> CorpusError:
    """Say in one line that a file cannot be read, and why."""
    return CorpusError(
        f"{name} cannot be read: {getattr(error, 'strerror', None) or error}",
        "a readable, undamaged file",
        "check its permissions, or fetch it again",
    )
