"""Layer-by-token pictures of single words: what each layer would say after each token of the question."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.models.architecture import resolve
from lingraft.models.reading import capture_with
from lingraft.pivots.behaviour import BEHAVIOURS, NO_WORD, behaviours
from lingraft.pivots.prompt_tokens import common_length, encode_rows, word_token_ids
from lingraft.pivots.shared_prefix import forward_rows, read_prefix
from lingraft.pivots.tracing import LOGITS_AT_ONCE, RESIDUAL, Traces
from lingraft.pivots.wordtask import WordItem, WordTask


@dataclass(frozen=True, slots=True)
class WordGrid:
    """What L layers say after each of T tokens.

    Attributes:
        item: The word.
        tokens: Text of each token that is read, `[T]`: the question, then the target's tokens but the last.
        begin: Column that predicts the target's first token; the columns after it predict its others.
        top_ids: int64 `[L, T, k]`, likeliest tokens, falling.
        top_probabilities: float32 `[L, T, k]`.
        top_texts: `[L][T][k]`, their texts.
        source_ids: The source word's tokens.
        target_ids: The target word's tokens.
    """

    item: WordItem
    tokens: tuple[str, ...]
    begin: int
    top_ids: NDArray[np.int64]
    top_probabilities: NDArray[np.float32]
    top_texts: tuple[tuple[tuple[str, ...], ...], ...]
    source_ids: frozenset[int]
    target_ids: frozenset[int]


def choose_words(traces: Traces, count: int, named: Sequence[str] = ()) -> list[WordItem]:
    """Choose words to draw: those named, else the first ones of every behaviour in turn, in the file's order.

    Args:
        traces: The traces.
        count: How many.
        named: Source words to draw.

    Returns:
        The words.

    Raises:
        ConfigError: A named word was not traced.
    """
    if named:
        known = {item.source_word: item for item in traces.items}
        missing = [word for word in named if word not in known]
        if missing:
            raise ConfigError(f"{missing[0]!r} was not traced", "a word of the task", "name another word")
        return [known[word] for word in named]
    labels = np.array(behaviours(traces, words_only=True))
    first = traces.position == 0
    queues = [
        [int(item) for item in traces.item[first & (labels == name)]] for name in (*BEHAVIOURS, NO_WORD)
    ]
    chosen: list[int] = []
    while len(chosen) < min(count, len(traces.items)):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return [traces.items[number] for number in chosen]


@torch.no_grad()
def word_grid(
    model: PreTrainedModel, tokenizer: Any, task: WordTask, item: WordItem, *, draw: int = 0, top: int = 5
) -> WordGrid:
    """Read every layer after every token of one word's question, and of its target.

    Args:
        model: A causal LM of a known architecture; set to evaluation mode meanwhile.
        tokenizer: Its tokenizer.
        task: The task, for its prompt.
        item: The word.
        draw: Number of the draw of examples.
        top: Likeliest tokens kept.

    Returns:
        The grid.

    Raises:
        ArchitectureError: The architecture is unknown.
        TokenizerError: The target gives no token.
    """
    prompt = task.prompt(item.source_word, draw)
    (row,) = encode_rows(tokenizer, [prompt], [item.target_word])
    # The question stands after the last blank line; what stands before it is read, and not shown.
    before = list(tokenizer(prompt.rpartition("\n\n")[0] + "\n\n")["input_ids"])
    start = min(common_length([row.ids, before]), row.begin - 1)
    while start < row.begin - 1 and not str(tokenizer.decode([row.ids[start]])).strip():
        start += 1
    found, training = resolve(model), model.training
    model.train(False)
    try:
        prefix = read_prefix(model, found, row.ids[:start])
        rest = row.ids[start:-1]
        places = torch.arange(len(rest))[None]
        layers = range(len(found.layers))
        with capture_with(found, [RESIDUAL], layers, places) as captured:
            forward_rows(model, found, prefix, [rest])
        ids, probabilities = [], []
        size = max(1, LOGITS_AT_ONCE // int(model.config.get_text_config().vocab_size))
        for layer in layers:
            states = captured.calls[0][RESIDUAL, layer][0]
            for begin in range(0, len(states), size):
                said = found.logits_of(found.final_norm(states[begin : begin + size])).float().softmax(dim=-1)
                best = said.topk(min(top, said.shape[-1]), dim=-1)
                ids.append(best.indices)
                probabilities.append(best.values)
    finally:
        model.train(training)
    shape = (len(layers), len(rest), -1)
    top_ids = torch.cat(ids).reshape(shape).cpu().numpy()
    texts = {int(token): str(tokenizer.decode([int(token)])) for token in np.unique([*top_ids.flat, *rest])}
    return WordGrid(
        item=item,
        tokens=tuple(texts[token] for token in rest),
        begin=row.begin - 1 - start,
        top_ids=top_ids,
        top_probabilities=torch.cat(probabilities).reshape(shape).cpu().numpy(),
        top_texts=tuple(
            tuple(tuple(texts[int(token)] for token in cell) for cell in layer) for layer in top_ids
        ),
        source_ids=word_token_ids(tokenizer, item.source_word),
        target_ids=word_token_ids(tokenizer, item.target_word),
    )


def visible(text: str, token: int | None = None) -> str:
    """Write a token so that blanks and line breaks are seen; bytes that are no text become the token's number.

    Args:
        text: The token's text.
        token: Its number.

    Returns:
        One line that is not empty.
    """
    hidden = any(unicodedata.category(letter) in {"Cf", "Cc", "Cn", "Co", "Cs"} for letter in text.strip())
    if ("\ufffd" in text or hidden) and token is not None:
        return f"#{token}"
    shown = text.replace("\n", "\u23ce").replace("\t", "\u21e5").replace("\r", "\u240d")
    if not shown.strip():
        shown = shown.replace(" ", "\u2423")
    return shown.strip(" ") or (f"#{token}" if token is not None else "\u2205")
