"""What a model says when asked for a word: the first line of its greedy continuation, and whether that is right."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from lingraft.models.modelmap import ModelMap
from lingraft.pivots.shared_prefix import SharedPrefix, by_length, forward_rows
from lingraft.pivots.wordtask import WordItem


def judge_lines(items: Sequence[WordItem], said: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Compare lines with accepted translations, both in NFC and case-folded.

    Args:
        items: The words.
        said: Lines of each, one a draw.

    Returns:
        `[words, draws]`.
    """
    right = []
    for item, lines in zip(items, said, strict=True):
        accepted = {_folded(word) for word in item.accepted}
        right.append([_folded(line) in accepted for line in lines])
    return np.array(right, dtype=np.bool_)


def greedy_lines(
    model: PreTrainedModel,
    found: ModelMap,
    tokenizer: Any,
    prefix: SharedPrefix,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    batch_size: int,
) -> list[str]:
    """Generate each prompt's first line, greedily; prompts of one length share a batch, so that none is padded.

    Args:
        model: The model.
        found: Its map.
        tokenizer: Its tokenizer.
        prefix: What all prompts begin with.
        prompts: Their tokens, the prefix's included.
        limits: Most tokens of each answer.
        batch_size: Prompts at a time.

    Returns:
        The lines, without white space at their ends.
    """
    lines = [""] * len(prompts)
    special = set(tokenizer.all_special_ids)
    for batch in by_length([len(prompt) for prompt in prompts], batch_size, equal=True):
        cache: DynamicCache = prefix.cache(len(batch))
        going, given = batch, [prompts[row][prefix.length :] for row in batch]
        answers: dict[int, list[int]] = {row: [] for row in batch}
        past = 0
        while going:
            hidden = forward_rows(model, found, prefix, given, cache, past)
            past += len(given[0])
            said = found.logits_of(hidden[:, -1]).argmax(dim=-1).tolist()
            keep = []
            for place, (row, token) in enumerate(zip(going, said, strict=True)):
                if token not in special:
                    answers[row].append(token)
                text = str(tokenizer.decode(answers[row], skip_special_tokens=True))
                ended = token in special or len(answers[row]) >= limits[row] or "\n" in text
                lines[row] = text.partition("\n")[0].strip()
                if not ended:
                    keep.append(place)
            going, given = [going[place] for place in keep], [[said[place]] for place in keep]
            if going:
                cache.batch_select_indices(torch.tensor(keep, device=model.device))
    return lines


def longest_answers(tokenizer: Any, items: Sequence[WordItem]) -> list[int]:
    """Say how long answers may be: two tokens more than right ones, by which a longer word shows itself as another.

    Args:
        tokenizer: The model's tokenizer.
        items: The words.

    Returns:
        Most tokens of each word's answer.
    """
    words = list(dict.fromkeys(word for item in items for word in item.accepted))
    encoded = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    length = dict(zip(words, map(len, encoded), strict=True))
    return [max(length[word] for word in item.accepted) + 2 for item in items]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip().casefold()
