"""From texts to token ids the one way that training and measuring share, so that the two agree."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import TokenizerError

ENCODE_TOGETHER = 512
"""Documents handed to the tokenizer in one call: enough for its threads, little memory."""


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """The token ids of one document, without any special token, and what the tokenizer could not see.

    Attributes:
        ids: int32 [tokens].
        size: UTF-8 bytes of the text.
        unknown_tokens: How many of the ids are the unknown token.
        unknown_bytes: UTF-8 bytes of the text under those unknown tokens.
        altered_bytes: UTF-8 bytes of further characters that decoding the ids does not give back: text that
            the tokenizer's normaliser folds away (case, compatibility forms, repeated spaces). Canonically equal
            characters are the same here (Unicode's own notion: one "é", or "e" and an accent). A lower bound:
            characters are compared as a bag, so a change of order alone is not seen.
    """

    ids: NDArray[np.int32]
    size: int
    unknown_tokens: int = 0
    unknown_bytes: int = 0
    altered_bytes: int = 0


def encode_documents(
    tokenizer: Any, texts: Iterable[str], *, audit: bool = False
) -> Iterator[EncodedDocument]:
    """Tokenize texts one by one, in batches, adding no special token.

    Text that happens to spell a special token ("<|endoftext|>") is tokenized as ordinary text.

    Args:
        tokenizer: A fast transformers tokenizer.
        texts: The documents.
        audit: Count unknown and altered bytes too (costs one decoding of each document).

    Yields:
        EncodedDocument: One for each text, in order.

    Raises:
        TokenizerError: The tokenizer is not a fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            f"{type(tokenizer).__name__}, which is no fast tokenizer",
            "a fast tokenizer (tokenizer.json), which reports the text under each token",
            "convert it with transformers' PreTrainedTokenizerFast",
        )
    iterator = iter(texts)
    while batch := list(islice(iterator, ENCODE_TOGETHER)):
        encoding = tokenizer(
            batch,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=audit,
            verbose=False,
        )
        for row, text in enumerate(batch):
            ids = np.asarray(encoding["input_ids"][row], dtype=np.int32)
            if audit:
                yield _audited(tokenizer, text, ids, encoding["offset_mapping"][row])
            else:
                yield EncodedDocument(ids, len(text.encode()))


def _audited(
    tokenizer: Any, text: str, ids: NDArray[np.int32], offsets: list[tuple[int, int]]
) -> EncodedDocument:
    """Count what of `text` the ids hide: under unknown tokens, and lost to the normaliser."""
    unknown = [] if tokenizer.unk_token_id is None else np.flatnonzero(ids == tokenizer.unk_token_id).tolist()
    unknown_bytes = sum(len(text[slice(*offsets[position])].encode()) for position in unknown)
    known = np.delete(ids, unknown).tolist() if unknown else ids.tolist()
    decoded = tokenizer.decode(known, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    missing = 0 if decoded == text else _missing_bytes(text, decoded)
    return EncodedDocument(
        ids, len(text.encode()), len(unknown), unknown_bytes, max(0, missing - unknown_bytes)
    )


def _missing_bytes(text: str, decoded: str) -> int:
    """Return the UTF-8 bytes of the characters of `text`, as a bag, that `decoded` lacks, both in NFC."""
    left = Counter(unicodedata.normalize("NFC", text))
    left.subtract(unicodedata.normalize("NFC", decoded))
    return sum(len(character.encode()) * count for character, count in left.items() if count > 0)
