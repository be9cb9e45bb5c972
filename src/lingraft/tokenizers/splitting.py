"""How a source tokenizer splits the exact text of pieces of another vocabulary."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from lingraft.tokenizers.backend import Backend, read_backend
from lingraft.tokenizers.pieces import CHARACTER_OF_BYTE, Piece, read_pieces
from lingraft.tokenizers.withholding import split_by_merge_parents, split_without_itself

__all__ = ["literal_backend", "split_by_merge_parents", "split_pieces", "split_without_itself"]

BATCH = 8192
"""Texts encoded at a time: enough to be fast, few enough to hold their encodings."""


def split_pieces(
    pieces: Sequence[Piece | None], source_tokenizer: PreTrainedTokenizerBase
) -> list[NDArray[np.int64]]:
    """Split each piece's exact text with the source tokenizer, as it would be split inside a text.

    A piece that starts a word is split with its leading space, any other without one. Every result is
    checked: the bytes of the ids, joined, are the bytes of the piece (WordPiece: apart from spaces, which
    it does not keep). Where the source tokenizer would change or lose the text, and for parts of UTF-8
    characters, its byte tokens are used.

    Args:
        pieces: Pieces by id; None, and special tokens, split to nothing.
        source_tokenizer: The tokenizer to split with.

    Returns:
        Ids of source tokens for each piece; empty where impossible.
    """
    splitter = _Splitter(source_tokenizer)
    empty = np.zeros(0, dtype=np.int64)
    results = [empty] * len(pieces)
    wanted = [(place, piece) for place, piece in enumerate(pieces) if piece is not None and not piece.role]
    for place, ids in splitter.split(wanted):
        results[place] = np.asarray(ids, dtype=np.int64)
    return results


def literal_backend(backend: Backend) -> Tokenizer:
    """Copy a tokenizer so that it encodes exactly the text it is given.

    No space is put in front, no special tokens are added or found in the text, nothing is cut or padded.

    Args:
        backend: The tokenizer's description.

    Returns:
        A new Rust tokenizer.
    """
    description = dict(backend.description)
    description["normalizer"] = _without_prefix(description.get("normalizer"))
    description["pre_tokenizer"] = _without_prefix(description.get("pre_tokenizer"))
    description["post_processor"] = None
    description["padding"] = description["truncation"] = None
    tokenizer = Tokenizer.from_str(json.dumps(description, ensure_ascii=False))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _without_prefix(section: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Drop from a normalizer or pre-tokenizer whatever puts a space in front of the text."""
    if section is None or section["type"] == "Prepend":
        return None
    result = copy.deepcopy(dict(section))
    inside = result.get("pretokenizers", ())
    if any(inner["type"] == "Metaspace" for inner in inside):
        # It eats the space that Metaspace would make a mark of, which a text has anew from Metaspace's prefix.
        result["pretokenizers"] = [inner for inner in inside if inner["type"] != "WhitespaceSplit"]
    for key in ("normalizers", "pretokenizers"):
        if key in result:
            result[key] = [kept for inner in result[key] if (kept := _without_prefix(inner)) is not None]
    if result["type"] == "Metaspace":
        result["prepend_scheme"] = "never"
        result.pop("add_prefix_space", None)
    if result["type"] == "ByteLevel":
        result["add_prefix_space"] = False
    return result


class _Splitter:
    """Splits with one source tokenizer and checks what comes out."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.backend = read_backend(tokenizer)
        self.encoder = literal_backend(self.backend)
        source_pieces = read_pieces(tokenizer)
        # Special tokens, unk among them, stand for no text: a split that needs one fails its check.
        self.raw = {piece.token_id: piece.raw for piece in source_pieces if piece and not piece.role}
        self.byte_ids = _byte_ids(source_pieces)
        self.longest_word_piece = max((len(surface) for surface in self.backend.vocabulary), default=0)

    def split(self, wanted: Sequence[tuple[int, Piece]]) -> Iterator[tuple[int, list[int]]]:
        """Yield each place with the ids for its piece."""
        if self.backend.model_type == "WordPiece":
            for place, piece in wanted:
                yield place, self._word_piece(piece)
            return
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            # A byte that is not UTF-8 becomes a surrogate, which no encoder takes: such pieces are split by
            # hand.
            texts = [piece.raw.decode("utf-8", errors="surrogateescape") for _, piece in batch]
            whole = [not any("\ud800" <= character <= "\udfff" for character in text) for text in texts]
            encodings = iter(
                self.encoder.encode_batch_fast(
                    [text for text, valid in zip(texts, whole, strict=True) if valid],
                    add_special_tokens=False,
                )
            )
            for (place, piece), text, valid in zip(batch, texts, whole, strict=True):
                ids = next(encodings).ids if valid else self._broken(piece.raw, text)
                yield place, ids if self._spells(ids, piece.raw) else self._bytes(piece.raw)

    def _spells(self, ids: Sequence[int], raw: bytes) -> bool:
        return bool(ids) and b"".join(self.raw.get(token_id, b"\xff\xff") for token_id in ids) == raw

    def _bytes(self, raw: bytes) -> list[int]:
        ids = [self.byte_ids.get(byte, -1) for byte in raw]
        return [] if -1 in ids else ids

    def _broken(self, raw: bytes, text: str) -> list[int]:
        """Split text with invalid UTF-8: valid runs by the tokenizer, the other bytes one by one."""
        if self.backend.style == "byte-level":
            symbols = "".join(CHARACTER_OF_BYTE[byte] for byte in raw)
            return [token.id for token in self.encoder.model.tokenize(symbols)]
        ids: list[int] = []
        run = ""
        for character in [*text, ""]:
            if character and not "\ud800" <= character <= "\udfff":
                run += character
                continue
            if run:
                ids += self.encoder.encode(run, add_special_tokens=False).ids
                run = ""
            if character:
                ids += self._bytes(bytes([ord(character) - 0xDC00]))
        return ids

    def _word_piece(self, piece: Piece) -> list[int]:
        """Match the longest entry first, as WordPiece does; inside a word where the piece starts none."""
        text, prefix = piece.text, self.backend.prefix
        vocabulary = self.backend.vocabulary
        if not piece.word_start and text in vocabulary and prefix + text not in vocabulary:
            return [vocabulary[text]]  # punctuation stands alone even without a space before it
        ids: list[int] = []
        start = 0
        while start < len(text):
            marked = prefix if start or not piece.word_start else ""
            for end in range(min(len(text), start + self.longest_word_piece), start, -1):
                token_id = vocabulary.get(marked + text[start:end])
                if token_id is not None and token_id in self.raw:
                    ids.append(token_id)
                    start = end
                    break
            else:
                return []
        return ids if piece.content == text.encode() else []


def _byte_ids(pieces: Sequence[Piece | None]) -> dict[int, int]:
    """Map each byte to the token for it alone, byte pieces first."""
    found: dict[int, int] = {}
    for piece in pieces:
        if piece is None or piece.role or len(piece.raw) != 1:
            continue
        if piece.byte_fallback or piece.raw[0] not in found:
            found[piece.raw[0]] = piece.token_id
    return found
