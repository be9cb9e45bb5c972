"""A whole recipe on tiny models through the command line: alone, in two processes, on a local Ray cluster, killed."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.preference.items import PairedItem, write_items

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

RECIPE = """\
language: de
model: ./model
data:
  corpus: german.txt
  held_out: held.txt
  english: english.txt
  english_held_out: english_held.txt
  pairs: pairs.jsonl
  held_out_pairs: held_pairs.jsonl
stages:
  vocabulary: {mode: extend, new_tokens: 8, method: subword-mean}
  pretrain:
    {steps: 4, batch_size: 4, block_length: 16, learning_rate: 1e-3, precision: float32, evaluations: 1,
     warmup_steps: 1}
  preference:
    {batch_size: 4, steps: 3, learning_rate: 1e-3, precision: float32, template: plain, parameters: full,
     evaluations: 1, fidelity_prompts: 0}
  evaluate: {template: plain, max_new_tokens: 4, fidelity_prompts: 2, english_prompts: 1}
"""
ENGLISH = [
    "the size of the street",
    "open the document now",
    "choose a format here",
    "the paper is wide enough",
]
GERMAN = [
    "die Größe der Straße",
    "öffnen Sie das Dokument",
    "wählen Sie ein Format",
    "das Papier ist breit genug",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    tiny_world.make_world(directory)
    for name, texts, rows in (("german", GERMAN, 48), ("english", ENGLISH, 48)):
        lines = [f"{texts[n % 4]} {n}, {texts[(3 * n + 1) % 4]}" for n in range(rows)]
        (directory / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (directory / "held.txt").write_text("die Straße ist breit\nwählen Sie das Papier\n", encoding="utf-8")
    (directory / "english_held.txt").write_text("the street is wide\nchoose the paper\n", encoding="utf-8")
    items = [
        PairedItem(
            f"{ENGLISH[n % 4]} {n}?", ENGLISH[(n + 1) % 4], f"{GERMAN[n % 4]} {n}?", GERMAN[(n + 1) % 4], "de"
        )
        for n in range(17)
    ]
    write_items(directory / "pairs.jsonl", items[:12])
    write_items(directory / "held_pairs.jsonl", items[12:])
    (directory / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def alone(world: Path) -> Path:
    """The run that the others are compared with."""
    before = Path.cwd()
    os.chdir(world)
    try:
        assert main(["run", "recipe.yaml", "--out", "alone", "--device", "cpu"]) == 0
    finally:
        os.chdir(before)
    return world / "alone"


def command(out: str, *changes: str) -> list[str]:
    base = [sys.executable, "-m", "lingraft.cli.app", "run", "recipe.yaml", "--out", out, "--device", "cpu"]
    return base + [part for change in changes for part in ("--set", change)]


def launch(world: Path, out: str, *changes: str) -> "subprocess.CompletedProcess[str]":
    """Run the recipe in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(out, *changes), cwd=world, env=environment, capture_output=True, text=True, check=False
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_it_leaves_a_model_that_plain_transformers_loads_and_a_report(alone: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(alone / "model")
    tokenizer = AutoTokenizer.from_pretrained(alone / "model")
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    page = (alone / "report.html").read_text(encoding="utf-8")
    for text in ("vocabulary", "pretrain", "preference", "evaluate", "bits per byte"):
        assert text in page
    assert "library_name: transformers" in (alone / "model" / "README.md").read_text(encoding="utf-8")
    kept = yaml.safe_load((alone / "recipe.yaml").read_text(encoding="utf-8"))
    assert list(kept["resolved"]["stages"]) == ["vocabulary", "pretrain", "preference", "evaluate"]


def test_it_prints_its_result_as_json_alone(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(alone.parent)
    assert main(["run", "recipe.yaml", "--out", "alone", "--device", "cpu", "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert [stage["kind"] for stage in result["stages"]][-1] == "evaluate"
    assert told.err.count("kept from before") == 4


@pytest.mark.slow
def test_two_processes_train_what_one_trains(alone: Path, world: Path) -> None:
    out = "two"
    done = launch(world, out, "scale.processes=2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "in 2 processes" in done.stderr
    one, two = weights(alone), weights(world / out)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
    keys = [json.loads((run / "run.json").read_text())["stages"] for run in (alone, world / out)]
    assert [s["key"] for s in keys[0]] == [s["key"] for s in keys[1]], "how wide it ran changes no result"


@pytest.mark.slow
def test_an_error_in_two_processes_is_one_line(world: Path) -> None:
    done = launch(world, "bad", "scale.processes=2", "pretrain.batch_size=3")
    told = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert done.returncode == 2 and len(told) == 1, done.stderr
    assert told[0].startswith("error: a batch of 3") and "Traceback" not in done.stderr


@pytest.mark.slow
def test_killed_anywhere_it_ends_with_the_same_models(alone: Path, world: Path) -> None:
    for stage in ("pretrain-", "preference-", "evaluate-"):
        with subprocess.Popen(
            command("killed"),
            cwd=world,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        ) as process:
            until = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < until:
                if any(file.is_file() for file in (world / "killed").glob(f"stages/{stage}*/*/*")):
                    break
                time.sleep(0.02)
            process.kill()
    before = Path.cwd()
    os.chdir(world)
    try:
        assert main(["run", "recipe.yaml", "--out", "killed", "--device", "cpu"]) == 0
    finally:
        os.chdir(before)
    one, two = weights(alone), weights(world / "killed")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert metrics(alone) == metrics(world / "killed")


def metrics(run: Path) -> dict[str, str]:
    """What every stage found, without where it lies."""
    stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    found = {
        stage["name"]: json.loads((run / stage["directory"] / "result.json").read_text(encoding="utf-8"))[
            "metrics"
        ]
        for stage in stages
    }
    return {name: json.dumps(value).replace(f"{run.name}/", "run/") for name, value in found.items()}
