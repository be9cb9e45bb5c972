"""Greedy answers to prompts, in batches of like length, each the same as if its prompt had been alone."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import GenerationConfig, PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.progress import progress_task


class AnswerFormat(Protocol):
    """What is needed of a prompt format to answer in it; `lingraft.tokenizers.chat.PromptFormat` has it."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that turns answers into text."""

    @property
    def end_ids(self) -> Sequence[int]:
        """Tokens that end an answer."""

    def opening_ids(self, prompt: str) -> list[int]:
        """Return a prompt's tokens, up to where the answer itself begins."""


def greedy_answers(
    model: PreTrainedModel,
    format: AnswerFormat,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 128,
    batch_size: int = 8,
    progress: bool = False,
) -> list[str]:
    """Answer prompts greedily.

    Greedy is the most likely token at each step and nothing else: settings of the model's generation config (a
    repetition penalty, suppressed tokens) have no part in it. Prompts of like length share a batch, padded on the left.
    In float32 an answer does not depend on its batch; in bfloat16 a near tie between two tokens can fall either way.

    Args:
        model: A causal LM; its training mode and generation config are the same afterwards.
        format: How a prompt becomes tokens, and what ends an answer (`prompt_format`).
        prompts: The prompts.
        max_new_tokens: Most tokens of an answer.
        batch_size: Prompts at once.
        progress: Show a bar.

    Returns:
        An answer a prompt, without special tokens and without what ended it.

    Raises:
        ConfigError: A prompt and its answer do not fit into the model's context, a prompt has no token, or a number is
            below one.
    """
    answers = [""] * len(prompts)
    batches = answer_batches(model, format, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    if not progress:
        for batch in batches:
            for number, text in batch.items():
                answers[number] = text
        return answers
    with progress_task("answering", len(prompts)) as advance:
        for batch in batches:
            for number, text in batch.items():
                answers[number] = text
            advance(len(batch))
    return answers


def answer_batches(
    model: PreTrainedModel,
    format: AnswerFormat,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    done: Collection[int] = (),
) -> Iterator[dict[int, str]]:
    """Answer prompts greedily, a batch at a time, the longest prompts first.

    Which prompts share a batch depends on all prompts and not on which are done, so that a run that goes on after it
    was killed makes the same batches.

    Args:
        model: A causal LM.
        format: How a prompt becomes tokens, and what ends an answer.
        prompts: The prompts.
        max_new_tokens: Most tokens of an answer.
        batch_size: Prompts at once.
        done: Numbers of prompts that need no answer; a batch is left out where all of its prompts are among them.

    Yields:
        From a prompt's number to its answer.

    Raises:
        ConfigError: As `greedy_answers`; before the first batch.
    """
    if max_new_tokens < 1 or batch_size < 1:
        raise ConfigError(
            f"{max_new_tokens} new tokens in batches of {batch_size}", "at least 1 of each", "correct it"
        )
    rows = [list(format.opening_ids(prompt)) for prompt in prompts]
    _check_lengths(model, rows, prompts, max_new_tokens)
    tokenizer = format.tokenizer
    ends = sorted({int(end) for end in format.end_ids})
    finished = set(done)
    order = sorted(range(len(rows)), key=lambda number: (-len(rows[number]), number))
    for begin in range(0, len(order), batch_size):
        numbers = order[begin : begin + batch_size]
        if finished.issuperset(numbers):
            continue
        padding = tokenizer.pad_token_id
        found = greedy_ids(
            model,
            [rows[number] for number in numbers],
            max_new_tokens=max_new_tokens,
            end_ids=ends,
            padding=0 if padding is None else int(padding),
        )
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found]
        yield dict(zip(numbers, texts, strict=True))


def check_prompts(
    model: PreTrainedModel, format: AnswerFormat, prompts: Sequence[str], max_new_tokens: int
) -> None:
    """Refuse prompts that `greedy_answers` would refuse, before anything is written.

    Args:
        model: A causal LM.
        format: How a prompt becomes tokens.
        prompts: The prompts.
        max_new_tokens: Most tokens of an answer.

    Raises:
        ConfigError: A prompt and its answer do not fit into the model's context, or a prompt has no token.
    """
    _check_lengths(model, [format.opening_ids(prompt) for prompt in prompts], prompts, max_new_tokens)


@torch.no_grad()
def greedy_ids(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: Sequence[int] = (),
    padding: int = 0,
) -> list[list[int]]:
    """Continue prompts by the most likely token at each step.

    Args:
        model: A causal LM.
        prompts: Each prompt's tokens.
        max_new_tokens: Most tokens of a continuation.
        end_ids: Tokens that end one.
        padding: A token for the places before short prompts, which are hidden from the model.

    Returns:
        Each continuation's tokens, without what ended it.
    """
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), padding)
    mask = torch.zeros((len(prompts), width), dtype=torch.int64)
    for number, row in enumerate(prompts):
        # On the left, where `generate` appends; it counts positions by the mask.
        ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    device = next(model.parameters()).device
    configuration: Any = GenerationConfig
    settings = configuration(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=list(end_ids) or None,
        pad_token_id=padding,
    )
    generating: Any = model
    with plain_settings(model, settings):
        output = generating.generate(input_ids=ids.to(device), attention_mask=mask.to(device))
    return [_before_end(row[width:].tolist(), end_ids) for row in output.cpu()]


@contextmanager
def plain_settings(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """Take the place of the model's generation config: `generate` adds what that says to whatever it is given.

    Args:
        model: Whose configuration and training mode are the same again afterwards.
        settings: What `generate` is to do, and nothing else.

    Yields:
        None: While `generate` does that.
    """
    before, training = model.generation_config, model.training
    model.generation_config = settings
    # Setting every module's mode takes a moment, which a call for each batch need not spend.
    if training:
        model.eval()
    try:
        yield
    finally:
        model.generation_config = before
        if training:
            model.train()


def _before_end(ids: list[int], end_ids: Collection[int]) -> list[int]:
    return next((ids[:place] for place, token in enumerate(ids) if token in end_ids), ids)


def _check_lengths(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], prompts: Sequence[str], new_tokens: int
) -> None:
    """Refuse, before any work, what cannot be answered."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for number, row in enumerate(rows):
        shown = " ".join(prompts[number].split())
        place = f"prompt {number + 1} ({shown[:40] + '...' if len(shown) > 40 else shown!r})"
        if not row:
            raise ConfigError(f"{place} has no token", "at least one", "leave it out")
        if most is not None and len(row) + new_tokens > most:
            raise ConfigError(
                f"{place} has {len(row)} tokens and its answer up to {new_tokens}",
                f"at most {most} together, the model's context",
                "leave it out or shorten it, or ask for fewer new tokens",
            )
