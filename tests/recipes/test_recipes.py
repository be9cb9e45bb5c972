"""Grafting recipes: the schema, a whole run on tiny models, killed and continued, and the demo's command line."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli import demo
from lingraft.errors import ConfigError, LingraftError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.recipes import graft
from lingraft.recipes.graft import run_graft, text_path
from lingraft.recipes.inputs import take_bytes
from lingraft.recipes.graft_schema import GraftRecipe, read_recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

FIELDS = {
    "title": "Euskara & <b>größer</b>",
    "model": "untied",
    "donor": "donor",
    "tokenizer": "target",
    "corpus": "corpus.txt",
    "held_out": "held.txt",
    "english": "english.txt",
    "method": "salt",
    "new_tokens": 40,
    "steps": 30,
    "batch_size": 2,
    "block_length": 16,
    "learning_rate": 2e-3,
    "warmup_steps": 2,
    "precision": "float32",
    "save_every": 4,
    "seed": 3,
}
HELD_OUT, ENGLISH = ["Zaldi gorria etxera doa.", "Größe: 99 €!"], ["The table has ten pages.", "Open it."]


def write_recipe(path, **changes):
    fields = {**FIELDS, **changes}
    path.write_text(yaml.safe_dump(fields, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The tiny world with held-out text and a recipe."""
    directory = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    tiny_world.write_lines(directory / "held.txt", HELD_OUT)
    tiny_world.write_lines(directory / "english.txt", ENGLISH)
    write_recipe(directory / "recipe.yaml")
    return directory


@pytest.fixture(autouse=True)
def inside(world, monkeypatch):
    monkeypatch.chdir(world)


@pytest.fixture(scope="module")
def uninterrupted(world):
    """The run directory and the result of a run from start to end, and what it said."""
    said, here = [], Path.cwd()
    os.chdir(world)
    try:
        result = run_graft(read_recipe(Path("recipe.yaml")), world / "whole", device="cpu", say=said.append)
    finally:
        os.chdir(here)
    return world / "whole", result, said


# ------------------------------------------------------------------------------------------------- schema


def test_the_built_in_recipe_is_valid():
    recipe = read_recipe(demo.BUILTIN)
    assert recipe.modes == ("replace", "extend") and recipe.steps == 100
    assert read_recipe(demo.BUILTIN, {"steps": 7}).steps == 7


def test_all_faults_stand_in_one_line(tmp_path):
    file = write_recipe(
        tmp_path / "bad.yaml", steps="viele", modes=["exchange"], learning_rate=-1, stpes=3, title=None
    )
    with pytest.raises(ConfigError) as raised:
        read_recipe(file)
    message = str(raised.value)
    assert "\n" not in message and str(file) in message
    for field in ("steps", "modes.0", "learning_rate", "stpes", "title"):
        assert f"{field}: " in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n- b\n", "holds a list"),
        (b"", "holds a NoneType"),
        (b"title: [unclosed\n", "recipe"),
        (b"\xff\xfe\x00", "recipe"),
        (b"1: one\ntitle: t\n", "model: "),
        (b"null: one\n", "model: "),
    ],
)
def test_files_that_are_no_recipe_are_one_line(tmp_path, content, said):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_recipe(file)
    assert said in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        read_recipe(tmp_path / "missing.yaml")


def test_texts_are_paths_or_files_of_assets(monkeypatch):
    monkeypatch.setattr(graft, "find_asset", lambda name: Path("cache") / name)
    assert text_path("größe.txt") == Path("größe.txt")
    assert text_path("asset:libreoffice-help-eu/train.txt") == Path("cache/libreoffice-help-eu/train.txt")
    for bad in ("asset:libreoffice-help-eu", "asset:libreoffice-help-eu/", "asset:"):
        with pytest.raises(ConfigError, match="asset:NAME/FILE"):
            text_path(bad)


# ---------------------------------------------------------------------------------------------- a whole run


