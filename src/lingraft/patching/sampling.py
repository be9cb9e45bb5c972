"""Sampled answers of the unpatched model: what trying often gives without any transplant (our control)."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.patching.engine import Rows, chunks
from lingraft.patching.prompts import Prompt
from lingraft.patching.scoring import Judge, Score, decode_distinct, right_options


@torch.no_grad()
def sample_answers(
    rows: Rows,
    prompt: Prompt,
    score: Score,
    *,
    samples: int,
    temperature: float,
    seed: int,
    tokenizer: Any,
    new_tokens: int,
    ends: Sequence[int],
    judge: Judge | None,
    chunk: int,
) -> NDArray[np.bool_] | None:
    """Draw answers and say which are right.

    First tokens come from the whole vocabulary, options by their likelihoods among each other, texts token by token.

    Args:
        rows: The unpatched prompt as one row; it stays as it is.
        prompt: The instance.
        score: What an answer is.
        samples: How many.
        temperature: Divides log-probabilities before drawing.
        seed: Together with the instance's id.
        tokenizer: For texts.
        new_tokens: Most tokens of a text.
        ends: Tokens that end a text.
        judge: Says which texts are right.
        chunk: Texts decoded at once.

    Returns:
        bool `[samples]`; None where no answer is known.
    """
    generator = torch.Generator(device=rows.logits.device).manual_seed(instance_seed(seed, prompt))

    def pick(logits: torch.Tensor) -> torch.Tensor:
        chances = torch.softmax(logits.float() / temperature, dim=-1)
        return torch.multinomial(chances, 1, generator=generator)[:, 0]

    if score == "generate":
        if judge is None:
            return None
        tokens: list[list[int]] = []
        for begin, end in chunks(samples, chunk):
            tokens += rows.repeat(end - begin).decode(new_tokens, frozenset(ends), pick)
        return np.array(judge(decode_distinct(tokenizer, tokens)), dtype=np.bool_)
    over, right = rows.logits, list(prompt.answers)
    if score == "options" and prompt.options:
        over, right = rows.log_likelihoods(prompt.options), right_options(prompt)
    if not right:
        return None
    drawn = pick(over.expand(samples, -1)).cpu().numpy()
    return np.isin(drawn, right)


def instance_seed(seed: int, prompt: Prompt) -> int:
    """A seed of this instance's own, whatever other instances there are."""
    name = f"{seed} {prompt.instance.id}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:7], "big")
