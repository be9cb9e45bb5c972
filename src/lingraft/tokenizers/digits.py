"""How a tokenizer writes numbers. A model taught on one scheme does poor arithmetic in another."""

from typing import Literal

from transformers import PreTrainedTokenizerBase

from lingraft.tokenizers.backend import read_backend
from lingraft.tokenizers.pieces import read_pieces
from lingraft.tokenizers.splitting import literal_backend

DigitScheme = Literal["single", "threes-from-left", "threes-from-right", "learned"]

NUMBERS = ("7", "42", "1987", "31415", "271828", "1234567", "98765432", "8675309142")

PATTERNS: dict[DigitScheme, str] = {
    "single": r"\p{N}",
    "threes-from-left": r"\p{N}{1,3}",
    "threes-from-right": r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "learned": r"\p{N}+",
}
"""What a pre-tokenizer splits off, so that a new tokenizer writes numbers by the same scheme."""


def digit_scheme(tokenizer: PreTrainedTokenizerBase) -> DigitScheme:
    """Tell how a tokenizer groups digits.

    Args:
        tokenizer: Any fast tokenizer.

    Returns:
        `single` digits, groups of three (`threes-from-left`, `threes-from-right`), or `learned`: numbers
        that were frequent are whole, others are cut anywhere.
    """
    encoder = literal_backend(read_backend(tokenizer))
    pieces = read_pieces(tokenizer)
    found: set[DigitScheme] = set(PATTERNS)
    for number in NUMBERS:
        groups = []
        for token_id in encoder.encode(number, add_special_tokens=False).ids:
            piece = pieces[token_id]
            groups.append(len(piece.content) if piece is not None and not piece.role else 0)
        groups = [length for length in groups if length]  # a lone space mark counts for nothing
        found &= {scheme for scheme in PATTERNS if groups == expected_groups(len(number), scheme)} | {
            "learned"
        }
    return next(scheme for scheme in PATTERNS if scheme in found)


def expected_groups(length: int, scheme: DigitScheme) -> list[int]:
    """Return the lengths of the groups that a number of `length` digits falls into; `learned` has none fixed."""
    if scheme == "single":
        return [1] * length
    rest = [length % 3] if length % 3 else []
    if scheme == "threes-from-left":
        return [3] * (length // 3) + rest
    return rest + [3] * (length // 3) if scheme == "threes-from-right" else []
