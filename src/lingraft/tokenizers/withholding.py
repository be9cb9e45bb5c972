"""How a tokenizer would split a token of its own if it did not have it: as it splits a new token.

The regression of `fused` learns from shared tokens; it must see each split as a new token's text would be.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lingraft.errors import TokenizerError
from lingraft.tokenizers.backend import Backend, read_backend
from lingraft.tokenizers.pieces import CHARACTER_OF_BYTE, Piece, read_pieces

Merge = tuple[str, str]


def read_merges(backend: Backend) -> list[Merge]:
    """Return the merges of a BPE model in order of rank.

    Args:
        backend: A tokenizer's description.

    Returns:
        Pairs of token strings.

    Raises:
        TokenizerError: The model is not BPE.
    """
    if backend.model_type != "BPE":
        raise TokenizerError(
            f"a {backend.model_type} tokenizer", "a BPE tokenizer, which has merges", "use another tokenizer"
        )
    merges = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in backend.model["merges"])
    return [(left, right) for left, right in merges]


def split_by_merge_parents(source_tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, int] | None]:
    """Return for each token the two ids of the first merge that makes it.

    Args:
        source_tokenizer: A BPE tokenizer.

    Returns:
        `[ids]`; None for tokens that no merge makes (single symbols, special tokens, holes).

    Raises:
        TokenizerError: The tokenizer is not BPE.
    """
    backend = read_backend(source_tokenizer)
    ids = backend.vocabulary
    highest = max([*ids.values(), *(token["id"] for token in backend.added_tokens)])
    parents: list[tuple[int, int] | None] = [None] * (highest + 1)
    for left, right in read_merges(backend):
        token_id = ids.get(left + right.removeprefix(backend.prefix))
        if token_id is not None and parents[token_id] is None and left in ids and right in ids:
            parents[token_id] = ids[left], ids[right]
    return parents


def split_without_itself(
    piece_ids: Iterable[int], source_tokenizer: PreTrainedTokenizerBase
) -> list[NDArray[np.int64]]:
    """Split tokens of the source vocabulary as if each did not exist.

    BPE: the merges are run without those that make the token, which leaves its merge parents. Unigram: the
        best
    segmentation without it. WordPiece: longest match without it.

    Args:
        piece_ids: Ids of source tokens.
        source_tokenizer: The tokenizer they are from.

    Returns:
        Ids for each token, in the order given; empty where its text cannot be written without it, and for
        special tokens and holes.

    Raises:
        TokenizerError: A model of another kind.
    """
    backend = read_backend(source_tokenizer)
    pieces = read_pieces(source_tokenizer)
    splitters = {"BPE": _WithoutBPE, "Unigram": _WithoutUnigram, "WordPiece": _WithoutWordPiece}
    if backend.model_type not in splitters:
        raise TokenizerError(
            f"a {backend.model_type} tokenizer", f"one of {', '.join(splitters)}", "use another tokenizer"
        )
    splitter = splitters[backend.model_type](backend, pieces)
    results = []
    for token_id in piece_ids:
        piece = pieces[token_id] if 0 <= token_id < len(pieces) else None
        ids = [] if piece is None or piece.role or not piece.surface else splitter.split(piece)
        results.append(np.asarray(ids, dtype=np.int64))
    return results


class _Without:
    """What the three models share: the vocabulary, and bytes for characters outside it."""

    def __init__(self, backend: Backend, pieces: Sequence[Piece | None]) -> None:
        self.backend = backend
        specials = {piece.token_id for piece in pieces if piece is not None and piece.role}
        self.ids = {
            text: token_id for text, token_id in backend.vocabulary.items() if token_id not in specials
        }
        self.byte_ids = {piece.raw: piece.token_id for piece in pieces if piece and piece.byte_fallback}

    def split(self, piece: Piece) -> list[int]:
        """Return the ids of the piece's text without the piece."""
        raise NotImplementedError

    def surface(self, piece: Piece) -> str:
        """Return the piece as the model sees it; text that was only added, in the model's alphabet."""
        if piece.surface in self.backend.vocabulary or self.backend.style == "plain":
            return piece.surface
        if self.backend.style == "byte-level":
            return "".join(CHARACTER_OF_BYTE[byte] for byte in piece.raw)
        return piece.surface.replace(" ", "▁")

    def spell(self, text: str) -> list[int] | None:
        """Return the byte pieces of a text, or None where the vocabulary has no bytes."""
        ids = [self.byte_ids.get(bytes([byte])) for byte in text.replace("▁", " ").encode()]
        return None if None in ids else [token_id for token_id in ids if token_id is not None]


