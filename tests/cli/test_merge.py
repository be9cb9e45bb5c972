"""`lingraft merge` end to end: what a user types, what lies on the disk, what transformers makes of it."""

import contextlib
import errno
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli import merge as cli
from lingraft.cli.app import main
from lingraft.preference import merging
from lingraft.recipes.merging import verbs as merging_verbs
from lingraft.training.lora import add_lora, merge_lora

ENGLISH = "The quick brown fox opened the document; Größe 12345 € — 안녕하세요."
CHAT = [{"role": "user", "content": "Habari ya asubuhi?"}]


@pytest.fixture
def world(tmp_path, monkeypatch, make_tiny_llama, byte_bpe_tokenizer):
    """Four models of three layers and one vocabulary, each with a generation config of its own."""
    for seed, name in enumerate(("base", "tuned", "chat", "target")):
        model = make_tiny_llama(600, layers=3, seed=seed, tied=True)
        model.generation_config.max_new_tokens = 10 + seed
        model.save_pretrained(tmp_path / name)
        byte_bpe_tokenizer.chat_template = f"{{# {name} #}}" + "{{ messages[0]['content'] }}"
        byte_bpe_tokenizer.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(verb, **options):
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return main(["merge", verb, *given])


def reload(directory):
    """Model and tokenizer as a stranger loads them."""
    model, report = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval(), AutoTokenizer.from_pretrained(directory)


def logits(model, tokenizer, text=ENGLISH):
    with torch.no_grad():
        return model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits


def weights(directory):
    return load_file(Path(directory) / "model.safetensors")


def listing(directory):
    return sorted(path.name for path in Path(directory).iterdir())


