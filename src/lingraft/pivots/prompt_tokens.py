"""Prompts and targets in tokens, as the tokenizer joins them, and the tokens that words are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lingraft.errors import TokenizerError


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt with its target.

    Attributes:
        ids: Tokens of both.
        begin: Place of the first target token; the place before it predicts it.
    """

    ids: tuple[int, ...]
    begin: int


def encode_rows(tokenizer: Any, prompts: Sequence[str], targets: Sequence[str]) -> list[Row]:
    """Tokenise prompts with `" " + target` behind them, whole, so that tokens are those of the joined text.

    The target's tokens are those after what the prompt alone and the joined text begin with in common. A token that
    closes every text (`</s>`) is taken off.

    Args:
        tokenizer: The model's tokenizer.
        prompts: Texts of the prompts.
        targets: One each.

    Returns:
        The rows.

    Raises:
        TokenizerError: A target adds no token.
    """
    closing = len(tokenizer("a")["input_ids"]) - _closed_at(tokenizer)
    known: dict[str, list[int]] = {}
    for prompt, ids in zip(
        dict.fromkeys(prompts), _encode(tokenizer, list(dict.fromkeys(prompts))), strict=True
    ):
        known[prompt] = ids[: len(ids) - closing]
    joined = [f"{prompt} {target}" for prompt, target in zip(prompts, targets, strict=True)]
    rows = []
    for prompt, target, whole in zip(prompts, targets, _encode(tokenizer, joined), strict=True):
        ids = whole[: len(whole) - closing]
        begin = common_length([known[prompt], ids])
        if begin >= len(ids) or begin == 0:
            raise TokenizerError(
                f"the word {target!r} adds no token to its prompt",
                "a tokenizer that can write it",
                "leave the word out, or use another tokenizer",
            )
        rows.append(Row(tuple(ids), begin))
    return rows


def word_token_ids(tokenizer: Any, word: str) -> frozenset[int]:
    """Tokens that may stand for a word or for a part of it.

    Those of the word after a space and alone, and those of its lower-case, capitalised and upper-case forms where
    such a form is one token (our choice). White space and special tokens are not among them.

    Args:
        tokenizer: The model's tokenizer.
        word: The word.

    Returns:
        Token ids.
    """
    found: set[int] = set()
    for form in dict.fromkeys([word, word.lower(), word.capitalize(), word.upper()]):
        for text in (f" {form}", form):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if form == word or len(ids) == 1:
                found.update(ids)
    special = set(tokenizer.all_special_ids)
    return frozenset(
        token for token in found if token not in special and str(tokenizer.decode([token])).strip()
    )


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with in common; the least and greatest show it."""
    low, high = min(map(tuple, sequences)), max(map(tuple, sequences))
    same = 0
    for first, second in zip(low, high, strict=False):
        if first != second:
            break
        same += 1
    return same


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [list(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []


def _closed_at(tokenizer: Any) -> int:
    """Length of a text's tokens without special ones that stand at its end."""
    ids = list(tokenizer("a")["input_ids"])
    special = set(tokenizer.all_special_ids)
    end = len(ids)
    while end and ids[end - 1] in special:
        end -= 1
    return end