class _WithoutBPE(_Without):
    def __init__(self, backend: Backend, pieces: Sequence[Piece | None]) -> None:
        super().__init__(backend, pieces)
        self.ranks: dict[Merge, int] = {}
        for rank, merge in enumerate(read_merges(backend)):
            self.ranks.setdefault(merge, rank)

    def split(self, piece: Piece) -> list[int]:
        if piece.byte_fallback:
            return []
        symbols = merge_symbols(list(self.surface(piece)), self.ranks, banned=piece.surface)
        ids: list[int] = []
        for symbol in symbols:
            token_id = self.ids.get(symbol)
            found = [token_id] if token_id is not None and symbol != piece.surface else self.spell(symbol)
            if found is None:
                return []
            ids += found
        return ids


def merge_symbols(symbols: list[str], ranks: Mapping[Merge, int], banned: str) -> list[str]:
    """Run BPE on symbols, lowest rank first and leftmost among equals, without merges that make `banned`.

    Args:
        symbols: Single characters; changed in place.
        ranks: Rank of each merge.
        banned: The token that must not come out.

    Returns:
        The merged symbols.
    """
    while len(symbols) > 1:
        best, place = math.inf, -1
        for left in range(len(symbols) - 1):
            rank = ranks.get((symbols[left], symbols[left + 1]), math.inf)
            if rank < best and symbols[left] + symbols[left + 1] != banned:
                best, place = rank, left
        if place < 0:
            break
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
    return symbols


class _WithoutUnigram(_Without):
    def __init__(self, backend: Backend, pieces: Sequence[Piece | None]) -> None:
        super().__init__(backend, pieces)
        self.scores = {text: float(score) for text, score in backend.model["vocab"] if text in self.ids}
        self.longest = max(map(len, self.scores), default=0)
        self.unknown = min(self.scores.values(), default=0.0) - 10.0  # the library's penalty

    def split(self, piece: Piece) -> list[int]:
        if piece.byte_fallback:
            return []
        text = self.surface(piece)
        best = [0.0] + [-math.inf] * len(text)
        back = [0] * (len(text) + 1)
        for end in range(1, len(text) + 1):
            for start in range(max(0, end - self.longest), end):
                part = text[start:end]
                score = -math.inf if part == piece.surface else self.scores.get(part, -math.inf)
                if score == -math.inf and end - start == 1 and self.byte_ids:
                    score = self.unknown
                if best[start] + score > best[end]:
                    best[end], back[end] = best[start] + score, start
        return [] if best[-1] == -math.inf else self._ids(text, back, piece.surface)

    def _ids(self, text: str, back: Sequence[int], banned: str) -> list[int]:
        parts: list[str] = []
        end = len(text)
        while end:
            parts.append(text[back[end] : end])
            end = back[end]
        ids: list[int] = []
        for part in reversed(parts):
            found = [self.ids[part]] if part in self.ids and part != banned else self.spell(part)
            if found is None:
                return []
            ids += found
        return ids


class _WithoutWordPiece(_Without):
    def split(self, piece: Piece) -> list[int]:
        prefix = self.backend.prefix
        inside = piece.surface.startswith(prefix)
        text = piece.surface.removeprefix(prefix)
        ids: list[int] = []
        start = 0
        while start < len(text):
            for end in range(len(text), start, -1):
                entry = (prefix if inside or start else "") + text[start:end]
                if entry != piece.surface and entry in self.ids:
                    ids.append(self.ids[entry])
                    start = end
                    break
            else:
                return []
        return ids
