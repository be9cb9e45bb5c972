"""Reading `.zst` files: the one file that needs zstandard."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingraft.errors import MissingExtraError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_AT_ONCE = 2**17


class _Decompressed(io.RawIOBase):
    """Decompressed bytes of a file of one or more frames; a file that ends inside a frame is an error.

    The library's own stream reader takes a truncated file for a shorter one.
    """

    def __init__(self, path: Path, library: Any) -> None:
        self._file, self._library = path.open("rb"), library
        self._decompressor: Any = None
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        while not self._pending:
            if not self._refill():
                return 0
        size = min(len(view), len(self._pending))
        view[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _refill(self) -> bool:
        """Decompress some more; False at the end of the file."""
        compressed = self._decompressor.unused_data if self._frame_over() else b""
        compressed = compressed or self._file.read(READ_AT_ONCE)
        if not compressed:
            if self._decompressor is not None and not self._decompressor.eof:
                raise EOFError("the file ends inside a compressed frame")
            return False
        if self._decompressor is None or self._decompressor.eof:
            self._decompressor = self._library.ZstdDecompressor().decompressobj()
        try:
            self._pending = self._decompressor.decompress(compressed)
        except self._library.ZstdError as error:
            raise EOFError(f"damaged compressed data ({error})") from error
        return True

    def _frame_over(self) -> bool:
        return self._decompressor is not None and bool(self._decompressor.eof)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_zstandard(path: Path) -> io.BufferedReader:
    """Open a `.zst` file for reading its decompressed bytes.

    Args:
        path: The file.

    Returns:
        A binary stream; reading it raises EOFError where the file is damaged or cut short.

    Raises:
        MissingExtraError: zstandard is not installed.
    """
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError("zstandard", "corpora", f"reading {path.name}") from error
    return io.BufferedReader(_Decompressed(path, zstandard), buffer_size=READ_AT_ONCE)
