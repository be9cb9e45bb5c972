"""Every pair equals nnsight's answer: hooks of another library, in ordinary forwards and generations."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lingraft.models.architecture import resolve
from lingraft.patching.engine import transplant_all
from lingraft.patching.pairs import all_pairs
from lingraft.patching.prefill import prefill
from lingraft.patching.sites import PATCH_SITES

DONOR = [17, 301, 44, 45, 9, 230, 77]
RECEIVER = [5, 88, 131, 402, 19, 7, 33, 250, 61, 71, 300]


def place(wrapped: Any, model: Any, site: str, layer: int) -> Any:
    """nnsight's handle of the attention or feed-forward module."""
    found = resolve(model).layers[layer]
    wanted = found.attention if site == "attn" else found.mlp
    name = next(name for name, module in model.named_modules() if module is wanted)
    return operator.attrgetter(name)(wrapped)


def tensor(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def traced(nnsight: Any, model: Any, site: str, taker: int) -> tuple[Any, list[list[int]]]:
    """Logits after the prompt and six greedy tokens, a row a donor layer."""
    wrapped = nnsight.NNsight(model)
    donor = torch.tensor([DONOR])
    values = []
    for giver in range(3):
        module = place(wrapped, model, site, giver)
        with wrapped.trace(input_ids=donor, attention_mask=torch.ones_like(donor)):
            value = nnsight.save(tensor(module.output)[0, -1].clone())
        values.append(value)
    stacked = torch.stack(values)
    ids = torch.tensor([RECEIVER]).expand(3, -1)
    options: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    module = place(wrapped, model, site, taker)
    with wrapped.trace(**options):
        tensor(module.output)[:, -1] = stacked
        logits = nnsight.save(wrapped.output.logits)
    options |= {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with wrapped.trace(fn=model.generate, **options) as tracer:
        tensor(module.output)[:, -1] = stacked
        output = nnsight.save(tracer.result)
    return logits[:, -1], output[:, ids.shape[1] :].tolist()


@pytest.mark.parametrize("site", ["ffn", "attn"])
def test_logits_and_texts_equal_nnsight(
    nnsight: Any, tiny: Callable[..., Any], architecture: str, site: str
) -> None:
    model = tiny(architecture)
    model.generation_config.eos_token_id = None
    places = [PATCH_SITES[site]]
    pairs = all_pairs(3, receiver_layers=[1, 2])
    rows = transplant_all(model, prefill(model, RECEIVER), [prefill(model, DONOR, places)], pairs, places)
    logits = rows.logits.clone()
    texts = rows.greedy(6)
    for number, taker in enumerate((1, 2)):
        some = slice(3 * number, 3 * number + 3)
        expected, expected_texts = traced(nnsight, model, site, taker)
        torch.testing.assert_close(logits[some], expected, rtol=1e-4, atol=1e-4)
        assert texts[some] == expected_texts