def only_line(capsys):
    """The one line that a refused command printed."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_interpolate(world, capsys):
    assert run("interpolate", base="base", tuned="tuned", weight=0.25, out="out") == 0
    text = capsys.readouterr().out
    one, two = weights("base"), weights("tuned")
    merged = weights("out")
    assert merged.keys() == two.keys()
    for key, value in merged.items():
        assert torch.equal(value, (0.75 * one[key].double() + 0.25 * two[key].double()).float())
    model, tokenizer = reload("out")
    expected, _ = reload("tuned")
    expected.load_state_dict(model.state_dict())
    assert torch.equal(logits(model, tokenizer), logits(expected, tokenizer))
    assert not torch.allclose(logits(model, tokenizer), logits(*reload("tuned")), atol=0.1)
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == "Habari ya asubuhi?"
    assert "# tuned #" in tokenizer.chat_template
    assert model.generation_config.max_new_tokens == 11
    size = sum(value.nbytes for value in merged.values()) / 2**20
    assert f"{len(merged)} tensors, {size:.1f} MiB, float32" in text
    assert re.search(rf"interpolated +{len(merged)} tensors", text)
    assert "checkpoint: out" in text
    result = json.loads((world / "out" / "result.json").read_text())
    assert result["kind"] == "merge interpolate"
    assert result["counts"]["tensors"] == {"interpolated": len(merged)}
    assert [item["role"] for item in result["inputs"]] == ["base", "tuned"]
    assert all(item["revision"].startswith("sha256:") for item in result["inputs"])
    recipe = yaml.safe_load((world / "out" / "recipe.yaml").read_text())
    assert recipe["recipe"] == {
        "merge": "interpolate",
        "base": "base",
        "tuned": "tuned",
        "weight": 0.25,
        "tokenizer_from": "tuned",
        "dtype": None,
    }
    card = (world / "out" / "README.md").read_text()
    assert "- base: `base` (sha256:" in card
    assert "Options of `lingraft merge interpolate`:\n\n- weight: 0.25\n- tokenizer_from: tuned\n\n" in card
    assert "Layer by layer" in (world / "out" / "report.html").read_text()
    assert listing(world) == ["base", "chat", "out", "target", "tuned"]


def test_the_card_names_no_path_of_this_machine(world, monkeypatch):
    (world / "My Secrets").mkdir()
    shutil.copytree(world / "base", world / "My Secrets" / "größe")
    base, out = world / "My Secrets" / "größe", world / "My Secrets" / "out"
    given = {"base": f"{base}/", "tuned": "../" + world.name + "/tuned", "out": out}
    monkeypatch.setattr(sys, "argv", ["lingraft", "merge", *map(str, given.values())])
    assert run("interpolate", **given) == 0
    assert "My Secrets" in (out / "recipe.yaml").read_text(encoding="utf-8")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "- base: `größe` (sha256:" in card and "- tuned: `tuned` (sha256:" in card
    assert "Secrets" not in card and world.name not in card and "/" not in card


def test_the_ends_are_the_inputs_bit_by_bit(world):
    for weight, name in ((0, "base"), (1, "tuned")):
        assert run("interpolate", base="base", tuned="tuned", weight=weight, out=f"out-{name}") == 0
        ours, theirs = weights(f"out-{name}"), weights(name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key].view(torch.int32), theirs[key].view(torch.int32)) for key in ours)


def test_the_same_command_is_not_run_twice(world, capsys):
    assert run("interpolate", base="base", tuned="tuned", out="out") == 0
    first = (world / "out" / "model.safetensors").stat()
    assert run("interpolate", base="base", tuned="tuned", out="out") == 0
    second = (world / "out" / "model.safetensors").stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    capsys.readouterr()
    assert run("interpolate", base="base", tuned="tuned", weight=0.4, out="out") == 2
    assert re.search(r"another command \(differs in: weight\)", only_line(capsys))
    shutil.copy(world / "chat" / "model.safetensors", world / "tuned" / "model.safetensors")
    assert run("interpolate", base="base", tuned="tuned", out="out") == 2
    assert re.search(r"differs in: content of tuned", only_line(capsys))


def test_layer_swap(world, capsys):
    arguments = ["--language", "tuned", "--task", "base", "--bottom", "1", "--top", "1", "--out", "out"]
    assert main(["merge", "layer-swap", *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    merged, language, task = weights("out"), weights("tuned"), weights("base")
    for key, value in merged.items():
        assert torch.equal(value, (task if ".layers.1." in key else language)[key])
    assert result["counts"]["tensors"] == {
        "outside the layers, from language": 2,
        "layers from language": 18,
        "layers from task": 9,
    }
    assert sum(result["counts"]["bytes"].values()) == result["metrics"]["bytes"]
    assert result["out"] == "out"
    model, tokenizer = reload("out")
    assert "# tuned #" in tokenizer.chat_template
    expected, _ = reload("tuned")
    expected.model.layers[1] = reload("base")[0].model.layers[1]
    assert torch.equal(logits(model, tokenizer), logits(expected, tokenizer))


def test_layer_swap_with_the_outside_of_the_task(world):
    arguments = {"language": "tuned", "task": "base", "bottom": 1, "top": 0, "outside": "task"}
    assert run("layer-swap", **arguments, tokenizer_from="language", out="out") == 0
    merged, language, task = weights("out"), weights("tuned"), weights("base")
    for key, value in merged.items():
        assert torch.equal(value, (language if ".layers.0." in key else task)[key])
    assert "# tuned #" in reload("out")[1].chat_template


def test_chat_vector(world, capsys):
    assert run("chat-vector", target="target", chat="chat", base="base", scale=0.5, out="out") == 0
    target, chat, base = weights("target"), weights("chat"), weights("base")
    for key, value in weights("out").items():
        expected = target[key].double() + 0.5 * (chat[key].double() - base[key].double())
        assert torch.equal(value, expected.float())
    model, tokenizer = reload("out")
    assert "# chat #" in tokenizer.chat_template
    assert model.generation_config.max_new_tokens == 12
    assert "generation config from chat" in capsys.readouterr().out
    arguments = {"target": "target", "chat": "chat", "base": "base", "tokenizer_from": "target"}
    assert run("chat-vector", **arguments, out="own") == 0
    assert "# target #" in reload("own")[1].chat_template


def test_chat_vector_into_another_vocabulary(world, make_tiny_llama, unigram_tokenizer, capsys):
    model = make_tiny_llama(len(unigram_tokenizer), layers=3, seed=9)
    model.save_pretrained("swahili")
    unigram_tokenizer.save_pretrained("swahili")
    rows = len(unigram_tokenizer)
    assert run("chat-vector", target="swahili", chat="chat", base="base", out="out") == 0
    text = capsys.readouterr().out
    assert re.search(
        rf"from target, no chat vector \(target has {rows} rows .* chat 600; .*\) +1 tensors", text
    )
    assert re.search(r"target \+ chat vector .* 28 tensors", text)
    assert torch.equal(
        weights("out")["model.embed_tokens.weight"], weights("swahili")["model.embed_tokens.weight"]
    )
    merged, tokenizer = reload("out")
    assert tokenizer.get_vocab() == unigram_tokenizer.get_vocab()
    assert logits(merged, tokenizer).shape[-1] == rows
    capsys.readouterr()
    arguments = {"target": "swahili", "chat": "chat", "base": "base", "out": "other"}
    assert run("chat-vector", **arguments, tokenizer_from="chat") == 2
    assert f"--tokenizer-from chat, but target has {rows} rows" in only_line(capsys)
    assert run("chat-vector", **arguments, embeddings="add") == 2
    assert "give --embeddings skip" in only_line(capsys)
    assert "other" not in listing(world)


def test_a_chat_model_that_is_its_own_base(world, capsys):
    """Somebody's slip: the vector is zero, the result the target."""
    assert run("chat-vector", target="target", chat="base", base="base", out="out") == 0
    assert "warning: chat and base have the same weights" in capsys.readouterr().out
    ours, theirs = weights("out"), weights("target")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_special_ids_go_with_the_tokenizer(world, byte_bpe_tokenizer):
    config = json.loads((world / "chat" / "config.json").read_text())
    (world / "chat" / "config.json").write_text(json.dumps({**config, "eos_token_id": [2, 7]}))
    byte_bpe_tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})
    byte_bpe_tokenizer.save_pretrained(world / "chat")
    assert run("chat-vector", target="target", chat="chat", base="base", out="out") == 0
    model, tokenizer = reload("out")
    assert model.config.eos_token_id == [2, 7]
    assert tokenizer.eos_token == "<|endoftext|>"