def test_a_run_leaves_models_scores_and_a_page(uninterrupted, world):
    out, result, said = uninterrupted
    assert result.kind == "graft" and set(result.metrics) == {"replace", "extend", "unchanged"}
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["metrics"] == result.metrics
    for mode in ("replace", "extend"):
        model = AutoModelForCausalLM.from_pretrained(out / mode / "model")
        tokenizer = AutoTokenizer.from_pretrained(out / mode / "model")
        assert not any(path.suffix in {".bin", ".pt", ".pkl"} for path in (out / mode / "model").iterdir())
        text = "Ireki dokumentua."
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids).strip() == text
        assert max(ids) < model.config.vocab_size
        assert torch.isfinite(model(torch.tensor([ids])).logits).all()
        # The scores are those of the model that was kept.
        held_out = take_bytes(HELD_OUT, 16_000), take_bytes(ENGLISH, 8000)
        for name, texts in zip(("target", "english"), held_out, strict=True):
            score = bits_per_byte(model, tokenizer, texts).bits_per_byte
            assert result.metrics[mode]["after"][name] == pytest.approx(score, rel=1e-4)
        assert result.metrics[mode]["after"]["target"] != result.metrics[mode]["before"]["target"]
        stage = json.loads((out / f"{mode}.json").read_text(encoding="utf-8"))
        assert len(stage["losses"]) == stage["steps"] == 30 and stage["losses"][-1] < stage["losses"][0]
    source = AutoModelForCausalLM.from_pretrained(world / "untied")
    score = bits_per_byte(source, AutoTokenizer.from_pretrained(world / "untied"), HELD_OUT).bits_per_byte
    assert result.metrics["unchanged"]["before"]["target"] == pytest.approx(score, rel=1e-4)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Euskara &amp; &lt;b&gt;größer" in page and "data:image/" in page
    assert not any(outside in page for outside in ('src="http', 'href="http', "<link", "@import", str(world)))
    assert sum(line.startswith("replace: ") for line in said) == 2


def test_run_again_it_reads_back(uninterrupted, world):
    out, result, _ = uninterrupted
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run_graft(read_recipe(world / "recipe.yaml"), out, device="cpu")
    assert again == result
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    with pytest.raises(LingraftError, match=r"another command \(differs in: steps\)"):
        run_graft(read_recipe(world / "recipe.yaml", {"steps": 31}), out, device="cpu")


def test_killed_in_the_middle_and_started_again_it_gives_the_same_bytes(uninterrupted, world):
    """The real command line; its JSON stands alone on stdout."""
    whole, result, _ = uninterrupted
    command = [sys.executable, "-m", "lingraft.cli.demo", "--recipe", "recipe.yaml", "--out", "killed"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"}
    started = subprocess.Popen(
        [*command, "--device", "cpu"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    training, patience = world / "killed/replace/training", time.monotonic() + 100
    while not list(training.glob("checkpoint-*")) and started.poll() is None and time.monotonic() < patience:
        time.sleep(0.005)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert not (world / "killed/replace.json").exists(), "killed too late to show anything"
    (checkpoint,) = training.glob("checkpoint-*")
    assert int(checkpoint.name.split("-")[1]) < 30

    done = subprocess.run(
        [*command, "--device", "cpu", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert "Traceback" not in done.stderr
    for mode in ("replace", "extend"):
        ours, theirs = (folder / mode / "model/model.safetensors" for folder in (world / "killed", whole))
        assert ours.read_bytes() == theirs.read_bytes()
        stages = [json.loads((out / f"{mode}.json").read_text("utf-8")) for out in (whole, world / "killed")]
        for key in ("scores", "losses", "steps", "tokens", "flops", "origins", "inputs"):
            assert stages[0][key] == stages[1][key], key
    for name, measured in result.metrics.items():
        for key in ("before", "after", "flops"):
            assert printed["metrics"][name][key] == measured[key]


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "größer"},
        {"corpus": "copus.txt"},
        {"english": "nirgends.txt"},
        {"donor": "./donro"},
        {"model": "./modle"},
        {"block_length": 9000},
    ],
)
def test_bad_input_is_one_line_and_leaves_no_directory(world, tmp_path, capsys, monkeypatch, changes):
    file = write_recipe(tmp_path / "recipe.yaml", **changes)
    arguments = ["demo", "--recipe", str(file), "--out", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert demo.main() == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(next(iter(changes.values()))).strip("./") in errors[0]
    assert captured.out == "" and "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_unknown_modes_and_fields_are_refused():
    with pytest.raises(ValueError, match="extra"):
        GraftRecipe.model_validate({**FIELDS, "more": 1})
    with pytest.raises(ValueError, match="modes"):
        GraftRecipe.model_validate({**FIELDS, "modes": []})
