"""Prompts of tokenizers that close every text: what a model shall continue must not end with `</s>`."""

import copy
from typing import Any

from transformers import PreTrainedTokenizerBase

from lingraft.tokenizers.adapting import surrounding_processor, surrounding_tokens


def open_ended(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a tokenizer that puts nothing behind a text.

    Args:
        tokenizer: Any tokenizer; not changed.

    Returns:
        The tokenizer itself where it closes no text, or is written in Python; otherwise a copy that puts before a text
        what it did, and nothing behind.
    """
    if not getattr(tokenizer, "is_fast", False):
        return tokenizer
    before, after = surrounding_tokens(tokenizer)
    if not after:
        return tokenizer
    changed: Any = copy.deepcopy(tokenizer)
    texts = tokenizer.convert_ids_to_tokens(before)
    changed.backend_tokenizer.post_processor = surrounding_processor(changed.backend_tokenizer, texts, [])
    return changed  # type: ignore[no-any-return]


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text that is to be continued.

    Args:
        tokenizer: A transformers tokenizer.
        text: The prompt.

    Returns:
        Its ids with what the tokenizer puts before a text, without what it puts behind one.
    """
    ids = list(tokenizer(text)["input_ids"])
    closing = len(surrounding_tokens(tokenizer)[1]) if getattr(tokenizer, "is_fast", False) else 0
    return ids[: len(ids) - closing]
