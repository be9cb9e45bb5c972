"""`lingraft pretrain` end to end on a tiny model: what it leaves, kills, two processes, one line for bad input."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.evaluation.likelihood import bits_per_byte

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

HELD_OUT = ["Größe — Zer moduz?", "Ireki taula eta aukeratu edukia.", "안녕하세요, 12345 €."]
ENGLISH_HELD_OUT = ["Open the table.", "Choose the size of the document."]
SMALL = ["--steps", "6", "--batch-size", "4", "--block-length", "16", "--learning-rate", "1e-2"]
SMALL += ["--warmup-steps", "2", "--device", "cpu"]
BOTH = ["--english", "en.txt", "--held-out", "held.txt", "--english-held-out", "held.en.txt"]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    world = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    tiny_world.write_lines(world / "en.txt", tiny_world.SOURCE_TEXTS * 4)
    tiny_world.write_lines(world / "held.txt", HELD_OUT)
    tiny_world.write_lines(world / "held.en.txt", ENGLISH_HELD_OUT)
    return world


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def pretrain(*more, out="out", model="model", corpus="corpus.txt"):
    return main(["pretrain", "--model", model, "--corpus", corpus, "--out", out, *SMALL, *more])


def metrics_of(out="out"):
    found = json.loads(Path(out, "result.json").read_text(encoding="utf-8"))["metrics"]
    return {name: value for name, value in found.items() if "seconds" not in name}


def weights(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).state_dict()


def one_line(capsys):
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in said.err and not said.out
    return lines[0]


def test_everything_a_run_leaves(world, capsys):
    assert pretrain(*BOTH, "--evaluations", "3", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    metrics = result["metrics"]
    assert metrics["steps"] == 6 and metrics["tokens"] == 6 * 4 * 16
    assert metrics["english_share"] == pytest.approx(5 / 24), "a fifth of 24 blocks, rounded"
    assert list(metrics["evaluations"]) == ["0", "2", "4", "6"]
    rows = pq.read_table("out/steps.parquet").to_pylist()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6] and rows[-1]["tokens"] == 384
    assert rows[0]["loss"] == metrics["loss"]["first"] and rows[-1]["loss"] == metrics["loss"]["last"]
    assert rows[-1]["loss"] < rows[0]["loss"]

    before, after = weights("model"), weights("out/model")
    assert all(not torch.equal(before[name], after[name]) for name in before if "weight" in name)
    tokenizer = AutoTokenizer.from_pretrained("out/model")
    assert tokenizer.chat_template == tiny_world.CHAT_TEMPLATE
    trained = AutoModelForCausalLM.from_pretrained("out/model", dtype=torch.float32)
    found = bits_per_byte(trained, tokenizer, HELD_OUT)
    last = metrics["evaluations"]["6"]["target"]
    assert found.bits_per_byte == pytest.approx(last["bits_per_byte"], rel=0.02), "bfloat16 while training"
    assert last["documents"] == 3 and last["bytes"] == sum(len(text.encode()) for text in HELD_OUT)
    change = metrics["differences"]["target"]
    first = metrics["evaluations"]["0"]["target"]
    assert change["value"] == pytest.approx(last["bits_per_byte"] - first["bits_per_byte"])
    assert change["low"] <= change["value"] <= change["high"]

    assert sorted(item.name for item in Path("out").iterdir() if not item.name.startswith(".")) == [
        "loss.png",
        "model",
        "report.html",
        "result.json",
        "steps.parquet",
    ]
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Before and after" in page and "data:image/" in page
    assert not any(outside in page for outside in ('src="http', 'href="http', "<link", "@import"))
    assert {item["role"] for item in result["inputs"]} == {
        "model",
        "corpus",
        "english",
        "held-out",
        "English held-out",
    }

    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.is_file()}
    assert pretrain(*BOTH, "--evaluations", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == result
    assert times == {path: path.stat().st_mtime_ns for path in times}
    tiny_world.write_lines(Path("held.txt"), HELD_OUT[:2])
    assert pretrain(*BOTH, "--evaluations", "3") == 2
    assert "a run of another command (differs in: content of held_out)" in one_line(capsys)


def test_texts_of_every_kind(world, capsys):
    """Several references, a glob, JSON lines with a bad one, parquet: the same documents, the same training."""
    texts = tiny_world.TARGET_TEXTS * 4
    tiny_world.write_lines(Path("held.txt"), [tiny_world.TARGET_TEXTS[1], "Zer?"])
    held = ["--held-out", "held.txt"]
    assert pretrain(*held, out="one") == 0
    Path("parts").mkdir()
    rows = [json.dumps({"satz": text}, ensure_ascii=False) for text in texts[:7]]
    tiny_world.write_lines(Path("parts/a.jsonl"), [*rows[:3], "{broken", *rows[3:]])
    pq.write_table(pa.table({"satz": texts[7:]}), "b.parquet")
    more = ["--corpus", "b.parquet", "--text-field", "satz"]
    assert pretrain(*held, *more, out="many", corpus="parts/*.jsonl") == 0
    assert metrics_of("one") == metrics_of("many")
    counts = json.loads(Path("many/result.json").read_text(encoding="utf-8"))["counts"]["corpus"]
    assert counts["documents"] == 16 and counts["left out: held out"] == 4
    assert counts["bad line: invalid JSON"] == 1
    rejects = Path("many/corpus.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["line"] for line in rejects] == [4]


def test_no_english(world):
    """A share of nothing is the training without English text."""
    assert pretrain("--english", "en.txt", "--english-share", "0", out="none") == 0
    assert pretrain(out="without") == 0
    assert metrics_of("none") == metrics_of("without") and metrics_of("none")["english_share"] == 0


def test_equal_compute(world, capsys):
    """The same body with more rows: more steps on the small one, and the same arithmetic to half a step."""
    model = AutoModelForCausalLM.from_pretrained("untied", dtype=torch.float32)
    model.resize_token_embeddings(2000)
    model.save_pretrained("large")
    AutoTokenizer.from_pretrained("untied").save_pretrained("large")
    assert pretrain("--equal-compute-with", "large", "--json", model="untied") == 0
    said = json.loads(capsys.readouterr().out)["metrics"]
    assert pretrain("--json", model="large", out="reference") == 0
    reference = json.loads(capsys.readouterr().out)["metrics"]
    assert said["equal_compute_with"] == {"model": "large", "steps": 6} and said["steps"] > 6
    a_step = said["flops"] / said["steps"]
    assert abs(said["flops"] - reference["flops"]) <= a_step / 2


KILL = """
import os, signal, sys
import lingraft.training.trainer as trainer
own, saved = trainer.RunTrainer._save_checkpoint, []
def save(self, model, trial):
    own(self, model, trial)
    saved.append(1)
    if len(saved) == {times}:
        os.kill(os.getpid(), signal.SIGKILL)
