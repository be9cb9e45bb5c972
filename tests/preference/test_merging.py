"""Merging, tensor by tensor: every architecture against the same sums done in memory, bit by bit where they must be."""

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lingraft.errors import ArchitectureError, ConfigError, ModelError
from lingraft.models.architecture import resolve
from lingraft.preference import merging, tensor_stream
from lingraft.preference.merging import add_difference, interpolate, write_merge
from lingraft.preference.merging_inputs import Tokens, layer_of, read_checkpoint
from lingraft.preference.merging_plans import chat_vector_plan, interpolation_plan, layer_swap_plan
from lingraft.preference.tensor_stream import read_slots

_spec = importlib.util.spec_from_file_location(
    "tiny_architectures", Path(__file__).parents[1] / "models" / "conftest.py"
)
tiny_architectures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_architectures)
ARCHITECTURES, build = tiny_architectures.ARCHITECTURES, tiny_architectures.build

IDS = torch.randint(3, 480, (2, 9), generator=torch.Generator().manual_seed(5))


def perturbed(name, seed, *, tied=True, dtype=torch.float32, keep=()):
    """A tiny model whose weights differ from the built one's by seeded noise, but for those that `keep` names."""
    model = build(name, tied=tied, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            if key not in keep:
                parameter.add_(noise.to(dtype))
    return model


def saved(model, directory, **options):
    model.save_pretrained(directory, **options)
    return directory


def read(role, directory, tokens=None):
    return read_checkpoint(role, directory.name, directory, tokens)


def written(plan, first, directory):
    """Carry out a plan, with the config of the input that it names."""
    directory.mkdir()
    write_merge(directory, plan.tensors)
    shutil.copy(first / "config.json", directory)
    return directory


def load(directory, **options):
    options = {"attn_implementation": "eager", "output_loading_info": True, **options}
    model, report = AutoModelForCausalLM.from_pretrained(directory, **options)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.float()


def same(first, second):
    """Whether two state dicts are equal bit by bit, the sign of zero included."""
    assert first.keys() == second.keys()
    return all(
        value.dtype == second[key].dtype
        and torch.equal(value.contiguous().view(torch.uint8), second[key].contiguous().view(torch.uint8))
        for key, value in first.items()
    )


# --------------------------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_arithmetic(dtype):
    generator = torch.Generator().manual_seed(1)
    a, b, c = (torch.randn(7, 5, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    expected = 0.7 * a.double() + 0.3 * b.double()
    torch.testing.assert_close(interpolate(a, b, 0.3), expected, atol=1e-15, rtol=1e-15)
    expected = a.double() - 1.5 * (b.double() - c.double())
    torch.testing.assert_close(add_difference(a, b, c, -1.5), expected, atol=1e-15, rtol=1e-15)


def test_where_inputs_agree_every_bit_stays():
    values = torch.tensor([0.1, -0.0, 0.0, 1e-40, -3e38, 1 / 3])
    for amount in (0.0, 0.1, 1 / 3, 0.7, 1.0):
        kept = interpolate(values, values.clone(), amount).float()
        assert torch.equal(kept.view(torch.int32), values.view(torch.int32))
        kept = add_difference(values, values, values.clone(), amount).float()
        assert torch.equal(kept.view(torch.int32), values.view(torch.int32))
    other = torch.tensor([1e30, 0.0, -0.0, 1.0, 3e38, -1 / 3])
    assert torch.equal(interpolate(values, other, 0.0).float().view(torch.int32), values.view(torch.int32))
    assert torch.equal(interpolate(values, other, 1.0).float().view(torch.int32), other.view(torch.int32))


# ----------------------------------------------------------------------------------- every architecture


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_interpolation_of_every_architecture(name, tied, tmp_path):
    base, tuned = perturbed(name, 1, tied=tied), perturbed(name, 2, tied=tied)
    one, two = saved(base, tmp_path / "base"), saved(tuned, tmp_path / "tuned")
    inputs = read("base", one), read("tuned", two)
    merged = load(written(interpolation_plan(*inputs, 0.25), two, tmp_path / "out"))
    expected = base.state_dict()
    for key, value in tuned.state_dict().items():
        if value.is_floating_point():
            expected[key] = (0.75 * expected[key].double() + 0.25 * value.double()).float()
    assert same(merged.state_dict(), expected)
    base.load_state_dict(expected)
    assert torch.equal(logits(merged), logits(base))
    for weight, directory in ((0, one), (1, two)):
        out = written(interpolation_plan(*inputs, weight), two, tmp_path / f"out-{weight}")
        assert same(load_file(out / "model.safetensors"), load_file(directory / "model.safetensors"))


@pytest.mark.parametrize("outside", ["language", "task"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layer_swap_of_every_architecture(name, outside, tmp_path):
    language, task = perturbed(name, 1), perturbed(name, 2)
    directories = {
        role: saved(model, tmp_path / role) for role, model in {"language": language, "task": task}.items()
    }
    inputs = [read(role, directory) for role, directory in directories.items()]
    plan = layer_swap_plan(*inputs, bottom=1, top=1, outside=outside)
    merged = load(written(plan, directories[outside], tmp_path / "out"))
    kept = {"language": language, "task": task}
    expected = dict(kept[outside].state_dict())
    stacks = {role: resolve(model).layers for role, model in kept.items()}
    found = {id(value): key for key, value in kept[outside].named_parameters()}
    for index, role in enumerate(("language", "task", "language")):
        own, other = stacks[outside][index].layer, stacks[role][index].layer
        values = dict(other.named_parameters())
        expected |= {found[id(value)]: values[key].detach() for key, value in own.named_parameters()}
    assert same(merged.state_dict(), expected)
    assert set(plan.origins()) >= {"layers from language", "layers from task"}
    per_layer = [sum(tensor.layer == layer for tensor in plan.tensors) for layer in range(3)]
    assert per_layer[0] == per_layer[1] == per_layer[2] > 3


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_chat_vector(name, tied, tmp_path):
    models = {role: perturbed(name, seed, tied=tied) for seed, role in enumerate(("target", "chat", "base"))}
    directories = {role: saved(model, tmp_path / role) for role, model in models.items()}
    inputs = [read(role, directory) for role, directory in directories.items()]
    merged = load(written(chat_vector_plan(*inputs, 0.5), directories["target"], tmp_path / "out"))
    target, chat, base = (model.state_dict() for model in models.values())
    expected = {
        key: (value.double() + 0.5 * (chat[key].double() - base[key].double())).float()
        for key, value in target.items()
    }
    assert same(merged.state_dict(), expected)
    zero = written(chat_vector_plan(*inputs, 0.0), directories["target"], tmp_path / "zero")
    assert same(load_file(zero / "model.safetensors"), load_file(directories["target"] / "model.safetensors"))
    # The chat model itself, when the target is its base.
    itself = chat_vector_plan(dataclasses.replace(inputs[2], role="target"), inputs[1], inputs[2], 1.0)
    back = load(written(itself, directories["base"], tmp_path / "back")).state_dict()
    assert all(torch.allclose(back[key], chat[key], rtol=0, atol=1e-12) for key in chat)


# ------------------------------------------------------------------------------------- layers and their share


def test_transition_layers_are_a_weighted_mean(make_tiny_llama, tmp_path):
    models = {"language": make_tiny_llama(layers=6, seed=1), "task": make_tiny_llama(layers=6, seed=2)}
    inputs = [read(role, saved(model, tmp_path / role)) for role, model in models.items()]
    plan = layer_swap_plan(*inputs, bottom=2, top=1, bottom_transition=1, top_transition=1, share=0.75)
    origins = {tensor.layer: tensor.origin for tensor in plan.tensors}
    mean = "transition layers, mean of both"
    assert [origins[layer] for layer in range(6)] == [
        "layers from language",
        "layers from language",
        mean,
        "layers from task",
        mean,
        "layers from language",
    ]
    merged = load(written(plan, tmp_path / "language", tmp_path / "out")).state_dict()
    one, two = (model.state_dict() for model in models.values())
    for layer in (2, 4):
        key = f"model.layers.{layer}.mlp.up_proj.weight"
        assert torch.equal(merged[key], (0.25 * two[key].double() + 0.75 * one[key].double()).float())
    for share, role in ((0.0, "task"), (1.0, "language")):
        plan = layer_swap_plan(*inputs, bottom=2, top=1, bottom_transition=1, share=share)
        assert {t.origin for t in plan.tensors if t.layer == 2} == {f"layers from {role}"}


def test_all_layers_from_one_expert(make_tiny_llama, tmp_path):
    models = {"language": make_tiny_llama(seed=1), "task": make_tiny_llama(seed=2)}
    directories = {role: saved(model, tmp_path / role) for role, model in models.items()}
    inputs = [read(role, directory) for role, directory in directories.items()]
    out = written(layer_swap_plan(*inputs, bottom=1, top=1), directories["language"], tmp_path / "out")
    assert same(
        load_file(out / "model.safetensors"), load_file(directories["language"] / "model.safetensors")
    )


@pytest.mark.parametrize(
    "options",
    [
        {"bottom": 2, "top": 1},
        {"bottom": 0, "top": 0},
        {"bottom": 1, "top": 1, "bottom_transition": 1},
        {"bottom": -1, "top": 1},
        {"bottom": 1, "top": 0, "share": 1.5},
    ],
)
def test_layer_counts_that_do_not_fit(options, make_tiny_llama, tmp_path):
    directory = saved(make_tiny_llama(), tmp_path / "model")
    inputs = [read(role, directory) for role in ("language", "task")]
    with pytest.raises(ConfigError, match="the models' 2 layers"):
        layer_swap_plan(*inputs, **options)


def test_an_unknown_architecture_has_no_known_layers(tmp_path):
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=61,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=16,
    )
    models = [OPTForCausalLM(config) for _ in range(2)]
    one, two = (saved(model, tmp_path / str(number)) for number, model in enumerate(models))
    with pytest.raises(ArchitectureError, match="'opt'; expected one of bloom, gemma"):
        layer_swap_plan(read("language", one), read("task", two), bottom=1, top=0)
    # Interpolation asks for no layers.
    merged = load(
        written(interpolation_plan(read("base", one), read("tuned", two), 0.5), two, tmp_path / "out")
    )
    a, b = (model.state_dict() for model in models)
    key = "model.decoder.layers.1.fc1.weight"
    assert torch.equal(merged.state_dict()[key], ((a[key].double() + b[key].double()) / 2).float())


# ----------------------------------------------------------------------------------- how checkpoints are stored


def test_shards_stay_shards_and_may_differ(make_tiny_llama, tmp_path):
    base, tuned = make_tiny_llama(seed=1, tied=False), make_tiny_llama(seed=2, tied=False)
    one = saved(base, tmp_path / "base", max_shard_size="150KB")
    two = saved(tuned, tmp_path / "tuned", max_shard_size="90KB")
    whole = saved(tuned, tmp_path / "whole")
    names = sorted(file.name for file in two.glob("model*"))
    assert len(names) > 3
    inputs = [read("base", one), read("tuned", two)]
    out = written(interpolation_plan(*inputs, 0.5), two, tmp_path / "out")
    assert sorted(file.name for file in out.glob("model*")) == names
    index, theirs = (json.loads((d / "model.safetensors.index.json").read_text()) for d in (out, two))
    assert index["weight_map"] == theirs["weight_map"]
    assert index["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    single = written(interpolation_plan(inputs[0], read("tuned", whole), 0.5), whole, tmp_path / "single")
    assert same(load(out).state_dict(), load(single).state_dict())


def renamed(directory, rule, into):
    """A copy of a checkpoint with other tensor names."""
    shutil.copytree(directory, into)
    tensors = {rule(name): tensor for name, tensor in load_file(directory / "model.safetensors").items()}
    save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})
    return into


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gpt2", lambda name: name.removeprefix("transformer.")),
        ("bloom", lambda name: name.removeprefix("transformer.")),
        ("gpt_neox", lambda name: name.replace("embed_out.", "lm_head.")),
    ],
)
def test_older_names_mean_the_same_tensors(name, rule, tmp_path):
    base, tuned = perturbed(name, 1, tied=False), perturbed(name, 2, tied=False)
    one, two = saved(base, tmp_path / "base"), saved(tuned, tmp_path / "tuned")
    older = renamed(one, rule, tmp_path / "older")
    expected = load(
        written(interpolation_plan(read("base", one), read("tuned", two), 0.5), two, tmp_path / "a")
    ).state_dict()
    as_base = interpolation_plan(read("base", older), read("tuned", two), 0.5)
    assert same(load(written(as_base, two, tmp_path / "b")).state_dict(), expected)
    as_tuned = interpolation_plan(read("base", two), read("tuned", older), 0.5)
    assert same(load(written(as_tuned, older, tmp_path / "c")).state_dict(), expected)


@pytest.mark.parametrize("prefix", ["", "language_model."])
def test_gemma_3_with_its_vision_tower(prefix, tmp_path):
    """The text layers are counted, the vision tower's are not; today's names and those of first publication."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, SiglipVisionConfig

    text = tiny_architectures.MAKERS["gemma3_text"]().to_dict()
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = Gemma3Config(text_config=text, vision_config=vision.to_dict(), mm_tokens_per_image=4)
        models.append(Gemma3ForConditionalGeneration(config))
    language, task = (saved(model, tmp_path / str(number)) for number, model in enumerate(models))
    if prefix:
        language = renamed(
            language,
            lambda name: name.replace("model.language_model.", "language_model.model."),
            tmp_path / "older",
        )
    inputs = [read("language", language), read("task", task)]
    plan = layer_swap_plan(*inputs, bottom=1, top=1)
    origins = {(tensor.layer, tensor.origin) for tensor in plan.tensors if tensor.layer is not None}
    assert origins == {
        (0, "layers from language"),
        (1, "layers from task"),
        (2, "layers from language"),
    }
    out = written(plan, language, tmp_path / "out")
    merged = Gemma3ForConditionalGeneration.from_pretrained(out).state_dict()
    for layer, model in enumerate((models[0], models[1], models[0])):
        key = f"model.language_model.layers.{layer}.mlp.up_proj.weight"
        assert torch.equal(merged[key], model.state_dict()[key])
    key = next(key for key in merged if "vision_tower" in key and ".layers.0." in key)
    assert torch.equal(merged[key], models[0].state_dict()[key])


def test_buffers_are_the_first_inputs_own(make_tiny_llama, tmp_path):
    one, two = (saved(make_tiny_llama(seed=seed), tmp_path / str(seed)) for seed in (1, 2))
    tensors = load_file(two / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.rand(4)
    tensors["model.layers.0.attn.bias"] = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    tensors["model.layers.0.counter"] = torch.tensor(7)
    save_file(tensors, two / "model.safetensors", metadata={"format": "pt"})
    plan = interpolation_plan(read("base", one), read("tuned", two), 0.5)
    assert plan.origins()["buffers, from tuned"]["tensors"] == 3
    merged = load_file(written(plan, two, tmp_path / "out") / "model.safetensors")
    for name in ("model.layers.0.attn.bias", "model.layers.0.counter"):
        assert torch.equal(merged[name], tensors[name])
    # A base that carries them is no mismatch either.
    assert len(interpolation_plan(read("base", two), read("tuned", one), 0.5).tensors) == len(tensors) - 3


def test_a_stored_copy_of_a_tied_head(make_tiny_llama, tmp_path):
    one, two = (saved(make_tiny_llama(seed=seed), tmp_path / str(seed)) for seed in (1, 2))
    plain = written(interpolation_plan(read("base", one), read("tuned", two), 0.5), two, tmp_path / "plain")
    tensors = load_file(two / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, two / "model.safetensors", metadata={"format": "pt"})
    doubled = interpolation_plan(read("base", one), read("tuned", two), 0.5)
    assert same(load(written(doubled, two, tmp_path / "doubled")).state_dict(), load(plain).state_dict())
    dropped = interpolation_plan(read("base", two), read("tuned", one), 0.5)
    assert "lm_head.weight" not in {tensor.output.name for tensor in dropped.tensors}
    tensors["lm_head.weight"][3, 3] += 1
    save_file(tensors, two / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"base \(2\) has a head of its own, tuned \(1\) uses its embeddings"
    ):
        interpolation_plan(read("base", two), read("tuned", one), 0.5)
    apart = written(interpolation_plan(read("base", one), read("tuned", two), 0.5), two, tmp_path / "apart")
    merged = load_file(apart / "model.safetensors")
    assert not torch.equal(merged["lm_head.weight"], merged["model.embed_tokens.weight"])


def test_a_tied_base_and_an_untied_model(make_tiny_llama, tmp_path):
    base, tuned = make_tiny_llama(seed=1, tied=True), make_tiny_llama(seed=2, tied=False)
    one, two = saved(base, tmp_path / "base"), saved(tuned, tmp_path / "tuned")
    merged = load(
        written(interpolation_plan(read("base", one), read("tuned", two), 0.5), two, tmp_path / "out")
    )
    expected = (base.lm_head.weight.double() + tuned.lm_head.weight.double()) / 2
    assert torch.equal(merged.lm_head.weight, expected.float())
    assert not torch.equal(merged.lm_head.weight, merged.model.embed_tokens.weight)


# --------------------------------------------------------------------------------------------------- dtypes


def test_dtypes(make_tiny_llama, tmp_path):
    base, tuned = make_tiny_llama(seed=1), make_tiny_llama(seed=2, dtype=torch.bfloat16)
    one, two = saved(base, tmp_path / "base"), saved(tuned, tmp_path / "tuned")
    inputs = [read("base", one), read("tuned", two)]
    mixed = {
        key: 0.5 * base.state_dict()[key].double() + 0.5 * value.double()
        for key, value in tuned.state_dict().items()
    }
    for dtype, name in ((None, torch.bfloat16), ("F32", torch.float32), ("F16", torch.float16)):
        plan = interpolation_plan(*inputs, 0.5, dtype=dtype)
        out = load(written(plan, two, tmp_path / f"out-{dtype}"), dtype=name)
        assert same(out.state_dict(), {key: value.to(name) for key, value in mixed.items()})
        assert plan.dtypes() == {str(name).removeprefix("torch."): len(plan.tensors)}
    copied = written(interpolation_plan(*inputs, 0.0, dtype="F32"), two, tmp_path / "copied")
    assert same(load_file(copied / "model.safetensors"), load_file(one / "model.safetensors"))


def test_bfloat16_stays_exact_at_the_ends(make_tiny_llama, tmp_path):
    models = [make_tiny_llama(seed=seed, dtype=torch.bfloat16, tied=False) for seed in (1, 2)]
    one, two = (saved(model, tmp_path / str(number)) for number, model in enumerate(models))
    for weight, directory in ((0, one), (1, two)):
        plan = interpolation_plan(read("base", one), read("tuned", two), weight)
        out = written(plan, two, tmp_path / f"out-{weight}")
        assert (out / "model.safetensors").stat().st_size == (directory / "model.safetensors").stat().st_size
        assert same(load_file(out / "model.safetensors"), load_file(directory / "model.safetensors"))


def test_values_that_do_not_fit_are_refused(make_tiny_llama, tmp_path):
    model = make_tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = 1e6
    directory = saved(model, tmp_path / "model")
    inputs = [read(role, directory) for role in ("base", "tuned")]
    with pytest.raises(
        ModelError, match=r"layers\.1\.mlp\.up_proj\.weight up to 1e\+06 do not fit torch\.float16"
    ):
        written(interpolation_plan(*inputs, 0.5, dtype="F16"), directory, tmp_path / "out")


def test_files_are_aligned_and_say_their_format(make_tiny_llama, tmp_path):
    directory = saved(make_tiny_llama(), tmp_path / "model")
    tensors = load_file(directory / "model.safetensors")
    tensors["model.layers.0.attn.bias"] = torch.ones(3, dtype=torch.bool)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].double()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt", "note": "äöü"})
    inputs = [read(role, directory) for role in ("base", "tuned")]
    out = written(interpolation_plan(*inputs, 0.5), directory, tmp_path / "out") / "model.safetensors"
    for slot in read_slots(out.parent, "out").values():
        assert slot.start % tensor_stream.torch_dtype(slot.dtype).itemsize == 0
    with safe_open(out, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "note": "äöü"}
        assert all(torch.equal(opened.get_tensor(name), tensors[name]) for name in tensors)


@pytest.mark.parametrize("block", [1, 7, 64, 10**6])
def test_the_length_of_a_stretch_changes_nothing(block, make_tiny_llama, tmp_path, monkeypatch):
    one, two = (saved(make_tiny_llama(61, seed=seed, hidden=8), tmp_path / str(seed)) for seed in (1, 2))
    plan = interpolation_plan(read("base", one), read("tuned", two), 0.3)
    expected = load_file(written(plan, two, tmp_path / "expected") / "model.safetensors")
    whole = merging.read_blocks
    monkeypatch.setattr(merging, "read_blocks", lambda slots: whole(slots, block))
    assert same(load_file(written(plan, two, tmp_path / "out") / "model.safetensors"), expected)


def peak_of(work):
    """How many MiB the process's memory grew at most while `work` ran."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def value(name):
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024

    try:
        reset.write_text("5")
    except OSError:
        pytest.skip("this system does not let a process reset its peak memory")
    before = value("VmRSS")
    work()
    return value("VmHWM") - before


def test_memory_holds_no_whole_model(make_tiny_llama, tmp_path):
    """Two checkpoints of 128 MiB with one matrix of 64 MiB: less memory than that matrix."""
    directories = []
    for number in range(2):
        directory = saved(make_tiny_llama(64, hidden=8), tmp_path / str(number))
        tensors = load_file(directory / "model.safetensors")
        for name in ("model.layers.0.large.weight", "model.layers.1.large.weight"):
            tensors[name] = torch.full((4096, 4096), float(number))
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        del tensors
        directories.append(directory)
    plan = interpolation_plan(read("base", directories[0]), read("tuned", directories[1]), 0.5)
    written(plan, directories[1], tmp_path / "warm-up")
    assert peak_of(lambda: written(plan, directories[1], tmp_path / "out")) < 40
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as opened:
        large = opened.get_tensor("model.layers.1.large.weight")
        assert float(large.min()) == float(large.max()) == 0.5


# ------------------------------------------------------------------------------------------- vocabularies


def tokens(count, added=(), **changes):
    ordinary = {i: f"t{i}" for i in range(count) if i not in added}
    ordinary |= {int(key[1:]): value for key, value in changes.items()}
    return Tokens(ordinary, {i: f"<{i}>" for i in added})


def test_chat_vector_without_the_embeddings(make_tiny_llama, tmp_path):
    """A target with another vocabulary keeps its own embeddings and head; they are counted with the reason."""
    target = make_tiny_llama(640, tied=False, seed=1)
    chat, base = make_tiny_llama(600, tied=False, seed=2), make_tiny_llama(600, tied=False, seed=3)
    directories = {
        role: saved(model, tmp_path / role)
        for role, model in {"target": target, "chat": chat, "base": base}.items()
    }
    inputs = [read(role, directory) for role, directory in directories.items()]
    plan = chat_vector_plan(*inputs, 1.0)
    reason = "target has 640 rows of embeddings and chat 600; target has 640 rows of embeddings and base 600"
    assert plan.origins()[f"from target, no chat vector ({reason})"] == {
        "tensors": 2,
        "parameters": 2 * 640 * 32,
        "bytes": 2 * 640 * 32 * 4,
    }
    merged = load(written(plan, directories["target"], tmp_path / "out")).state_dict()
    assert torch.equal(merged["model.embed_tokens.weight"], target.model.embed_tokens.weight)
    assert torch.equal(merged["lm_head.weight"], target.lm_head.weight)
    key = "model.layers.1.self_attn.q_proj.weight"
    expected = (
        target.state_dict()[key].double() + chat.state_dict()[key].double() - base.state_dict()[key].double()
    )
    assert torch.equal(merged[key], expected.float())
    with pytest.raises(ConfigError, match="--embeddings add with target has 640 rows"):
        chat_vector_plan(*inputs, 1.0, embeddings="add")


def test_chat_vector_and_tokens(make_tiny_llama, tmp_path):
    directory = saved(make_tiny_llama(600), tmp_path / "model")

    def origins(target, chat, base, **options):
        inputs = [
            read(role, directory, found)
            for role, found in (("target", target), ("chat", chat), ("base", base))
        ]
        plan = chat_vector_plan(*inputs, 1.0, **options)
        return set(plan.origins()), plan.warnings

    same_tokens = tokens(600)
    assert origins(same_tokens, same_tokens, same_tokens) == ({"target + chat vector"}, ())
    # As many rows, other tokens: a row of the one has nothing to do with that of the other.
    shuffled = tokens(600, _7="x", _9="y")
    found, _ = origins(shuffled, same_tokens, same_tokens)
    assert "2 ids name other tokens in target than in chat" in " ".join(found)
    found, warnings = origins(shuffled, same_tokens, same_tokens, embeddings="add")
    assert found == {"target + chat vector"}
    assert "added to the embeddings although 2 ids name other tokens" in warnings[0]
    found, _ = origins(same_tokens, same_tokens, same_tokens, embeddings="skip")
    assert "from target, no chat vector (as asked)" in found
    # Markers that tuning put on spare rows are no other vocabulary.
    found, warnings = origins(same_tokens, tokens(600, added=(598, 599)), same_tokens)
    assert found == {"target + chat vector"}
    assert warnings == ("2 added tokens differ between target and chat",)
    assert origins(None, same_tokens, None)[0] == {"target + chat vector"}


def test_vocabularies_of_the_others(make_tiny_llama, tmp_path):
    one, two = saved(make_tiny_llama(600), tmp_path / "one"), saved(make_tiny_llama(640), tmp_path / "two")
    message = r"tuned has 640 rows of embeddings and base 600 \(two, one\); expected one vocabulary"
    with pytest.raises(ModelError, match=message):
        interpolation_plan(read("base", one), read("tuned", two), 0.5)
    with pytest.raises(ModelError, match="3 ids name other tokens in tuned than in base"):
        interpolation_plan(
            read("base", one, tokens(600)), read("tuned", one, tokens(600, _1="a", _2="b", _3="c")), 0.5
        )
    language, task = read("language", two), read("task", one)
    plan = layer_swap_plan(language, task, bottom=1, top=0)
    assert plan.warnings == (
        "language has 640 rows of embeddings and task 600: the result has those of language",
    )
    with pytest.raises(ModelError, match="would read the task expert's embeddings, but task has 600 rows"):
        layer_swap_plan(language, task, bottom=1, top=0, outside="task")


# ---------------------------------------------------------------------------------------------- what does not fit


def test_checkpoints_that_do_not_fit(make_tiny_llama, tmp_path):
    def plan(first, second):
        directories = [saved(model, tmp_path / f"{id(model)}") for model in (first, second)]
        return interpolation_plan(
            *(read(r, d) for r, d in zip(("base", "tuned"), directories, strict=True)), 0.5
        )

    with pytest.raises(ArchitectureError, match="architecture qwen2 and architecture llama"):
        plan(build("llama"), build("qwen2"))
    with pytest.raises(ArchitectureError, match=r"have 3 layers and 2 layers; expected one architecture"):
        plan(make_tiny_llama(layers=2), make_tiny_llama(layers=3))
    with pytest.raises(ArchitectureError, match="a width of 32 and a width of 64"):
        plan(make_tiny_llama(hidden=64), make_tiny_llama())
    with pytest.raises(
        ArchitectureError, match=r"mlp\.down_proj\.weight is \[32, 64\] in tuned .* and \[32, 48\] in"
    ):
        plan(make_tiny_llama(intermediate_size=48), make_tiny_llama())
    with pytest.raises(ArchitectureError, match=r"2 tensors .* \(first: .*q_proj\.bias, which base lacks\)"):
        directory = saved(make_tiny_llama(), tmp_path / "biased")
        tensors = load_file(directory / "model.safetensors")
        tensors |= {f"model.layers.{i}.self_attn.q_proj.bias": torch.zeros(32) for i in range(2)}
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        plain = saved(make_tiny_llama(), tmp_path / "plain")
        interpolation_plan(read("base", plain), read("tuned", directory), 0.5)


def test_configs_that_mean_other_things_are_told(make_tiny_llama, tmp_path):
    one = saved(make_tiny_llama(), tmp_path / "one")
    two = saved(make_tiny_llama(rms_norm_eps=1e-3), tmp_path / "two")
    plan = interpolation_plan(read("base", one), read("tuned", two), 0.5)
    assert plan.warnings == ("the configs of tuned and base differ: rms_norm_eps 0.001 and 1e-06",)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_values_that_are_not_finite_are_named(value, weight, make_tiny_llama, tmp_path):
    one, two = (saved(make_tiny_llama(seed=seed), tmp_path / f"model-{seed}") for seed in (1, 2))
    tensors = load_file(one / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][5, 5] = value
    save_file(tensors, one / "model.safetensors", metadata={"format": "pt"})
    plan = interpolation_plan(read("base", one), read("tuned", two), weight)
    with pytest.raises(
        ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.weight of model-1 holds NaN or infinity"
    ):
        written(plan, two, tmp_path / "out")


def test_other_inputs_that_are_refused(make_tiny_llama, tmp_path):
    directory = saved(make_tiny_llama(), tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    file = directory / "model.safetensors"
    tensors = load_file(file)

    def changed(**fields):
        (directory / "config.json").write_text(json.dumps({**config, **fields}))

    changed(num_hidden_layers=3)
    with pytest.raises(ArchitectureError, match=r"tensors of 2 layers under model\.layers; expected 3"):
        read("base", directory)
    changed(quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match="quantised"):
        read("base", directory)
    changed(tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"no tensor lm_head\.weight"):
        read("base", directory)
    changed()
    save_file({f"body.{name}": tensor for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    with pytest.raises(ArchitectureError, match=r"no tensor of model is named model\.layers\.0"):
        read("base", directory)
    save_file({**tensors, "extra": torch.zeros(2).to(torch.float8_e4m3fn)}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="a tensor of dtype F8_E4M3"):
        read("base", directory)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="0 \\(all base\\) to 1"):
            interpolation_plan(None, None, weight)
    with pytest.raises(ConfigError, match="scale inf"):
        chat_vector_plan(None, None, None, float("inf"))


def test_layers_by_name(make_tiny_llama, tmp_path):
    checkpoint = read("base", saved(make_tiny_llama(layers=12), tmp_path / "model"))
    assert layer_of(checkpoint, "model.layers.11.mlp.up_proj.weight") == 11
    assert layer_of(checkpoint, "model.norm.weight") is None


# ------------------------------------------------------------------------------------------------------ mergekit


@pytest.fixture
def mergekit(oracle):
    """Run mergekit on a configuration and return the tensors that it writes."""
    configuration = oracle("mergekit.config").MergeConfiguration
    merge, options = oracle("mergekit.merge"), oracle("mergekit.options")

    def run(config, out):
        chosen = options.MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False)
        merge.run_merge(configuration.model_validate(config), str(out), chosen)
        found = {}
        for file in out.glob("*.safetensors"):
            found |= load_file(file)
        return found

    return run


@pytest.fixture
def three(make_tiny_llama, tmp_path):
    """Three tiny untied models on the disk."""
    return [
        saved(make_tiny_llama(seed=seed, tied=False, layers=4), tmp_path / f"m{seed}") for seed in range(3)
    ]


def close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], atol=3e-7, rtol=3e-7)


