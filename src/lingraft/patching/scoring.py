"""What a row's run says: its first token, its choice among options, or its text, and whether that is right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.patching.engine import Rows, chunks
from lingraft.patching.prompts import Prompt

Score = Literal["first-token", "options", "generate"]
Judge = Callable[[Sequence[str]], Sequence[bool]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers of R rows.

    Attributes:
        token_id: int64 `[R]`, the likeliest first token.
        text: What each row generated; None unless texts were asked for.
        choice: int64 `[R]`, the likeliest option, -1 without options.
        score: float32 `[R]`, nats: the log-probability of the right answer (its first token, or the whole option),
            the best of several; of what the row says itself where no answer is known.
        margin: float32 `[R]`, nats: the best answer's log-probability less the second best's, over options where there
            are some, else over first tokens.
        entropy: float32 `[R]`, nats, of that distribution.
        correct: bool `[R]`; None where no answer is known.
    """

    token_id: NDArray[np.int64]
    text: list[str] | None
    choice: NDArray[np.int64]
    score: NDArray[np.float32]
    margin: NDArray[np.float32]
    entropy: NDArray[np.float32]
    correct: NDArray[np.bool_] | None


def join(parts: Sequence[Scored]) -> Scored:
    """Put the answers of several chunks together.

    Args:
        parts: Chunks in order, of one kind.

    Returns:
        All rows.
    """

    def stacked(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    return Scored(
        token_id=stacked("token_id"),
        text=None if parts[0].text is None else [text for part in parts for text in part.text or []],
        choice=stacked("choice"),
        score=stacked("score"),
        margin=stacked("margin"),
        entropy=stacked("entropy"),
        correct=None if parts[0].correct is None else stacked("correct"),
    )


@torch.no_grad()
def score_rows(
    rows: Rows,
    prompt: Prompt,
    score: Score,
    *,
    tokenizer: Any,
    new_tokens: int,
    ends: Sequence[int],
    judge: Judge | None,
    options: Sequence[Sequence[int]] | None = None,
) -> Scored:
    """Read the rows' answers.

    Args:
        rows: After their first step; generating uses them up.
        prompt: The instance.
        score: What to read.
        tokenizer: For texts.
        new_tokens: Most tokens of a text.
        ends: Tokens that end a text.
        judge: Says which texts are right; None where that is not known.
        options: Tokens of the options where the rows continue another prompt than the receiver's.

    Returns:
        The answers.
    """
    choices = prompt.options if options is None else options
    first_token_of_options = [option[0] for option in choices] if score == "first-token" else []
    token, best, entropy, over = _over_vocabulary(rows.logits, first_token_of_options or prompt.answers)
    choice, said, right = torch.full_like(token, -1), token, list(range(len(prompt.answers)))
    if choices and score != "generate":
        over = rows.log_likelihoods(choices) if score == "options" else over
        choice = said = over.argmax(dim=-1)
        best = over.topk(min(2, over.shape[-1]), dim=-1).values
        entropy = _entropy(torch.log_softmax(over, dim=-1))
        right = right_options(prompt)
    texts: list[str] | None = None
    correct: NDArray[np.bool_] | None = None
    if score == "generate":
        tokens = rows.greedy(new_tokens, frozenset(ends))
        texts = decode_distinct(tokenizer, tokens)
        correct = None if judge is None else np.array(judge(texts), dtype=np.bool_)
    elif right:
        # A first token is right when it is the whole vocabulary's choice, not only the options'.
        answer = right if score == "options" and choices else prompt.answers
        spoken = token if score == "first-token" else said
        correct = np.isin(spoken.cpu().numpy(), list(answer))
    wanted = over[:, right].amax(dim=-1) if right else best[:, 0]
    return Scored(
        token_id=token.cpu().numpy().astype(np.int64),
        text=texts,
        choice=choice.cpu().numpy().astype(np.int64),
        score=wanted.float().cpu().numpy(),
        margin=(best[:, 0] - best[:, -1]).float().cpu().numpy(),
        entropy=entropy.float().cpu().numpy(),
        correct=correct,
    )


def _over_vocabulary(
    logits: torch.Tensor, columns: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Likeliest tokens, the two best log-probabilities, the entropy, and the log-probabilities of some tokens.

    A few rows at a time: temporaries of a thousand rows and a whole vocabulary cost more than the arithmetic.
    """
    parts = []
    for begin, end in chunks(len(logits), max(1, 2**20 // logits.shape[-1])):
        token = logits[begin:end].max(dim=-1, keepdim=True).indices
        log_probabilities = torch.log_softmax(logits[begin:end].float(), dim=-1)
        best = log_probabilities.gather(1, token)
        asked, entropy = log_probabilities[:, list(columns)], _entropy(log_probabilities)
        second = log_probabilities.scatter_(1, token, -torch.inf).amax(dim=-1, keepdim=True)
        parts.append((token[:, 0], torch.cat([best, second], dim=-1), entropy, asked))
    token, two, entropies, asked = (torch.cat(column) for column in zip(*parts, strict=True))
    return token, two, entropies, asked


def _entropy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """`[R]` in nats; an impossible token adds nothing."""
    return -(log_probabilities.exp() * log_probabilities.clamp_min(-1e9)).sum(dim=-1)


def decode_distinct(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Decode each distinct sequence once.

    Args:
        tokenizer: The tokenizer.
        rows: Token ids of each row.

    Returns:
        Texts without special tokens.
    """
    known: dict[tuple[int, ...], str] = {}
    for row in rows:
        key = tuple(row)
        if key not in known:
            known[key] = str(tokenizer.decode(list(key), skip_special_tokens=True))
    return [known[tuple(row)] for row in rows]


def right_options(prompt: Prompt) -> list[int]:
    """Numbers of the options that are right.

    Args:
        prompt: The instance.

    Returns:
        Numbers into its options.
    """
    return [answer for answer in prompt.instance.answers if isinstance(answer, int)]