trainer.RunTrainer._save_checkpoint = save
from lingraft.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def command_line(out, *more):
    return ["pretrain", "--model", "model", "--corpus", "corpus.txt", "--out", out, *SMALL, *BOTH, *more]


def test_a_killed_run_ends_with_the_same_result(world):
    assert main(command_line("whole", "--save-every", "2")) == 0
    script = KILL.format(times=2)
    command = [sys.executable, "-c", script, *command_line("out", "--save-every", "2")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert not Path("out/result.json").exists() and Path("out/training/checkpoint-4").is_dir()
    assert main(command_line("out", "--save-every", "2")) == 0
    assert metrics_of("out") == metrics_of("whole")
    for name in ("model/model.safetensors", "model/recipe.yaml", "steps.parquet", "loss.png"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert not Path("out/training").exists() and not Path("out/blocks").exists()


PACKING_KILLED = """
import os, signal, sys
import lingraft.recipes.pretraining.inputs as inputs
own = inputs.pack_with_counts
def pack(*given, **more):
    own(*given, **more)
    os.kill(os.getpid(), signal.SIGKILL)
inputs.pack_with_counts = pack
from lingraft.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def test_killed_while_it_packs(world):
    command = [sys.executable, "-c", PACKING_KILLED, *command_line("out")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert not Path("out").exists() and list(Path().glob(".out.*.part"))
    assert main(command_line("out")) == 0
    assert not list(Path().glob(".out.*.part")) and Path("out/result.json").exists()


def test_a_run_without_its_result_is_finished_again(world):
    """Killed after the checkpoint was written and before the result."""
    assert pretrain() == 0
    first, saved = metrics_of(), Path("out/model/model.safetensors").stat().st_mtime_ns
    Path("out/result.json").unlink()
    assert pretrain() == 0
    assert metrics_of() == first and Path("out/model/model.safetensors").stat().st_mtime_ns == saved


@pytest.mark.slow
def test_two_processes_equal_one(world):
    precise = ["--precision", "float32"]
    assert main(command_line("one", *precise)) == 0
    Path("line.py").write_text(
        "import os, sys\nfrom lingraft.cli.app import main\nstatus = main(sys.argv[1:])\n"
        "import torch.distributed as dist\n"
        "print('process', dist.get_rank(), 'of', dist.get_world_size(), file=sys.stderr)\nsys.exit(status)\n",
        encoding="utf-8",
    )
    # What accelerate launch runs for several devices; on processors alone it would start one process and say nothing.
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "line.py",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*launcher, *command_line("two", "--json", *precise)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "process 1 of 2" in ended.stderr
    assert json.loads(ended.stdout)["metrics"]["steps"] == 6, "one process prints, and one only"
    one, two = (pq.read_table(f"{out}/steps.parquet") for out in ("one", "two"))
    np.testing.assert_allclose(two["loss"].to_numpy(), one["loss"].to_numpy(), rtol=1e-5)
    for name, value in weights("one/model").items():
        torch.testing.assert_close(weights("two/model")[name], value, atol=2e-4, rtol=2e-4)
    scores = [metrics_of(out)["evaluations"]["6"]["target"]["bits_per_byte"] for out in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--english-share", "0.3"], ["--english-share 0.3 without --english", "give --english FILE"]),
        (
            ["--english", "en.txt", "--english-share", "1.5"],
            ["--english-share 1.5", "from 0 (none) to below 1"],
        ),
        (["--english", "gone.txt"], ["no file gone.txt"]),
        (["--held-out", "empty.txt"], ["no document in empty.txt"]),
        (["--english-held-out", "gone/*.txt"], ["no corpus file in gone/*.txt"]),
        (["--corpus", "gone.jsonl"], ["no file gone.jsonl"]),
        (["--held-out", "corpus.txt"], ["--corpus: 0 documents of 0 tokens", "one block of 16 tokens"]),
        (["--english", "held.en.txt", "--block-length", "64"], ["--english: 2 documents", "one block"]),
        (["--block-length", "300"], ["blocks of 300 tokens", "at most 256, the model's positions"]),
        (
            ["--batch-size", "3", "--gradient-accumulation", "2"],
            ["a batch of 3 in 2 pieces", "multiple of 2"],
        ),
        (["--learning-rate", "-1"], ["learning_rate -1.0"]),
        (["--precision", "int8"], ["'int8' is not one of"]),
        (["--track", "abacus"], ["the trackers abacus", "some of"]),
        (["--equal-compute-with", "gone/model"], ["gone/model"]),
        (["--steps", "0"], ["--steps", "greater than or equal to 1"]),
        (["--dtype", "int4"], ["'int4' is not one of"]),
    ],
)
def test_one_line_for_bad_input(world, capsys, arguments, words):
    Path("empty.txt").write_text("\n", encoding="utf-8")
    assert pretrain(*arguments) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert not Path("out").exists()


def test_a_missing_model_and_a_directory_of_something_else(world, capsys):
    assert pretrain(model="./gone") == 2
    assert "no file or directory './gone'" in one_line(capsys)
    assert pretrain(out="donor") == 2
    assert "not made by lingraft" in one_line(capsys)


def test_without_accelerate(world, capsys, monkeypatch):
    own = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "accelerate" else own(name, *a)
    )
    assert pretrain() == 2
    assert 'pip install "lingraft[train]"' in one_line(capsys)
    assert not Path("out").exists()
