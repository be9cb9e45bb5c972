"""Stages are kept by what went into them; a killed run ends as an uninterrupted one."""

import hashlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tiny_stages import KINDS

from lingraft.errors import LingraftError
from lingraft.recipes.checking import recipe as checking
from lingraft.recipes.checking.loading import load_recipe
from lingraft.recipes.running.run import RunOptions, run_recipe
from lingraft.recipes.showing import showing_runs

HERE = Path(__file__).parent
RECIPE = """\
title: Größe
language: eu
model: ./start
data: {corpus: corpus.txt}
stages:
  select: {control: true}
  pretrain: {text: stage:select, steps: 4}
  other: {use: pretrain, model: recipe:model, text: stage:select/random, steps: 2}
  tuned: {use: pretrain, model: stage:pretrain, steps: 3}
  evaluate: {models: {before: recipe:model, other: stage:other, after: stage:tuned}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "corpus.txt").write_text("bat bi\n", encoding="utf-8")
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def tiny_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (checking, showing_runs):
        monkeypatch.setattr(module, "STAGES", KINDS)


def command(place: Path, *more: str, out: str = "run") -> list[str]:
    return [sys.executable, str(HERE / "tiny_run.py"), "recipe.yaml", str(place / out), *more]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), **more}


def run(
    place: Path, *changes: str, out: str = "run", start_from: str | None = None
) -> tuple[Counter[str], str]:
    """Run the recipe in this process; return which stages ran, and what went wrong."""
    log, error = place / "log.txt", ""
    log.unlink(missing_ok=True)
    before = Path.cwd()
    os.chdir(place)
    os.environ["TINY_LOG"] = str(log)
    try:
        options = RunOptions(place / out, device="cpu", start_from=start_from, command="repeat")
        run_recipe(load_recipe("recipe.yaml", changes), options)
    except LingraftError as caught:
        error = str(caught)
    finally:
        os.chdir(before)
        del os.environ["TINY_LOG"]
    return Counter(log.read_text(encoding="utf-8").split()) if log.exists() else Counter(), error


def run_and_kill(place: Path, moment: str, *more: str) -> None:
    """Run the recipe in a process of its own that kills itself."""
    variables = environment(TINY_KILL=moment)
    done = subprocess.run(command(place, *more), cwd=place, env=variables, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def contents(out: Path) -> dict[str, str]:
    """What a run left, file by file, but for times."""
    found = {}
    for file in sorted(out.rglob("*")):
        name = file.relative_to(out).as_posix()
        if not file.is_file() or file.name in {"stage.json", "run.json", "report.html", ".lock"}:
            continue
        data = file.read_bytes()
        if file.name == "result.json":
            held = json.loads(data)
            held["provenance"].pop("finished")
            data = json.dumps(held).encode()
        if file.name == "README.md":
            data = re.sub(rb"\d+ h \d\d min|\d+ min \d\d s|\d+ s\b|.*[Ff]inished.*", b"", data)
        found[name] = hashlib.sha256(data).hexdigest()
    return found


ALL = {"select", "pretrain", "other", "tuned", "evaluate"}


def test_only_what_depends_on_a_change_runs_again(place: Path) -> None:
    assert run(place)[0].keys() == ALL
    assert run(place)[0] == {}, "everything is kept"
    assert run(place, "pretrain.steps=5")[0].keys() == {"pretrain", "tuned", "evaluate"}
    assert run(place)[0] == {}, "the former results are still there"
    assert run(place, "title=Another", "device=cpu", "scale.workers=2")[0] == {}, "no result depends on these"
    assert run(place, "tuned.rate=0.25")[0].keys() == {"tuned", "evaluate"}
    (place / "corpus.txt").write_text("bat bi hiru\n", encoding="utf-8")
    assert run(place)[0].keys() == ALL
    assert run(place, "seed=1")[0].keys() == ALL


def test_a_renamed_stage_is_found_by_what_went_in(place: Path) -> None:
    run(place)
    text = RECIPE.replace("  other: {use", "  third: {use").replace("stage:other", "stage:third")
    (place / "recipe.yaml").write_text(text, encoding="utf-8")
    assert run(place)[0] == {}


def test_a_result_that_was_changed_or_lost_is_made_again(place: Path) -> None:
    run(place)
    kept = next((place / "run" / "stages").glob("pretrain-*"))
    (kept / "model" / "steps.txt").write_text("cut", encoding="utf-8")
    # What depends on it was made from what it had been.
    assert run(place)[0].keys() == {"pretrain"}


def test_from_runs_a_stage_and_all_after_it_again(place: Path) -> None:
    run(place)
    assert run(place, start_from="other")[0].keys() == {"other", "tuned", "evaluate"}
    run_and_kill(place, "tuned:1", "--from=pretrain")
    assert run(place, start_from="pretrain")[0].keys() == {"tuned", "evaluate"}, "the same command continues"
    assert run(place, start_from="pretrain")[0].keys() == ALL - {"select"}, (
        "and begins again once it is through"
    )
    assert "expected a stage of the recipe: select, pretrain" in run(place, start_from="nobody")[1]


def test_from_begins_a_half_finished_stage_anew(place: Path) -> None:
    run_and_kill(place, "pretrain:3")
    (half,) = (place / "run" / "stages").glob("pretrain-*")
    assert any(half.iterdir()), "the killed stage left something"
    (half / "left.txt").write_text("of the killed run", encoding="utf-8")
    run(place, start_from="pretrain")
    assert half.exists() and not (half / "left.txt").exists()


def test_what_a_run_leaves_is_a_recipe_that_runs(place: Path) -> None:
    run(place, "pretrain.steps=5")
    resolved = yaml.safe_load((place / "run" / "recipe.yaml").read_text(encoding="utf-8"))
    assert resolved["stages"]["pretrain"]["steps"] == 5 and resolved["resolved"]["stages"].keys() == ALL
    (place / "recipe.yaml").write_text(
        (place / "run" / "recipe.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert run(place)[0] == {}
    assert (place / "run" / "report.html").exists()
    assert "2 " in (place / "run" / "model" / "steps.txt").read_text(encoding="utf-8")
    assert (place / "run" / "model" / "README.md").exists()


@pytest.mark.parametrize("moments", [["pretrain:3"], ["other:1", "tuned:0"]])
def test_a_killed_run_ends_as_an_uninterrupted_one(place: Path, moments: list[str]) -> None:
    run(place, out="whole")
    for moment in moments:
        run_and_kill(place, moment)
    assert not run(place)[1]
    assert contents(place / "run") == contents(place / "whole")


def test_what_was_being_written_when_a_stage_was_killed_does_not_stay(place: Path) -> None:
    run(place, out="whole")
    run_and_kill(place, "pretrain:1")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    (half,) = (place / "run" / "stages").glob("pretrain-*")
    written = half / "model" / f".steps.txt.{platform.node()}-{gone.pid}.0a1b2c3d.part"
    written.write_text("hal", encoding="utf-8")
    assert not run(place)[1]
    assert contents(place / "run") == contents(place / "whole")


@pytest.mark.slow
def test_killed_at_random_times(place: Path) -> None:
    run(place, out="whole")
    generator = random.Random(0)
    for _ in range(4):
        with subprocess.Popen(
            command(place), cwd=place, env=environment(TINY_SLEEP="0.2"), stdout=subprocess.PIPE
        ) as process:
            # A line is said when the work begins.
            assert process.stdout is not None
            assert process.stdout.readline()
            time.sleep(generator.random() / 2)
            process.kill()
        assert process.returncode == -signal.SIGKILL, "it was at work"
    assert not run(place)[1]
    assert contents(place / "run") == contents(place / "whole")


def test_two_runs_in_one_directory_are_refused(place: Path) -> None:
    with subprocess.Popen(
        command(place), cwd=place, env=environment(TINY_SLEEP="60"), stderr=subprocess.DEVNULL
    ) as first:
        try:
            lock = place / "run" / ".lock"
            until = time.monotonic() + 60
            while time.monotonic() < until and not (lock.exists() and lock.read_text()):
                time.sleep(0.1)
            told = run(place)[1]
            assert f"in use by another run (process {first.pid})" in told, told
        finally:
            first.kill()
    assert not run(place)[1], "a lock of a killed run holds nobody"


def test_stages_are_told_whole_paths(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A verb knows its half-finished run by its options: typed from elsewhere they must be the same.
    monkeypatch.chdir(place)
    run_recipe(load_recipe("recipe.yaml"), RunOptions(Path("run"), device="cpu", command="repeat"))
    kept = json.loads(next((place / "run" / "stages").glob("tuned-*/stage.json")).read_text(encoding="utf-8"))
    assert Path(kept["settings"]["model"]).is_absolute()


def test_a_directory_of_something_else_is_refused(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run" / "thesis.tex").write_text("years of work", encoding="utf-8")
    told = run(place)[1]
    assert "is not empty and was not made by lingraft" in told
    assert [file.name for file in (place / "run").iterdir()] == ["thesis.tex"]


def test_an_error_of_a_stage_is_one_line_and_the_stages_before_are_kept(place: Path) -> None:
    ran, told = run(place, "tuned.method=fail")
    assert told.startswith("method fail; expected another")
    assert "evaluate" not in ran
    assert run(place)[0].keys() == {"tuned", "evaluate"}
