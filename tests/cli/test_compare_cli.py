"""`lingraft vocab compare` end to end on the tiny world: what lies on the disk, continuing, and bad options."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lingraft.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

FAST = ("--probe-steps", "2,4", "--batch-size", "1", "--block-length", "16", "--precision", "float32")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tiny_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the tiny world to work in, with English and Basque text to score."""
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    tiny_world.write_lines(Path("held.txt"), ["Zaldi gorria etxera doa.", "Größe: 99 €!"])
    tiny_world.write_lines(Path("english.txt"), ["The table has ten pages.", "Open it."])
    return tmp_path / "world"


def compare(*more, methods="mean,subword-mean", out="out"):
    """Run a comparison that works, but for what `more` says."""
    given = ["--model", "model", "--tokenizer", "target", "--donor", "donor", "--corpus", "corpus.txt"]
    given += ["--held-out", "held.txt", "--english", "english.txt", "--device", "cpu", "--seeds", "1"]
    return main(["vocab", "compare", *given, "--methods", methods, "--out", out, *FAST, *more])


def test_both_modes_end_to_end_and_again(world, capsys):
    options = ("--modes", "replace,extend,replace", "--new-tokens", "50", "--json")
    assert compare(*options, methods="mean,salt+unigram,mean") == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((world / "out/result.json").read_text(encoding="utf-8"))
    assert printed["metrics"] == stored["metrics"]
    assert set(stored["metrics"]) == {
        f"{mode}/{method}"
        for mode in ("replace", "extend")
        for method in ("unchanged", "mean", "salt+unigram")
    }
    for by_text in stored["metrics"].values():
        assert set(by_text) == {"target", "english"}
        for by_step in by_text.values():
            assert set(by_step) == {"0", "2", "4"}
            assert all(found["bits_per_byte"]["observations"] == 1 for found in by_step.values())
            assert all(0 < found["bits_per_byte"]["value"] < 30 for found in by_step.values())
    assert len(list((world / "out/probes").iterdir())) == 5
    rows = pq.read_table(world / "out/runs.parquet").to_pylist()
    assert {(row["mode"], row["method"]) for row in rows} >= {("replace", "salt+unigram"), ("unchanged",) * 2}
    page = (world / "out/report.html").read_text(encoding="utf-8")
    assert "data:image/" in page and "salt+unigram" in page
    assert not any(outside in page for outside in ('src="http', 'href="http', "<link", "@import"))
    table = (world / "out/table.md").read_text(encoding="utf-8")
    assert table.count("| unchanged |") == 4 and "minus unchanged, step 4" in table

    times = {path: path.stat().st_mtime_ns for path in (world / "out").rglob("*") if path.is_file()}
    assert compare(*options, methods="mean,salt+unigram,mean") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == stored["metrics"]
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_comparison_without_its_result_continues(world, capsys):
    assert compare() == 0
    first = capsys.readouterr().out
    probes = {path: path.stat().st_mtime_ns for path in (world / "out/probes").iterdir()}
    for name in ("result.json", "report.html", "probes/replace-mean-0.json"):
        (world / "out" / name).unlink()
    assert compare() == 0
    assert capsys.readouterr().out == first
    rerun = [path.name for path, moment in probes.items() if path.stat().st_mtime_ns != moment]
    assert rerun == ["replace-mean-0.json"]
    assert (world / "out/report.html").exists()


def test_a_larger_grid_adds_to_a_smaller_one(world, capsys):
    assert compare(methods="mean") == 0
    first = {path: path.stat().st_mtime_ns for path in (world / "out/probes").iterdir()}
    assert compare("--seeds", "2") == 0
    files = list((world / "out/probes").iterdir())
    assert len(first) == 2 and len(files) == 6
    assert all(path.stat().st_mtime_ns == moment for path, moment in first.items())
    grown = json.loads((world / "out/result.json").read_text(encoding="utf-8"))
    assert compare("--seeds", "2", out="alone") == 0
    alone = json.loads((world / "alone/result.json").read_text(encoding="utf-8"))
    assert grown["metrics"] == alone["metrics"] and grown["seeds"] == {"seeds": 2}
    assert compare(methods="mean") == 0
    shrunk = json.loads((world / "out/result.json").read_text(encoding="utf-8"))
    assert shrunk["metrics"].keys() == {"replace/mean", "replace/unchanged"} and shrunk["seeds"] == {
        "seeds": 1
    }
    assert compare("--block-length", "8") == 2
    assert "holds a run of another command (differs in: settings)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (["--probe-steps", "50,viele"], "--probe-steps 50,viele"),
        (["--probe-steps", ""], "--probe-steps"),
        (["--probe-steps", "0,4"], "steps from 1 up"),
        (["--modes", "replace,exchange"], "--modes replace,exchange"),
        (["--modes", ","], "--modes"),
        (["--precision", "float8"], "--precision float8"),
        (["--methods", "mean,größer"], "größer"),
        (["--methods", " , "], "--methods"),
        (["--seeds", "0"], "--seeds"),
        (["--held-out", "nowhere.txt"], "nowhere.txt"),
        (["--english", "nirgends.txt"], "nirgends.txt"),
        (["--learning-rate", "-1"], "--learning-rate -1"),
        (["--embedding-learning-rate", "nan"], "--embedding-learning-rate nan"),
        (["--averaged-share", "1.5"], "--averaged-share 1.5; expected a share from 0 to 1"),
        (["--averaged-share", "nan"], "--averaged-share nan"),
        (["--batch-size", "900"], "corpus of"),
        (["--block-length", "9000"], "block of 9000"),
    ],
)
def test_bad_options_are_one_line_and_leave_no_directory(world, capsys, spoilt, said):
    assert compare(*spoilt) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ") and said in captured.err
    assert not (world / "out").exists()
