"""Inference with one fixed pair of layers, for text and under any code that calls the model."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.errors import ConfigError
from lingraft.evaluation.answers import greedy_ids
from lingraft.models.architecture import resolve
from lingraft.models.hooks import capture
from lingraft.models.reading import Run, attach
from lingraft.models.sites import Site, call_arguments, check_layers
from lingraft.patching.prefill import check_length
from lingraft.patching.sites import Operator, patch_site, receiving_site, replace
from lingraft.progress import track
from lingraft.tokenizers.open_ended import prompt_ids


@contextmanager
def transplant(
    model: PreTrainedModel,
    values: torch.Tensor,
    *,
    site: Site | str,
    receiver_layer: int,
    operator: Operator = replace,
) -> Iterator[None]:
    """Patch the last prompt token of every prefill inside the block; decoding steps run as they are.

    A forward call with an empty cache, or with none, is a prefill. `generate` with `use_cache=False` would make every
    step look like one, and a prompt read in several pieces would be patched in its first: use neither here.

    Args:
        model: A causal LM of a known architecture.
        values: The donors' values: `[batch, d_model]`, one a row of every prefill in the block, or `[d_model]` for all.
        site: Where the values were taken: a site, or its name in `PATCH_SITES`; `receiving_site` says where they go.
        receiver_layer: Where the values enter.
        operator: How they meet the receiver's own.

    Yields:
        Nothing.

    Raises:
        ArchitectureError: The architecture is unknown.
        ConfigError: A site or layer does not exist, or the values do not fit the model or (from the forward call) the
            batch.
    """
    found = resolve(model)
    place = receiving_site(patch_site(site) if isinstance(site, str) else site)
    check_layers([receiver_layer], len(found.layers))
    if values.shape[-1] != found.d_model or values.dim() > 2:
        raise ConfigError(
            f"values of shape {list(values.shape)}",
            f"[batch, {found.d_model}]",
            "capture them from this model",
        )
    run = Run("all", getattr(model.config.get_text_config(), "pad_token_id", None))

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run.begin(module, args, kwargs)
        cache = call_arguments(module, args, kwargs).get("past_key_values")
        run.active = cache is None or int(cache.get_seq_length()) == 0

    def change(current: torch.Tensor) -> torch.Tensor:
        index = run.indices("last")
        assert index is not None, "the last token has an index"
        given = values.to(current)
        if given.dim() == 2 and len(given) != len(current):
            raise ConfigError(
                f"{len(given)} donors for a batch of {len(current)}",
                "one a row",
                "give as many donors as prompts",
            )
        rows = torch.arange(len(current), device=current.device)
        at = index[:, 0].to(current.device)
        result = current.clone()
        result[rows, at] = operator(current[rows, at], given.expand(len(current), -1)).to(current)
        return result

    with ExitStack() as stack:
        hook = found.entry.register_forward_pre_hook(begin, with_kwargs=True, prepend=True)
        stack.callback(hook.remove)
        attach(stack, found, found.layers[receiver_layer], place, run=run, observe=change, first=True)
        yield


@torch.no_grad()
def donor_states(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    *,
    site: Site | str,
    layer: int,
) -> torch.Tensor:
    """Read the donors' values.

    Args:
        model: A causal LM of a known architecture.
        tokenizer: Its tokenizer, with a padding token where there are several prompts.
        prompts: The donor prompts, as texts or as token ids.
        site: What to read.
        layer: Where.

    Returns:
        `[prompts, d_model]`.

    Raises:
        ConfigError: A prompt is empty or too long, or a site or layer does not exist.
    """
    place = patch_site(site) if isinstance(site, str) else site
    # On the right: positions then count from the first token without being told (GPT-2's are absolute).
    batch = _batch(model, tokenizer, prompts)
    with capture(model, [place], [layer]) as captured:
        model(**batch, use_cache=False, logits_to_keep=1)
    return captured[place][0]


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    receivers: Sequence[str] | Sequence[Sequence[int]],
    donors: Sequence[str] | Sequence[Sequence[int]],
    *,
    site: Site | str,
    donor_layer: int,
    receiver_layer: int,
    operator: Operator = replace,
    new_tokens: int = 20,
    batch_size: int = 8,
    progress: bool = False,
) -> list[str]:
    """Answer prompts greedily with one transplant (the paper's 20 new tokens).

    Args:
        model: A causal LM of a known architecture, in evaluation mode.
        tokenizer: Its tokenizer.
        receivers: The prompts to answer, as texts or as token ids.
        donors: The donor prompt of each.
        site: What is transplanted.
        donor_layer: Where it is taken.
        receiver_layer: Where it is put.
        operator: How the two meet.
        new_tokens: Most tokens of an answer.
        batch_size: Prompts at once.
        progress: Show a bar.

    Returns:
        The answers, without special tokens.

    Raises:
        ConfigError: Numbers of prompts differ, a prompt is empty or too long, or a site or layer does not exist.
        ArchitectureError: The architecture is unknown.
    """
    if len(receivers) != len(donors):
        raise ConfigError(
            f"{len(receivers)} receivers and {len(donors)} donors", "one donor a receiver", "pair them up"
        )
    begins = range(0, len(receivers), batch_size)
    answers: list[str] = []
    for begin in track(begins, description="generating") if progress else begins:
        part = slice(begin, begin + batch_size)
        values = donor_states(model, tokenizer, donors[part], site=site, layer=donor_layer)
        with transplant(model, values, site=site, receiver_layer=receiver_layer, operator=operator):
            answers += _greedy(model, tokenizer, receivers[part], new_tokens)
    return answers


@torch.no_grad()
def answer_plainly(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    *,
    new_tokens: int = 20,
    batch_size: int = 8,
    progress: bool = False,
) -> list[str]:
    """Answer prompts greedily without a transplant, to compare with.

    Args:
        model: A causal LM, in evaluation mode.
        tokenizer: Its tokenizer.
        prompts: The prompts, as texts or as token ids.
        new_tokens: Most tokens of an answer.
        batch_size: Prompts at once.
        progress: Show a bar.

    Returns:
        The answers, without special tokens.

    Raises:
        ConfigError: A prompt is empty or too long.
    """
    begins = range(0, len(prompts), batch_size)
    answers: list[str] = []
    for begin in track(begins, description="answering unpatched") if progress else begins:
        answers += _greedy(model, tokenizer, prompts[begin : begin + batch_size], new_tokens)
    return answers


def _greedy(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    new_tokens: int,
) -> list[str]:
    rows = _rows(model, tokenizer, prompts, new_tokens)
    generating: Any = model
    ends = generating.generation_config.eos_token_id
    padding = tokenizer.pad_token_id
    found = greedy_ids(
        model,
        rows,
        max_new_tokens=new_tokens,
        end_ids=[ends] if isinstance(ends, int) else ends or (),
        padding=0 if padding is None else padding,
    )
    return [tokenizer.decode(ids, skip_special_tokens=True) for ids in found]


def _rows(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    new_tokens: int,
) -> list[list[int]]:
    rows = [prompt_ids(tokenizer, prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    for row in rows:
        check_length(model, len(row), new_tokens)
    return rows


def _batch(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str] | Sequence[Sequence[int]],
) -> dict[str, torch.Tensor]:
    """Padded tokens and their mask; on the right, whatever side the tokenizer prefers."""
    rows = _rows(model, tokenizer, prompts, 0)
    width = max(map(len, rows))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids, mask = torch.full((len(rows), width), padding), torch.zeros((len(rows), width), dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = torch.tensor(row), 1
    device = next(model.parameters()).device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
