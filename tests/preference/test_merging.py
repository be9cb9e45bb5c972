"""Merging, tensor by tensor: every architecture against the same sums done in memory, bit by bit where they must be."""

import dataclasses

import pytest
import torch
from merge_helpers import ARCHITECTURES, load, logits, perturbed, read, same, saved, written
from safetensors.torch import load_file

from lingraft.errors import ArchitectureError, ConfigError
from lingraft.models.architecture import resolve
from lingraft.preference.merging import add_difference, interpolate
from lingraft.preference.merging_plans import chat_vector_plan, interpolation_plan, layer_swap_plan

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
