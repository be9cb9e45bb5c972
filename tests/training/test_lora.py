"""LoRA on every architecture of the adapter table: what it touches, what merging gives, what peft itself would give."""

import copy
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from lingraft.errors import ConfigError, MissingExtraError, ModelError
from lingraft.models.architecture import attention_parameters
from lingraft.training.lora import (
    add_lora,
    is_adapter,
    load_adapter_merged,
    lora_modules,
    merge_lora,
    save_adapter,
)

peft = pytest.importorskip("peft", reason="peft is not installed: it comes with lingraft[train]")

_spec = importlib.util.spec_from_file_location(
    "tiny_architectures", Path(__file__).parents[1] / "models" / "conftest.py"
)
tiny_architectures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_architectures)
ARCHITECTURES, build = tiny_architectures.ARCHITECTURES, tiny_architectures.build

IDS = torch.randint(3, 480, (2, 9), generator=torch.Generator().manual_seed(5))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.float()


def shake(wrapped, scale=0.1):
    """Give every B values, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name, tied):
    model = build(name, tied=tied)
    before, start = {key: value.clone() for key, value in model.state_dict().items()}, logits(model)
    targets = {key for key in attention_parameters(model) if key.endswith("weight") and "norm" not in key}
    wrapped = add_lora(model, rank=3, alpha=6, targets="attention", seed=1)
    assert torch.equal(logits(wrapped), start)
    assert not wrapped.training
    trained = {key for key, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert trained == {key for key, _ in wrapped.named_parameters() if ".lora_" in key}
    assert len(trained) == 2 * len(targets)
    shake(wrapped)
    unmerged, twin = logits(wrapped), copy.deepcopy(wrapped)
    merged = merge_lora(wrapped)
    assert merged is model
    theirs = twin.merge_and_unload().state_dict()
    after = merged.state_dict()
    assert after.keys() == before.keys() == theirs.keys()
    assert all(torch.equal(after[key], theirs[key]) for key in after)
    assert {key for key in after if not torch.equal(after[key], before[key])} == targets
    assert not torch.allclose(unmerged, start, atol=1e-2)
    torch.testing.assert_close(logits(merged), unmerged, atol=2e-5, rtol=1e-5)
    assert all(parameter.requires_grad for parameter in merged.parameters())
    assert not any("peft" in type(module).__module__ for module in merged.modules())
    assert merged.config.tie_word_embeddings is tied


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_linear_means_the_layers_and_not_the_head(name):
    model = build(name)
    names = lora_modules(model, "all-linear")
    assert set(lora_modules(model, "attention")) < set(names)
    assert not any("lm_head" in key or "embed" in key for key in names)
    per_layer = len(names) / 3
    assert per_layer == int(per_layer) >= 4
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrapped = add_lora(model, rank=2, alpha=4, targets="all-linear")
    shake(wrapped)
    unmerged = logits(wrapped)
    merged = merge_lora(wrapped)
    torch.testing.assert_close(logits(merged), unmerged, atol=2e-5, rtol=1e-5)
    changed = {key for key, value in merged.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{key}.weight" for key in names}


def test_many_layers_and_names_that_end_alike():
    """Beyond 20 names peft looks for short suffixes: GPT-2's `c_proj` is in attention and in the mlp."""
    config = GPT2Config(vocab_size=97, n_embd=16, n_layer=12, n_head=2, n_positions=32)
    model = GPT2LMHeadModel(config).eval()
    wanted = set(lora_modules(model, "attention"))
    wrapped = add_lora(model, rank=2, alpha=4)
    base = wrapped.get_base_model()
    assert {name for name, module in base.named_modules() if hasattr(module, "lora_A")} == wanted
    assert len(wanted) == 24


def test_a_gradient_step_moves_lora_alone():
    model = build("qwen3", tied=True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrapped = add_lora(model, rank=2, alpha=4)
    shake(wrapped)
    wrapped(input_ids=IDS, labels=IDS).loss.backward()
    assert all((p.grad is not None) == (".lora_" in key) for key, p in wrapped.named_parameters())
    torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.5).step()
    base = wrapped.get_base_model().state_dict()
    for key, value in before.items():
        name = key if key in base else key.replace(".weight", ".base_layer.weight")
        assert torch.equal(base[name], value)


def test_bfloat16_weights_stay_bfloat16():
    model = build("llama", tied=True, dtype=torch.bfloat16)
    wrapped = add_lora(model, rank=2, alpha=4)
    shake(wrapped)
    unmerged = logits(wrapped)
    twin = copy.deepcopy(wrapped).merge_and_unload().state_dict()
    merged = merge_lora(wrapped)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}
    assert all(torch.equal(value, twin[key]) for key, value in merged.state_dict().items())
    torch.testing.assert_close(logits(merged), unmerged, atol=0.2, rtol=0.1)


def test_the_seed_decides_a_and_the_callers_draws_go_on():
    torch.manual_seed(11)
    expected = torch.rand(3)
    first = add_lora(build("llama"), rank=2, alpha=4, seed=5).state_dict()
    torch.manual_seed(11)
    wrapped = add_lora(build("llama"), rank=2, alpha=4, seed=5)
    assert all(torch.equal(value, first[key]) for key, value in wrapped.state_dict().items())
    other = add_lora(build("llama"), rank=2, alpha=4, seed=6).state_dict()
    assert any(not torch.equal(value, first[key]) for key, value in other.items())
    model = build("llama")
    torch.manual_seed(11)
    add_lora(model, rank=2, alpha=4)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("options", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": "mlp"}])
def test_options_out_of_range(options):
    model = build("llama")
    with pytest.raises(ConfigError):
        add_lora(model, **options)
    assert not any("lora" in key for key, _ in model.named_parameters())


def test_a_second_adapter_is_refused():
    wrapped = add_lora(build("llama"), rank=2)
    with pytest.raises(ConfigError, match="merge them first"):
        add_lora(wrapped.get_base_model(), rank=2)


def test_a_lora_weight_that_is_not_finite_is_named():
    wrapped = add_lora(build("llama"), rank=2)
    with torch.no_grad():
        wrapped.get_base_model().model.layers[1].self_attn.v_proj.lora_B["default"].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"layers\.1\.self_attn\.v_proj\.lora_B.*NaN"):
        merge_lora(wrapped)