def test_dtype(world):
    assert run("interpolate", base="base", tuned="tuned", dtype="bfloat16", out="out") == 0
    assert {value.dtype for value in weights("out").values()} == {torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained("out", dtype="auto")
    assert model.dtype == torch.bfloat16
    result = json.loads((world / "out" / "result.json").read_text())
    assert result["counts"]["dtypes"] == {"bfloat16": 29}


# ------------------------------------------------------------------------------------------------- adapters


@pytest.fixture
def adapter(world, byte_bpe_tokenizer):
    """A LoRA adapter of `base` in `adapter`, and what merging it gives."""
    pytest.importorskip("peft", reason="peft is not installed: it comes with lingraft[train]")
    model, _ = reload("base")
    wrapped = add_lora(model, rank=2, alpha=4, reference="base")
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    wrapped.save_pretrained("adapter")
    unmerged = logits(wrapped, byte_bpe_tokenizer)
    return merge_lora(wrapped).state_dict(), unmerged


def test_an_adapter_is_merged_first(world, adapter, capsys):
    merged, unmerged = adapter
    assert run("interpolate", base="base", tuned="adapter", weight=1, out="whole") == 0
    assert all(torch.equal(value, merged[key]) for key, value in weights("whole").items())
    torch.testing.assert_close(logits(*reload("whole")), unmerged, atol=2e-5, rtol=1e-5)
    assert run("interpolate", base="base", tuned="adapter", weight=0.5, out="half") == 0
    base = weights("base")
    for key, value in weights("half").items():
        assert torch.equal(value, (0.5 * base[key].double() + 0.5 * merged[key].double()).float())
        changed = re.search(r"\.[qkvo]_proj\.", key) is not None
        assert changed is not torch.equal(value, base[key])
    assert "merged-adapters" not in listing("half")
    assert "# base #" in reload("half")[1].chat_template
    result = json.loads((world / "half" / "result.json").read_text())
    assert result["inputs"][1]["reference"] == "adapter"
    assert re.fullmatch(r"sha256:\w+ \+ sha256:\w+", result["inputs"][1]["revision"])
    assert listing(world) == ["adapter", "base", "chat", "half", "target", "tuned", "whole"]


def test_an_adapter_in_a_wider_type_than_its_base(world, adapter):
    AutoModelForCausalLM.from_pretrained("base").bfloat16().save_pretrained("base")
    arguments = {"base": "base", "tuned": "adapter", "weight": 1}
    assert run("interpolate", **arguments, dtype="float32", out="wide") == 0
    assert run("interpolate", **arguments, out="narrow") == 0
    wide, narrow, base = weights("wide"), weights("narrow"), weights("base")
    key = "model.layers.0.self_attn.q_proj.weight"
    assert narrow[key].dtype == base[key].dtype == torch.bfloat16
    assert not torch.equal(wide[key], wide[key].bfloat16().float())
    assert torch.equal(wide[key].bfloat16(), narrow[key])
    assert torch.equal(wide["model.norm.weight"], base["model.norm.weight"].float())


def test_an_adapter_without_its_base(world, adapter, capsys):
    shutil.rmtree("base")
    assert run("interpolate", base="tuned", tuned="adapter", out="out") == 2
    assert re.search(r"'base'", only_line(capsys))
    assert "out" not in listing(world)
    assert not list(world.glob(".*.part"))


# --------------------------------------------------------------------------------------------- bad input


def nan(world):
    tensors = weights("tuned")
    tensors["model.layers.1.mlp.up_proj.weight"][5, 5] = torch.nan
    save_file(tensors, world / "tuned" / "model.safetensors", metadata={"format": "pt"})


def other_architecture(world):
    config = json.loads((world / "tuned" / "config.json").read_text())
    (world / "tuned" / "config.json").write_text(json.dumps({**config, "model_type": "mistral"}))


def fewer_layers(world):
    file = world / "tuned" / "model.safetensors"
    save_file(
        {k: v for k, v in load_file(file).items() if ".layers.2." not in k}, file, metadata={"format": "pt"}
    )
    config = json.loads((world / "tuned" / "config.json").read_text())
    (world / "tuned" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))


