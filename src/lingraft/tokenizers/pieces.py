"""A Piece for each id of a vocabulary: exact bytes, whether it starts a word, special role.

Byte-level BPE (`Ġ`), SentencePiece (`▁`, `<0x..>`) and WordPiece (`##`) all reduce to (bytes, word_start),
so that pieces of different kinds of vocabularies can be compared. Comparing token strings, or decoded
strings, loses the non-ASCII pieces.
"""

import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lingraft.errors import TokenizerError
from lingraft.tokenizers.backend import METASPACE, Backend, Style, read_backend, special_roles

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's printable character for each byte, inverted."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + place): byte for place, byte in enumerate(others)},
    }


BYTE_OF_CHARACTER = _byte_alphabet()
CHARACTER_OF_BYTE = {byte: character for character, byte in BYTE_OF_CHARACTER.items()}


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a vocabulary.

    Attributes:
        token_id: Its id, the row of the embedding matrix.
        content: Its exact bytes, without the one leading space that `word_start` stands for.
        word_start: Whether it begins with a space (`Ġ`, `▁`; WordPiece: has no `##`).
        role: `bos`, `eos`, `pad`, `unk`, `mask`, `cls`, `sep` or `special:<text>`; empty for ordinary
            pieces.
        other_roles: Further roles of the same token, least important last.
        byte_fallback: Whether it is a `<0x..>` byte piece.
        surface: How the vocabulary writes it.
        style: The kind of vocabulary it is from.
    """

    token_id: int
    content: bytes
    word_start: bool
    role: str = ""
    other_roles: tuple[str, ...] = ()
    byte_fallback: bool = False
    surface: str = ""
    style: Style = "plain"

    @property
    def key(self) -> tuple[bytes, bool]:
        """What two pieces must share to be the same piece."""
        return self.content, self.word_start

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles, most important first; empty for an ordinary piece."""
        return (self.role, *self.other_roles) if self.role else ()

    @property
    def raw(self) -> bytes:
        """The bytes with the leading space, as they stand in a text."""
        return b" " + self.content if self.word_start else self.content

    @property
    def text(self) -> str:
        """The content decoded, invalid bytes as U+FFFD."""
        return self.content.decode("utf-8", errors="replace")


def read_pieces(tokenizer: PreTrainedTokenizerBase, size: int | None = None) -> list[Piece | None]:
    """Read the pieces of a tokenizer's vocabulary.

    Args:
        tokenizer: Any fast tokenizer.
        size: Rows of the embedding matrix; rows without a token are None. Special tokens beyond them that have no
            named role are left out. Not given: as many as there are ids.

    Returns:
        A piece for each id, `[size]`; None for a hole or a padding row.

    Raises:
        TokenizerError: No fast backend, or ids beyond `size`: tokenizer and matrix do not belong together.
    """
    backend = read_backend(tokenizer)
    ids = dict(backend.vocabulary)
    added = {token["content"]: token for token in backend.added_tokens}
    ids.update({content: token["id"] for content, token in added.items()})
    roles = special_roles(tokenizer)
    if size is not None:
        # Gemma 3's text-only models carry an image token beyond their matrix.
        ids = {text: i for text, i in ids.items() if i < size or not _is_mere_marker(roles.get(i))}
    highest = max(ids.values(), default=-1)
    if highest < 0:
        raise TokenizerError("an empty vocabulary", "at least one token", "check the tokenizer's files")
    if size is not None and highest >= size:
        raise TokenizerError(
            f"a tokenizer with ids up to {highest}, and a matrix of {size} rows",
            "a row for each id",
            "use the tokenizer that belongs to this model",
        )
    pieces: list[Piece | None] = [None] * (highest + 1 if size is None else size)
    for surface, token_id in ids.items():
        if token_id in roles:
            first, *others = roles[token_id]
            pieces[token_id] = Piece(
                token_id, surface.encode(), False, first, tuple(others), False, surface, backend.style
            )
        elif surface in backend.vocabulary and not (backend.style == "byte-level" and surface in added):
            pieces[token_id] = read_surface(surface, token_id, backend)
        else:
            pieces[token_id] = _piece(surface.encode(), token_id, surface, backend)
    return pieces


def _is_mere_marker(roles: list[str] | None) -> bool:
    """Whether a token is special, but neither bos, eos, pad nor any other named role."""
    return bool(roles) and all(role.startswith("special:") for role in roles or ())


def read_surface(surface: str, token_id: int, backend: Backend) -> Piece:
    """Turn a vocabulary entry into an ordinary piece."""
    if backend.style == "byte-level":
        try:
            content = bytes(BYTE_OF_CHARACTER[character] for character in surface)
        except KeyError:  # an entry outside the alphabet: some vocabularies keep added text there
            content = surface.encode()
        return _piece(content, token_id, surface, backend)
    byte = BYTE_PIECE.fullmatch(surface)
    if byte and backend.style != "wordpiece":
        return _piece(bytes([int(byte[1], 16)]), token_id, surface, backend, byte_fallback=True)
    if backend.style == "wordpiece":
        return _word_piece(surface, token_id, backend)
    text = surface.replace(METASPACE, " ") if backend.style == "sentencepiece" else surface
    return _piece(text.encode(), token_id, surface, backend)


def _piece(
    raw: bytes, token_id: int, surface: str, backend: Backend, *, byte_fallback: bool = False
) -> Piece:
    word_start = raw.startswith(b" ")
    content = raw[1:] if word_start else raw
    return Piece(token_id, content, word_start, "", (), byte_fallback, surface, backend.style)


def _word_piece(surface: str, token_id: int, backend: Backend) -> Piece:
    """Read a WordPiece entry.

    WordPiece does not keep spaces. A whole entry starts a word, except a single symbol or CJK character:
    BERT's pre-tokenizer sets these apart wherever they stand, mostly with no space before (our choice).
    """
    continues = bool(backend.prefix) and surface.startswith(backend.prefix) and surface != backend.prefix
    content = surface[len(backend.prefix) :] if continues else surface
    apart = len(content) == 1 and (not content.isalnum() or "\u3400" <= content <= "\u9fff")
    return Piece(
        token_id, content.encode(), not continues and not apart, "", (), False, surface, backend.style
    )
