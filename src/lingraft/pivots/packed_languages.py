"""Languages' codes as rows of bytes, as lists of documents keep them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LANGUAGE_BYTES = 32
"""How much of a language's code is kept; `eng_Latn` and `zh-Hant-TW` have eight and ten."""


def pack_languages(languages: Sequence[str]) -> NDArray[np.uint8]:
    """Turn languages' codes into bytes of one length.

    Args:
        languages: The codes; what is beyond `LANGUAGE_BYTES` of UTF-8 is left out.

    Returns:
        uint8 [languages, `LANGUAGE_BYTES`], zeros behind a code.
    """
    codes = (language.encode("utf-8", "replace")[:LANGUAGE_BYTES] for language in languages)
    data = b"".join(code.ljust(LANGUAGE_BYTES, b"\0") for code in codes)
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, LANGUAGE_BYTES)


def unpack_language(packed: Sequence[int]) -> str:
    """Return the code that bytes of `pack_languages` stand for."""
    return bytes(packed).rstrip(b"\0").decode("utf-8", "ignore")


def kept_language(language: str) -> str:
    """Return what is kept of a language's code; a document is known by that alone."""
    whole = language.isascii() and len(language) <= LANGUAGE_BYTES
    return language if whole else unpack_language(pack_languages([language])[0].tolist())
