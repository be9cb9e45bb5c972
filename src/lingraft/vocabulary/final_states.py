"""Statistics of a model's final states on some text: what its head is multiplied with."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.models.embeddings import read_embeddings
from lingraft.vocabulary.problem import FinalStates

SEQUENCES, LENGTH = 24, 96


@torch.no_grad()
def measure_final_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]
) -> FinalStates:
    """Mean and second moment of the states after the final norm, on the first 24 x 96 tokens of the texts.

    Args:
        model: The source model, with its own tokenizer.
        tokenizer: That tokenizer.
        texts: Target-language documents.

    Returns:
        Moments in float32 on the processor.
    """
    matrices = read_embeddings(model)
    width = matrices.input.shape[1]
    total, mean, moment = (
        0,
        torch.zeros(width, dtype=torch.float64),
        torch.zeros(width, width, dtype=torch.float64),
    )
    base: Any = model.base_model
    for ids in _sequences(tokenizer, texts):
        states = base(input_ids=ids.to(model.device), use_cache=False).last_hidden_state[0].double().cpu()
        total += len(states)
        mean += states.sum(dim=0)
        moment += states.T @ states
    return FinalStates((mean / max(1, total)).float(), (moment / max(1, total)).float(), matrices.tied)


def _sequences(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> Iterator[torch.Tensor]:
    """Up to 24 rows of 96 ids, documents one after another."""
    made, ids = 0, list[int]()
    for text in texts:
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        while len(ids) >= LENGTH:
            yield torch.tensor([ids[:LENGTH]])
            made, ids = made + 1, ids[LENGTH:]
            if made == SEQUENCES:
                return
    if ids and not made:
        yield torch.tensor([ids])
