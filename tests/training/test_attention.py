"""The CPU's attention gives the same values and gradients as the library's."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lingraft.training import attention
from lingraft.training.attention import cpu_attention
from lingraft.training.losses import cross_entropy


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (9, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", ["", "branched", "free"])
@pytest.mark.parametrize("block", [5, 96])
def test_values_and_gradients(
    heads: tuple[int, int], dtype: torch.dtype, masked: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK", block)
    torch.manual_seed(0)
    hidden = torch.ones(13, 13, dtype=torch.bool).triu(1).expand(2, 1, 13, 13).clone()
    if masked == "branched":
        # The second of two continuations of five tokens, which does not see the first.
        hidden[1, 0, 9:, 5:9] = True
    elif masked == "free":
        # Any mask, of each head its own, which lets some tokens see what follows.
        hidden = torch.rand(2, heads[0], 13, 13) < 0.4
        hidden[..., range(13), range(13)] = False
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, torch.finfo(dtype).min)
    query = torch.randn(2, heads[0], 13, 8, dtype=torch.float64).to(dtype).requires_grad_()
    key = torch.randn(2, heads[1], 13, 8, dtype=torch.float64).to(dtype).requires_grad_()
    value = torch.randn(2, heads[1], 13, 8, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(2, heads[0], 13, 8, dtype=torch.float64)
    out = attention._Attention.apply(query, key, value, 0.3, mask if masked else None)
    ours = torch.autograd.grad((out.double() * weight).sum(), (query, key, value))
    groups = heads[0] // heads[1]
    wide = [tensor.detach().double().requires_grad_() for tensor in (query, key, value)]
    scores = wide[0] @ wide[1].repeat_interleave(groups, 1).transpose(2, 3) * 0.3
    scores = scores.masked_fill(hidden, -torch.inf)
    plain = scores.softmax(-1) @ wide[2].repeat_interleave(groups, 1)
    theirs = torch.autograd.grad((plain * weight).sum(), wide)
    tolerance = {torch.float64: 2e-6, torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]
    torch.testing.assert_close(out.double(), plain, rtol=tolerance, atol=tolerance)
    for mine, other in zip(ours, theirs, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(mine.double(), other, rtol=tolerance, atol=tolerance * scale)


def models() -> list[torch.nn.Module]:
    llama = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    gpt2 = GPT2Config(
        vocab_size=50, n_embd=24, n_layer=2, n_head=4, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0
    )
    return [LlamaForCausalLM(llama), GPT2LMHeadModel(gpt2)]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("autocast", [False, True])
def test_models_get_the_same_gradients(index: int, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model = models()[index].train()
    ids = torch.randint(0, 50, (3, 11))
    calls = []
    apply = attention._Attention.apply
    monkeypatch.setattr(attention._Attention, "apply", lambda *given: calls.append(1) or apply(*given))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        return [p.grad.clone() for p in model.parameters()]

    theirs = gradients()
    assert not calls
    with cpu_attention(model):
        ours = gradients()
    assert len(calls) == 2
    tolerance = 0.03 if autocast else 2e-5
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            mine, other, rtol=tolerance, atol=tolerance * float(other.abs().max()) + 1e-8
        )


def test_the_model_has_its_own_back_and_saves_no_trace(tmp_path: Path) -> None:
    model = models()[0]
    with cpu_attention(model):
        model.save_pretrained(tmp_path)
        assert model.config._attn_implementation == attention.NAME
    assert model.config._attn_implementation == "sdpa"
    assert attention.NAME not in json.dumps(
        json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    )
    eager = models()[0]
    eager.set_attn_implementation("eager")
    with cpu_attention(eager):
        assert eager.config._attn_implementation == "eager"


def test_padding_and_dropout_go_the_librarys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models()[0].train()
    monkeypatch.setattr(attention._Attention, "apply", lambda *_: pytest.fail("not for this"))
    ids, mask = torch.randint(0, 50, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    with cpu_attention(model):
        model(input_ids=ids, attention_mask=mask)
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.5
        model(input_ids=ids)
        with torch.no_grad():
            model(input_ids=ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    logits = (torch.randn(150, 37) * 4).to(dtype).requires_grad_()
    targets = torch.randint(0, 37, (150,))
    ours = cross_entropy(logits, targets)
    gradient = torch.autograd.grad(ours * 3, logits)[0]
    wide = logits.detach().double().requires_grad_()
    theirs = functional.cross_entropy(wide, targets)
    expected = torch.autograd.grad(theirs * 3, wide)[0]
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=0)
    tolerance = 1e-6 if dtype == torch.float32 else 4e-3
    torch.testing.assert_close(gradient.double(), expected, rtol=tolerance, atol=1e-8)
