"""What can be merged with what: vocabularies, shapes, layers, and one line where it cannot."""

import json

import pytest
import torch
from merge_helpers import build, load, read, saved, tokens, written
from safetensors.torch import load_file, save_file

from lingraft.errors import ArchitectureError, ConfigError, ModelError
from lingraft.preference.merging_inputs import layer_of
from lingraft.preference.merging_plans import chat_vector_plan, interpolation_plan, layer_swap_plan

# ------------------------------------------------------------------------------------------- vocabularies


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
