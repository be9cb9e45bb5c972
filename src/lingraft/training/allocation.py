"""Memory of a training on a CPU: kept by the process between steps, not given back and fetched anew.

Each step frees and allocates the same large tensors. The C library returns such blocks to the system at once, which
then hands them out again page by page, cleared.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# From malloc.h of the GNU C library.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}
DEFAULTS = {M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 2**17, M_TOP_PAD: 2**17}


@contextmanager
def kept_memory(device: str) -> Iterator[bool]:
    """Let the GNU C library keep freed memory inside the block, and give it back after; elsewhere do nothing.

    Args:
        device: Type of the device that trains.

    Yields:
        Whether memory is kept.
    """
    library = _library() if device == "cpu" else None
    if library is None:
        yield False
        return
    for option, value in KEEPING.items():
        library.mallopt(option, value)
    try:
        yield True
    finally:
        for option, value in DEFAULTS.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def _library() -> ctypes.CDLL | None:
    """Return the C library where it is GNU's."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    found = all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim"))
    return library if found else None
