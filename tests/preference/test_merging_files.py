"""Merging, file by file: shards, older names, buffers, tied heads, dtypes, and how much memory it takes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from merge_helpers import load, perturbed, read, same, saved, tiny_architectures, written
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lingraft.errors import ModelError
from lingraft.preference import merging, tensor_stream
from lingraft.preference.merging_plans import interpolation_plan, layer_swap_plan
from lingraft.preference.tensor_stream import read_slots

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
