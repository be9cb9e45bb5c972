"""A prompt computed once for both its answers gives what separate forward passes give: values and gradients."""

from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, build, random_rows, separate_logs
from torch import nn

from lingraft.models.architecture import attention_parameters
from lingraft.preference.answer_logs import next_token_logs
from lingraft.preference.collation import collate_rows, forward_inputs
from lingraft.preference.shared_prompt import answering


def shared_logs(model: Any, rows: Any) -> torch.Tensor:
    with answering(model):
        logs: torch.Tensor = model(**forward_inputs(collate_rows(rows)))
    return logs


def freeze_but_attention(model: Any) -> None:
    wanted = {id(p) for p in attention_parameters(model).values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in wanted)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_four_separate_forwards(name: str, attention: str) -> None:
    model = build(name)
    if attention == "sdpa":
        if not model._supports_sdpa:
            pytest.skip(f"{name} has no fused attention")
        model.set_attn_implementation("sdpa")
    rows = random_rows()
    with torch.no_grad():
        ours = shared_logs(model, rows)
        plain = torch.tensor([[float(part) for part in separate_logs(model, row)] for row in rows])
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    # The model has its own forward back.
    assert model(input_ids=torch.tensor([[3, 4]])).logits.shape[:2] == (1, 2)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_equal_those_of_separate_forwards(name: str, frozen: bool, tied: bool) -> None:
    rows = random_rows()
    weights = torch.tensor([[1.0, -0.5], [0.3, 0.7], [-1.1, 2.0], [0.0, 1.0]])
    found = []
    for shared in (True, False):
        model = build(name, tied=tied)
        if frozen:
            freeze_but_attention(model)
        logs = (
            shared_logs(model, rows)
            if shared
            else torch.stack([torch.stack(separate_logs(model, r)) for r in rows])
        )
        (logs * weights).sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    ours, plain = found
    assert ours.keys() == plain.keys() and len(ours) >= 6
    for key, gradient in plain.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(ours[key], gradient, rtol=2e-4, atol=2e-5 * scale + 1e-7, msg=key)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "bloom"])
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    rows, found = random_rows(), []
    for checkpointing in (False, True):
        model = build(name).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        with answering(model):
            model(**forward_inputs(collate_rows(rows))).sum().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)


def test_one_answer_needs_no_mask() -> None:
    model, rows = build("qwen3"), random_rows(two=False)
    with torch.no_grad():
        ours = shared_logs(model, rows)
        plain = torch.stack([separate_logs(model, row)[0] for row in rows])
    torch.testing.assert_close(ours[:, 0], plain, rtol=1e-5, atol=1e-5)
    assert not ours[:, 1].any()


def test_the_second_answer_does_not_see_the_first() -> None:
    model, rows = build("llama"), random_rows()
    with torch.no_grad():
        before = shared_logs(model, rows)
        changed = [type(row)(row.prompt, [5] * len(row.chosen), row.rejected, row.target) for row in rows]
        after = shared_logs(model, changed)
    assert torch.equal(before[:, 1], after[:, 1])
    assert (before[:, 0] - after[:, 0]).abs().min() > 1e-3


def test_bfloat16_follows_float32() -> None:
    rows = random_rows()
    with torch.no_grad():
        narrow = shared_logs(build("llama", dtype=torch.bfloat16), rows)
        wide = shared_logs(build("llama"), rows)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide, rtol=0.03, atol=0.3)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("learning", [False, True])
def test_token_logs_and_their_gradients(
    softcap: float | None, bias: bool, learning: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 3 positions: 7 positions take three, the last of one position."""
    monkeypatch.setattr("lingraft.preference.answer_logs.CHUNK", 3 * 23)
    head = nn.Linear(5, 23, bias=bias).double().requires_grad_(learning)
    states = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 22, 3, 3, 7, 1, 22])
    factors = torch.randn(7, dtype=torch.float64)
    logits = head(states)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    plain = logits.log_softmax(-1)[torch.arange(7), targets]
    ours = next_token_logs(states, targets, head, softcap)
    torch.testing.assert_close(ours.double(), plain, rtol=1e-5, atol=1e-5)
    wanted = [states, *head.parameters()] if learning else [states]
    theirs = torch.autograd.grad((plain * factors).sum(), wanted, retain_graph=True)
    mine = torch.autograd.grad((ours.double() * factors).sum(), wanted)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
