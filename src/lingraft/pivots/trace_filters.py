"""Which words can be traced, and which tokens count when traces are read."""

from collections.abc import Sequence
from typing import Any

from lingraft.pivots.behaviour import without_common_tokens
from lingraft.pivots.prompt_tokens import word_token_ids
from lingraft.pivots.tracing import Traces
from lingraft.pivots.wordtask import WordItem


def filters(traces: Traces) -> dict[str, tuple[Traces, bool]]:
    """Ways to read the same traces: every token counts, as published, and two exploratory filters of ours.

    Args:
        traces: The traces.

    Returns:
        Name to traces and `words_only`, as the functions of `behaviour` take them.
    """
    return {
        "any token": (traces, False),
        "words only": (traces, True),
        "words only, less common tokens": (without_common_tokens(traces), True),
    }


def split_shared(tokenizer: Any, items: Sequence[WordItem]) -> tuple[list[WordItem], list[WordItem]]:
    """Part words by whether their source and target have a token in common.

    Args:
        tokenizer: The model's tokenizer.
        items: The words.

    Returns:
        Words that can be traced, and words that `trace_words` skips.
    """
    kept: list[WordItem] = []
    skipped: list[WordItem] = []
    for item in items:
        own, other = (word_token_ids(tokenizer, word) for word in (item.source_word, item.target_word))
        (skipped if own & other else kept).append(item)
    return kept, skipped
