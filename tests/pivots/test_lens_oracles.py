"""The logit lens beside other libraries': nnsight's trace of every architecture, nnterp's ready-made lens."""

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lingraft.models.architecture import resolve
from lingraft.pivots.prompt_tokens import Row, encode_rows
from lingraft.pivots.tracing import Traces, trace_words

from .word_helpers import MODELS, small_task


def traced_rows(model: Any, tokenizer: Any) -> tuple[Traces, list[Row]]:
    task = small_task()
    found = trace_words(model, tokenizer, task, top=3, batch_size=2)
    prompts = [task.prompt(item.source_word, 0) for item in found.items]
    return found, encode_rows(tokenizer, prompts, [item.target_word for item in found.items])


def check(found: Traces, rows: list[Row], lens: Callable[[list[int]], torch.Tensor]) -> None:
    for number, row in enumerate(rows):
        expected = lens(list(row.ids[: row.begin]))
        best = expected.topk(3, dim=-1)
        np.testing.assert_allclose(found.top_probabilities[number], best.values, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(
            found.next_probability[number], expected[:, row.ids[row.begin]], rtol=2e-3, atol=1e-6
        )
        np.testing.assert_allclose(
            found.target_mass[number],
            expected[:, sorted(found.target_ids[number])].sum(-1),
            rtol=2e-3,
            atol=1e-6,
        )


@pytest.mark.parametrize("name", MODELS.ARCHITECTURES)
def test_equals_nnsight(name: str, nnsight: Any, byte_bpe_tokenizer: Any) -> None:
    model = MODELS.build(name)
    found, rows = traced_rows(model, byte_bpe_tokenizer)
    wrapped = nnsight.NNsight(model)
    places = {id(module): place for place, module in model.named_modules()}
    resolved = resolve(model)
    layers = [operator.attrgetter(places[id(layer.layer)])(wrapped) for layer in resolved.layers]

    @torch.no_grad()
    def lens(ids: list[int]) -> torch.Tensor:
        tokens, states = torch.tensor([ids]), []
        for layer in layers:
            with wrapped.trace(input_ids=tokens, attention_mask=torch.ones_like(tokens)):
                output = layer.output
                state = nnsight.save((output[0] if isinstance(output, tuple) else output).clone())
            states.append(state.reshape(-1, state.shape[-1])[-1])
        with wrapped.trace(input_ids=tokens, attention_mask=torch.ones_like(tokens)):
            own = nnsight.save(wrapped.output.logits[0, -1].clone())
        said = resolved.logits_of(resolved.final_norm(torch.stack(states))).softmax(-1)
        torch.testing.assert_close(said[-1], own.softmax(-1), rtol=1e-4, atol=1e-6)
        return said

    check(found, rows, lens)


@pytest.mark.parametrize(("name", "together"), [("llama", True), ("qwen2", True), ("gpt2", False)])
def test_equals_nnterp(
    name: str, together: bool, oracle: Callable[[str], Any], byte_bpe_tokenizer: Any, tmp_path: Path
) -> None:
    """Its lens takes texts, pads them on the left by itself, and keeps every probability of every layer.

    It tells models with learned positions nothing of the padding, so these get one text at a time.
    """
    nnterp = oracle("nnterp")
    logit_lens = oracle("nnterp.interventions").logit_lens
    model = MODELS.build(name)
    model.save_pretrained(tmp_path)
    byte_bpe_tokenizer.save_pretrained(tmp_path)
    found, rows = traced_rows(model, byte_bpe_tokenizer)
    wrapped = nnterp.StandardizedTransformer(str(tmp_path), dtype=torch.float32, device_map="cpu")
    task = small_task()
    prompts = [task.prompt(item.source_word, 0) for item in found.items]
    groups = [prompts] if together else [[prompt] for prompt in prompts]
    lens = torch.cat([logit_lens(wrapped, group).detach() for group in groups])
    said = {row.ids[: row.begin]: lens[number] for number, row in enumerate(rows)}
    check(found, rows, lambda ids: said[tuple(ids)])