def test_mergekit_linear(mergekit, three, tmp_path):
    base, tuned, _ = three
    theirs = mergekit(
        {
            "merge_method": "linear",
            "dtype": "float32",
            "models": [
                {"model": str(base), "parameters": {"weight": 0.3}},
                {"model": str(tuned), "parameters": {"weight": 0.7}},
            ],
        },
        tmp_path / "theirs",
    )
    plan = interpolation_plan(read("base", base), read("tuned", tuned), 0.7)
    close(load_file(written(plan, tuned, tmp_path / "ours") / "model.safetensors"), theirs)


def test_mergekit_task_arithmetic(mergekit, three, tmp_path):
    target, chat, base = three
    theirs = mergekit(
        {
            "merge_method": "task_arithmetic",
            "dtype": "float32",
            "base_model": str(base),
            "models": [
                {"model": str(target), "parameters": {"weight": 1.0}},
                {"model": str(chat), "parameters": {"weight": 0.6}},
            ],
        },
        tmp_path / "theirs",
    )
    inputs = [read(role, d) for role, d in zip(("target", "chat", "base"), three, strict=True)]
    plan = chat_vector_plan(*inputs, 0.6)
    close(load_file(written(plan, target, tmp_path / "ours") / "model.safetensors"), theirs)


def test_mergekit_passthrough(mergekit, three, tmp_path):
    language, task, _ = three
    slices = [(language, [0, 1]), (task, [1, 3]), (language, [3, 4])]
    theirs = mergekit(
        {
            "merge_method": "passthrough",
            "dtype": "float32",
            "slices": [{"sources": [{"model": str(d), "layer_range": span}]} for d, span in slices],
        },
        tmp_path / "theirs",
    )
    plan = layer_swap_plan(read("language", language), read("task", task), bottom=1, top=1)
    ours = load_file(written(plan, language, tmp_path / "ours") / "model.safetensors")
    assert same(ours, theirs)
