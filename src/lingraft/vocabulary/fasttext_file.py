"""Whether a fastText `.bin` file is whole: gensim reads a truncated one for ever."""

import mmap
import struct
from pathlib import Path

from lingraft.errors import TransferError

MAGIC = 793712314
HEADER = struct.Struct("<2i12id")
"""Magic number and version, then fastText's arguments: twelve integers and a double."""
DICTIONARY = struct.Struct("<3i2q")
"""Entries, words, labels, tokens, and pruned n-grams (each a pair of integers)."""
ENTRY_TAIL = 9
"""After a word's closing zero: its count (8 bytes) and its kind (1)."""
MATRIX = struct.Struct("<?2q")
"""Whether it is quantised, rows, columns; single precision numbers follow."""


def require_whole_bin(path: Path) -> None:
    """Go through the layout of a fastText `.bin` file without reading its vectors.

    Args:
        path: The file.

    Raises:
        TransferError: It is of another kind, of fastText's old format, quantised, or ends too early.
    """
    size = path.stat().st_size
    if size < HEADER.size + DICTIONARY.size:
        raise _truncated(path, size, HEADER.size + DICTIONARY.size)
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if HEADER.unpack_from(content)[0] != MAGIC:
            raise TransferError(
                f"word vectors {path} cannot be read: they do not begin as a fastText .bin file does",
                "a .bin file of fastText 0.1 or later",
                "give the .vec file instead",
            )
        entries, _, _, _, pruned = DICTIONARY.unpack_from(content, HEADER.size)
        place = HEADER.size + DICTIONARY.size
        for _ in range(entries):
            end = content.find(b"\0", place)
            if end < 0:
                raise _truncated(path, size, size + 1)
            place = end + 1 + ENTRY_TAIL
        place += 8 * max(pruned, 0)
        if place + MATRIX.size > size:
            raise _truncated(path, size, place + MATRIX.size)
        quantised, rows, columns = MATRIX.unpack_from(content, place)
        if quantised or rows < 1 or columns < 1:
            raise TransferError(
                f"word vectors {path} cannot be read: {'quantised' if quantised else f'{rows} x {columns}'} vectors",
                "plain fastText vectors",
                "give the .vec file, or the model before quantisation",
            )
        if place + MATRIX.size + 4 * rows * columns > size:
            raise _truncated(path, size, place + MATRIX.size + 4 * rows * columns)


def _truncated(path: Path, size: int, needed: int) -> TransferError:
    return TransferError(
        f"word vectors {path} cannot be read: {size:,} bytes",
        f"a whole .bin file, at least {needed:,} bytes",
        "download it again",
    )
