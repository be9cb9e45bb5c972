"""Which tokens two vocabularies share: pairs of ids, never of strings."""

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lingraft.errors import TokenizerError
from lingraft.tokenizers.backend import METASPACE, ROLES
from lingraft.tokenizers.pieces import Piece

Normalisation = Literal["exact", "focus", "focus-symbols", "focus-fuzzy"]
NORMALISATIONS: tuple[str, ...] = ("exact", "focus", "focus-symbols", "focus-fuzzy")

STAND_INS = {"bos": "cls", "eos": "sep", "cls": "bos", "sep": "eos"}
"""An encoder's cls and sep count as bos and eos where one of the two vocabularies lacks these."""


@dataclass(frozen=True, slots=True)
class VocabularyMatch:
    """Shared tokens, ordered by target id, which occurs once; an ordinary source id may occur several times.

    Attributes:
        target_ids: `[n]` int64.
        source_ids: `[n]` int64.
        by_role: `[n]` bool: matched as special tokens, by role or equal text.
    """

    target_ids: NDArray[np.int64]
    source_ids: NDArray[np.int64]
    by_role: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of shared tokens."""
        return len(self.target_ids)


def match_vocabularies(
    target_pieces: Sequence[Piece | None],
    source_pieces: Sequence[Piece | None],
    *,
    normalise: Normalisation = "exact",
    special_pairs: Mapping[str, str] | None = None,
) -> VocabularyMatch:
    """Find the tokens that two vocabularies share.

    Ordinary pieces meet by (bytes, word start); where an ordinary piece and a `<0x..>` byte piece of the
    source have the same bytes, the ordinary one is taken. Special tokens meet by equal text, else by role, each source
    token with one target token.

    Args:
        target_pieces: Pieces of the target vocabulary, by id.
        source_pieces: Pieces of the source vocabulary, by id.
        normalise: `exact`, or FOCUS's canonical forms as its `deepfocus` package has them: `focus` (its
            default), `focus-symbols` (digits and punctuation also regardless of spaces), `focus-fuzzy` (all
            tokens regardless of spaces and case). Special tokens meet by role there too (our choice; FOCUS
            compares their text).
        special_pairs: Text of a target special token to text of the source special token that it stands
            for.

    Returns:
        Ids of the shared tokens.

    Raises:
        TokenizerError: An unknown `normalise`.
    """
    if normalise not in NORMALISATIONS:
        raise TokenizerError(
            f"normalise={normalise!r}", f"one of {', '.join(NORMALISATIONS)}", "choose one of these"
        )
    find_ordinary = _exact(source_pieces) if normalise == "exact" else _focus(source_pieces, normalise)
    special = _special(target_pieces, source_pieces, special_pairs or {})
    rows: list[tuple[int, int, bool]] = []
    for piece in target_pieces:
        if piece is None:
            continue
        found = special.get(piece.token_id) if piece.role else find_ordinary(piece)
        if found is not None:
            rows.append((piece.token_id, found, bool(piece.role)))
    rows.sort()
    return VocabularyMatch(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.bool_),
    )


def _special(
    target_pieces: Sequence[Piece | None],
    source_pieces: Sequence[Piece | None],
    special_pairs: Mapping[str, str],
) -> dict[int, int]:
    """Give each special target token the source token that it stands for, by target id.

    What the user paired comes first. Else a source token stands for one target token alone: were its row copied to
    several, a model could end a text with a token that ends nothing. So equal text goes before a role, a role before a
    stand-in, and the end of a text before other roles.
    """
    by_role: dict[str, int] = {}
    for piece in source_pieces:
        if piece is not None:
            for role in piece.roles:
                by_role.setdefault(role, piece.token_id)
    special = [piece for piece in target_pieces if piece is not None and piece.role]
    pairs = ((piece, f"special:{special_pairs.get(piece.surface, '')}") for piece in special)
    found = {piece.token_id: by_role[text] for piece, text in pairs if text in by_role}
    taken = set(found.values())
    for own, theirs in _claims(special):
        source_id = by_role.get(theirs)
        if own not in found and source_id is not None and source_id not in taken:
            found[own] = source_id
            taken.add(source_id)
    return found


def _claims(special: Sequence[Piece]) -> Iterator[tuple[int, str]]:
    """Yield target ids with what they could stand for, the strongest claim first."""
    # A marker of equal text is the same thing, whatever each side uses it for.
    yield from ((piece.token_id, role) for piece in special for role in piece.roles if ":" in role)
    named = ("eos", *(role for role in ROLES if role != "eos"))
    yield from ((piece.token_id, role) for role in named for piece in special if role in piece.roles)
    for role, other in STAND_INS.items():
        yield from ((piece.token_id, other) for piece in special if role in piece.roles)


def _exact(source_pieces: Sequence[Piece | None]) -> Callable[[Piece], int | None]:
    by_key: dict[tuple[bytes, bool], Piece] = {}
    for piece in source_pieces:
        if piece is None or piece.role:
            continue
        known = by_key.setdefault(piece.key, piece)
        if known.byte_fallback and not piece.byte_fallback:
            by_key[piece.key] = piece

    def find(piece: Piece) -> int | None:
        found = by_key.get(piece.key)
        return None if found is None else found.token_id

    return find


def canonical_form(piece: Piece) -> str:
    """Return FOCUS's canonical form of an ordinary piece, as `deepfocus` 1.0.1 computes it."""
    if piece.style == "wordpiece":
        return piece.text if piece.surface.startswith("##") else METASPACE + piece.surface
    if piece.byte_fallback:
        return piece.surface
    return (METASPACE if piece.word_start else "") + piece.text.lstrip()


def fuzzy_form(piece: Piece) -> str:
    """Return FOCUS's fuzzy form: no spaces, lower case."""
    return canonical_form(piece).replace(METASPACE, "").lower()


def _is_symbol(text: str) -> bool:
    return text.isnumeric() or all(character in string.punctuation for character in text) or text.isspace()


def _focus(source_pieces: Sequence[Piece | None], normalise: str) -> Callable[[Piece], int | None]:
    exact: dict[str, int] = {}
    fuzzy: dict[str, int] = {}
    for piece in source_pieces:
        if piece is None or piece.role:
            continue
        form, loose = canonical_form(piece), fuzzy_form(piece)
        exact[form] = piece.token_id  # of several with one form, deepfocus takes the last
        # Among fuzzy equals deepfocus puts those first whose canonical form is the fuzzy form, the last
        # foremost.
        if loose == form or loose not in fuzzy:
            fuzzy[loose] = piece.token_id

    def find(piece: Piece) -> int | None:
        form, loose = canonical_form(piece), fuzzy_form(piece)
        if form in exact:
            return exact[form]
        if normalise == "focus-fuzzy" or (normalise == "focus-symbols" and _is_symbol(loose)):
            return fuzzy.get(loose)
        return None

    return find
