"""Stages are kept by what went into them; a killed run ends as an uninterrupted one."""

import contextlib
import hashlib
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_stages import KINDS

from lingraft.errors import LingraftError
from lingraft.recipes.checking import recipe as checking
from lingraft.recipes.checking.loading import load_recipe
from lingraft.recipes.running import placing
from lingraft.recipes.running.planning import plan_stages
from lingraft.recipes.running.run import RunOptions, run_recipe
from lingraft.recipes.running.starting import started_from
from lingraft.recipes.running.store import Store
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


WITH_TIMES = {"stage.json", "run.json", "report.html", ".lock", ".model.json"}


def contents(out: Path) -> dict[str, str]:
    """What a run left, file by file, but for times."""
    found = {}
    for file in sorted(out.rglob("*")):
        name = file.relative_to(out).as_posix()
        if not file.is_file() or file.name in WITH_TIMES:
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


@pytest.mark.parametrize(
    ("first", "then", "changes", "coming"),
    [
        ("other", "pretrain", (), {"pretrain", "other", "tuned", "evaluate"}),
        ("pretrain", "other", (), {"other", "tuned", "evaluate"}),
        # `other` has its key, and was run anew before the interruption.
        ("pretrain", "pretrain", ("pretrain.steps=5",), {"pretrain", "tuned", "evaluate"}),
    ],
    ids=["an earlier one", "a later one", "other settings"],
)
def test_from_counts_after_another_from_was_interrupted(
    place: Path, first: str, then: str, changes: tuple[str, ...], coming: set[str]
) -> None:
    run(place, "pretrain.steps=5")
    run(place)
    run_and_kill(place, "tuned:1", f"--from={first}")
    store = Store(place / "run")
    with contextlib.chdir(place):
        planned = started_from(plan_stages(load_recipe("recipe.yaml", changes), store), store, then)
    assert {stage.stage.name for stage in planned if not stage.done} == coming, "as a dry run says it"
    assert run(place, *changes, start_from=then)[0].keys() == coming


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


def model_files(place: Path, out: str = "run") -> dict[str, str]:
    """What `model` holds, but for the card."""
    found = contents(place / out)
    return {name: held for name, held in found.items() if name.startswith("model/") and "README" not in name}


def kept_model(place: Path, stage: str) -> Path:
    return next((place / "run" / "stages").glob(f"{stage}-*")) / "model"


@pytest.mark.parametrize(
    ("models", "placed"),
    [
        ("{after: stage:pretrain, before: recipe:model}", "pretrain"),
        ("{other: stage:other, path: ./start}", "other"),
        ("{before: recipe:model}", "tuned"),
    ],
)
def test_the_model_is_the_last_measured_one_that_a_stage_made(place: Path, models: str, placed: str) -> None:
    run(place, f"evaluate.models={models}")
    steps = (place / "run" / "model" / "steps.txt").read_text(encoding="utf-8")
    assert steps == (kept_model(place, placed) / "steps.txt").read_text(encoding="utf-8")


def test_a_recipe_that_makes_no_model_takes_the_last_one_away(place: Path) -> None:
    run(place)
    without = RECIPE.partition("stages:")[0] + "stages:\n  evaluate: {models: {before: recipe:model}}\n"
    (place / "recipe.yaml").write_text(without, encoding="utf-8")
    (place / "run" / "model" / "notes.txt").write_text("mine", encoding="utf-8")
    assert not run(place)[1]
    assert [file.name for file in (place / "run" / "model").iterdir()] == ["notes.txt"]
    (place / "run" / "model" / "notes.txt").unlink()
    (place / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    run(place)
    (place / "recipe.yaml").write_text(without, encoding="utf-8")
    run(place)
    assert not (place / "run" / "model").exists()


def test_editing_the_model_leaves_the_stage_as_it_was(place: Path) -> None:
    run(place)
    model, kept = place / "run" / "model", kept_model(place, "tuned")
    before = (kept / "config.json").read_bytes()
    with (model / "config.json").open("r+", encoding="utf-8") as file:
        file.write('{"of": "mine"')
    assert (kept / "config.json").read_bytes() == before
    assert (model / "model.safetensors").samefile(kept / "model.safetensors"), "weights are there once"
    assert "README.md" not in {file.name for file in kept.iterdir()}


def test_what_somebody_changed_or_added_in_model_stays_while_it_is_the_same(place: Path) -> None:
    run(place, "tuned.method=old")
    model = place / "run" / "model"
    ours = {"model.gguf": "large", "README.md": "my own card", "config.json": '{"of": "mine"}'}
    for name, text in ours.items():
        (model / name).write_text(text, encoding="utf-8")
    assert run(place, "tuned.method=old")[0] == {}
    assert {name: (model / name).read_text(encoding="utf-8") for name in ours} == ours
    run(place, "tuned.method=old", "title=Another")
    assert "# Another" in (model / "README.md").read_text(encoding="utf-8"), "what the card tells changed"
    assert (model / "config.json").read_text(encoding="utf-8") == ours["config.json"], "the model did not"
    assert (model / "more" / "old.txt").exists()
    run(place, "tuned.method=new")
    assert "mine" not in (model / "config.json").read_text(encoding="utf-8"), "another model"
    assert (model / "model.gguf").read_text(encoding="utf-8") == "large"
    assert [file.name for file in (model / "more").iterdir()] == ["new.txt"]
    shutil.rmtree(model)
    run(place, "tuned.method=new")
    assert (model / "README.md").exists() and (model / "model.safetensors").exists()


def test_a_stage_that_was_run_anew_gives_its_new_model(place: Path) -> None:
    run(place)
    run(place, start_from="tuned")
    weights = place / "run" / "model" / "model.safetensors"
    assert weights.samefile(kept_model(place, "tuned") / "model.safetensors")


def test_a_model_without_a_list_of_its_files_is_replaced(place: Path) -> None:
    run(place)
    run_directory = place / "run"
    (run_directory / ".model.json").unlink()
    (run_directory / "model" / "shard.safetensors").hardlink_to(
        kept_model(place, "pretrain") / "model.safetensors"
    )
    (run_directory / "model" / "notes.txt").write_text("mine", encoding="utf-8")
    run(place)
    names = {file.name for file in (run_directory / "model").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "notes.txt", "steps.txt"}


@pytest.mark.parametrize("number", range(8))
def test_interrupted_while_the_model_is_placed(
    place: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, "tuned.method=new", out="whole")
    run(place, "tuned.method=old")
    (place / "run" / "model" / "notes.txt").write_text("mine", encoding="utf-8")
    calls = iter(range(100))

    def interrupted(what: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(calls) >= number:
                raise KeyboardInterrupt
            return what(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("_remove", "_put", "write_model_card", "_write"):
            patch.setattr(placing, name, interrupted(getattr(placing, name)))
        with pytest.raises(KeyboardInterrupt):
            run(place, "tuned.method=new")
    assert not run(place, "tuned.method=new")[1]
    # Raises where it is gone.
    (place / "run" / "model" / "notes.txt").unlink()
    assert model_files(place) == model_files(place, "whole")
    assert "new" in (place / "run" / "model" / "README.md").read_text(encoding="utf-8")