def other_vocabulary(world):
    content = json.loads((world / "tuned" / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    one, two = list(vocabulary)[300:302]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (world / "tuned" / "tokenizer.json").write_text(json.dumps(content))


def truncated(world):
    file = world / "tuned" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def pickled(world):
    (world / "tuned" / "model.safetensors").rename(world / "tuned" / "pytorch_model.bin")


def taken(world):
    (world / "out").mkdir()
    (world / "out" / "thesis.tex").write_text("x")


CASES = {
    "nan": (nan, r"model\.layers\.1\.mlp\.up_proj\.weight of tuned holds NaN or infinity"),
    "architecture": (other_architecture, r"architecture mistral and architecture llama"),
    "layers": (fewer_layers, r"tuned \(tuned\) and base \(base\) have 2 layers and 3 layers"),
    "vocabulary": (other_vocabulary, r"2 ids name other tokens in tuned than in base"),
    "truncated": (truncated, r"has 5000 bytes; expected \d+ bytes"),
    "pickle": (pickled, r"pickled weights"),
    "missing": (lambda world: shutil.rmtree(world / "tuned"), r"'tuned'.*check the spelling"),
    "taken": (taken, r"out is not empty and was not made by lingraft.*--out"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, world, capsys):
    spoil, message = CASES[case]
    spoil(world)
    before = listing(world)
    assert run("interpolate", base="base", tuned="tuned", out="out") == 2
    assert re.search(message, only_line(capsys))
    assert listing(world) == before


def test_bad_options(world, capsys):
    assert run("interpolate", base="base", tuned="tuned", weight=1.5, out="out") == 2
    assert "--weight" in only_line(capsys)
    assert run("interpolate", base="base", tuned="tuned", dtype="int8", out="out") == 2
    assert "dtype 'int8'" in only_line(capsys)
    assert run("layer-swap", language="base", task="tuned", bottom=2, top=2, out="out") == 2
    assert "no more than the models' 3 layers" in only_line(capsys)
    assert run("chat-vector", target="target", chat="chat", base="base", scale="nan", out="out") == 2
    assert "scale nan" in only_line(capsys)
    assert listing(world) == ["base", "chat", "target", "tuned"]


def test_a_disk_that_fills(world, capsys, monkeypatch):
    whole = merging.write_file

    def half(path, outputs, blocks, metadata):
        whole(path, outputs, blocks, metadata)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(merging, "write_file", half)
    assert run("interpolate", base="base", tuned="tuned", out="out") == 2
    assert "could not write out: No space left on device" in only_line(capsys)
    assert listing(world) == ["base", "chat", "target", "tuned"]


def test_a_disk_that_is_too_small(world, capsys, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert run("interpolate", base="base", tuned="tuned", out="out") == 2
    assert "1 MiB free" in only_line(capsys)
    assert listing(world) == ["base", "chat", "target", "tuned"]


KILLED = """
import os, signal
from lingraft.cli import merge as cli
from lingraft.cli.app import main
from lingraft.preference import merging
from lingraft.recipes.merging import verbs as merging_verbs
merging.write_index = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main("merge interpolate --base base --tuned tuned --out out".split())
"""


def test_a_killed_merge_is_started_again(world):
    ended = subprocess.run([sys.executable, "-c", KILLED], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr
    assert "out" not in listing(world)
    assert len(list(world.glob(".out.*.part"))) == 1
    assert run("interpolate", base="base", tuned="tuned", out="out") == 0
    assert listing(world) == ["base", "chat", "out", "target", "tuned"]


def test_without_a_tokenizer(world, capsys):
    """What training saves on its way: weights and config alone."""
    for name in ("base", "tuned"):
        for file in (world / name).glob("*token*"):
            file.unlink()
        with contextlib.suppress(FileNotFoundError):
            (world / name / "chat_template.jinja").unlink()
    assert run("interpolate", base="base", tuned="tuned", out="out") == 0
    assert "warning: no tokenizer was found" in capsys.readouterr().out
    assert AutoModelForCausalLM.from_pretrained("out").config.vocab_size == 600


@pytest.mark.parametrize(
    ("verb", "recipe"),
    [
        ("layer_swap", "run_layer_swap"),
        ("chat_vector", "run_chat_vector"),
        ("interpolate", "run_interpolation"),
    ],
)
def test_command_line_and_function_take_the_same(verb, recipe):
    command = inspect.signature(getattr(cli, verb)).parameters
    function = inspect.signature(getattr(merging_verbs, recipe)).parameters
    assert command.keys() - {"json"} == function.keys()
    for name in function:
        assert command[name].default == function[name].default


def test_help_shows_examples(capsys):
    for verb in ("layer-swap", "chat-vector", "interpolate"):
        assert main(["merge", verb, "--help"]) == 0
        assert f"lingraft merge {verb} --" in capsys.readouterr().out


def test_equal_tokenizer_files_are_not_opened(world, monkeypatch):
    from lingraft.recipes.merging import run as recipe

    monkeypatch.setattr(recipe, "open_tokenizer", lambda *_, **__: pytest.fail("opened"))
    assert run("interpolate", base="base", tuned="tuned", out="out") == 0


def test_terms_go_with_the_files(world):
    for name in ("LICENSE", "NOTICE.md", "GEMMA_TERMS.html"):
        (world / "tuned" / name).write_text(name)
    (world / "tuned" / "training_args.bin").write_bytes(b"pickle")
    assert run("interpolate", base="base", tuned="tuned", out="out") == 0
    assert {"LICENSE", "NOTICE.md", "GEMMA_TERMS.html"} < set(listing("out"))
    assert "training_args.bin" not in listing("out")


@pytest.mark.real
def test_a_real_model_with_itself(real_asset, tmp_path):
    """Whatever the weight, what both agree on stays as it is, in every bit."""
    asset = real_asset("smollm2-135m-instruct")
    name = "smollm2-135m-instruct"
    arguments = ["--base", name, "--tuned", str(asset), "--weight", "0.3", "--out", str(tmp_path / "out")]
    assert main(["merge", "interpolate", *arguments]) == 0
    ours, theirs = weights(tmp_path / "out"), weights(asset)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