def test_without_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[train\]"):
        add_lora(build("llama"))


# ------------------------------------------------------------------------------------------ adapters on disk


@pytest.fixture
def saved(tmp_path, byte_bpe_tokenizer):
    """A base checkpoint, an adapter of it, and the logits that both together give."""

    def make(name="llama", tied=True, targets="attention"):
        model = build(name, tied=tied)
        model.save_pretrained(tmp_path / "base")
        byte_bpe_tokenizer.save_pretrained(tmp_path / "base")
        wrapped = add_lora(model, rank=2, alpha=4, targets=targets, reference=str(tmp_path / "base"))
        shake(wrapped)
        save_adapter(wrapped, tmp_path / "adapter")
        return tmp_path / "base", tmp_path / "adapter", logits(wrapped), merge_lora(wrapped)

    return make


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3", "gemma3_text"])
@pytest.mark.parametrize("targets", ["attention", "all-linear"])
def test_an_adapter_from_disk(saved, name, targets):
    base, adapter, unmerged, merged = saved(name, targets=targets)
    assert is_adapter(adapter)
    assert not is_adapter(base)
    loaded = load_adapter_merged(adapter)
    expected = merged.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.model.state_dict().items())
    torch.testing.assert_close(logits(loaded.model), unmerged, atol=2e-5, rtol=1e-5)
    assert loaded.revision.count("sha256:") == 2
    assert len(loaded.tokenizer) == 600


def test_an_adapter_with_a_tokenizer_of_its_own(saved, unigram_tokenizer):
    _, adapter, _, _ = saved()
    unigram_tokenizer.save_pretrained(adapter)
    assert load_adapter_merged(adapter).tokenizer.eos_token == "</s>"


@pytest.mark.parametrize(
    ("tied", "options"),
    [
        (True, {"use_dora": True}),
        (True, {"use_rslora": True, "rank_pattern": {"v_proj": 5}, "alpha_pattern": {"v_proj": 3}}),
        (False, {"modules_to_save": ["lm_head"]}),
        (False, {"target_modules": ["q_proj", "embed_tokens"]}),
        (False, {"target_modules": ["q_proj", "lm_head"]}),
        (True, {"bias": "all"}),
    ],
)
def test_adapters_that_others_made(tied, options, saved, tmp_path):
    base, _, _, _ = saved("qwen2", tied=tied)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**config | options)).eval()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    wrapped.save_pretrained(tmp_path / "other")
    loaded = load_adapter_merged(tmp_path / "other")
    torch.testing.assert_close(logits(loaded.model), logits(wrapped), atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("end", ["embed_tokens", "lm_head"])
def test_lora_on_one_of_two_tied_matrices(end, saved, tmp_path):
    """Peft would merge it into both and say nothing."""
    base, _, _, _ = saved("qwen2", tied=True)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", end], task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(
        tmp_path / "other"
    )
    with pytest.raises(ModelError, match="embeddings that are the head too"):
        load_adapter_merged(tmp_path / "other")


def test_a_checkpoint_beside_its_adapter_config_is_a_checkpoint(saved):
    base, adapter, _, _ = saved()
    shutil.copy(adapter / "adapter_config.json", base)
    assert not is_adapter(base)


def test_what_is_no_lora_of_this_model(saved, tmp_path):
    _, adapter, _, _ = saved()
    config = json.loads((adapter / "adapter_config.json").read_text())
    weights = load_file(adapter / "adapter_model.safetensors")

    def spoil(changes=None, tensors=None):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(adapter, tmp_path / "bad")
        (tmp_path / "bad" / "adapter_config.json").write_text(json.dumps({**config, **(changes or {})}))
        if tensors is not None:
            save_file(tensors, tmp_path / "bad" / "adapter_model.safetensors")
        return tmp_path / "bad"

    with pytest.raises(ModelError, match="type IA3; expected LORA"):
        load_adapter_merged(spoil({"peft_type": "IA3"}))
    with pytest.raises(ModelError, match="names no base model"):
        load_adapter_merged(spoil({"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match=r"no file or directory './gone'"):
        load_adapter_merged(spoil({"base_model_name_or_path": "./gone"}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_adapter_merged(spoil({"target_modules": ["no_such_module"]}))
    first = sorted(weights)[0]
    with pytest.raises(ModelError, match=r"1 tensors .* do not match"):
        load_adapter_merged(spoil(tensors={name: weights[name] for name in weights if name != first}))
    with pytest.raises(ModelError, match=r"1 tensors .* do not match"):
        load_adapter_merged(
            spoil(tensors={**weights, "base_model.model.stray.lora_A.weight": torch.zeros(2)})
        )
    with pytest.raises(ModelError, match=f"{first}.*NaN"):
        load_adapter_merged(spoil(tensors={**weights, first: torch.full_like(weights[first], torch.nan)}))
    wrong = {**weights, first: torch.zeros(2, 5)}
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_adapter_merged(spoil(tensors=wrong))
    (spoil() / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_adapter_merged(tmp_path / "bad")
    (spoil() / "adapter_model.safetensors").rename(tmp_path / "bad" / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickle checkpoint"):
        load_adapter_merged(tmp_path / "bad")
