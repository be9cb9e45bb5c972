"""Every fault of a recipe gets a line that says where, what, what was expected and what to do, before anything runs."""

import importlib
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.recipes.checking.yaml_lines import LONGEST, MOST_VALUES, parse_document

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))
recipe_cases = importlib.import_module("recipe_error_cases")
error_lines = importlib.import_module("error_lines")
tiny_world = importlib.import_module("tiny_world")
CASES = importlib.import_module("run_error_cases").RECIPE_CASES
BEFORE_A_RUN = {
    name: case
    for name, case in CASES.items()
    if case.command == recipe_cases.RUN
    and not name.startswith(("run-block", "run-blank", "run-out", "run-in"))
}
"""Recipes that are bad by themselves."""

ON_THE_WAY = {"run-block", "run-blank-text"}
"""Cases that are met in a stage; what was done before is kept for the next start."""

USAGE = {"run-no-out": "run"}
"""Cases that the option parser itself refuses, and their verbs."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tiny_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the tiny world, with the good recipe, to work in."""
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    Path("recipe.yaml").write_text(recipe_cases.RECIPE, encoding="utf-8")
    return tmp_path / "world"


@pytest.fixture(scope="module")
def documented():
    """The command and the lines of each case in the documentation."""
    page = (PROJECT / "docs" / "errors.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"\(`([a-z0-9-]+)`\)\n(?:\n```text\n(?!\$).*?\n```\n)?\n```text\n\$ lingraft (.+?)\n(.+?)\n```",
        page,
        re.DOTALL,
    )
    return {name: (command, lines.split("\n")) for name, command, lines in blocks}


@pytest.mark.parametrize("name", CASES)
def test_the_lines_of_the_page_and_nothing_half_written(name, template, tmp_path, documented):
    case = CASES[name]
    outcome = error_lines.run_case(case, template, tmp_path / "world")
    assert outcome.status == 2, outcome.err
    assert outcome.out == "" and "Traceback" not in outcome.err
    lines = error_lines.error_lines(outcome).split("\n")
    assert outcome.err.endswith("\n".join(lines) + "\n"), "errors come last"
    if name in ON_THE_WAY:
        assert {"out", "out/.lingraft-run.json"} <= outcome.left
        assert not [left for left in outcome.left if left.endswith(".part")]
        assert not {"out/run.json", "out/recipe.yaml"} & outcome.left
        assert "out/report.html" not in outcome.left
    else:
        assert outcome.left == frozenset()
    for line in lines:
        if name in USAGE:
            assert line.endswith(f"; see: lingraft {USAGE[name]} --help")
        else:
            assert re.fullmatch(r"error: .+; expected .+; .+", line), line
    command, told = documented[name]
    assert command == case.command
    outdated = "docs/errors.md is out of date: run python benchmarks/error_lines.py"
    cut = [[line.split("; expected")[0] for line in some] for some in (lines, told)]
    assert cut[0] == cut[1] and (case.varies or lines == told), outdated


def test_the_documentation_holds_every_case(documented):
    assert [name for name in documented if name in CASES] == list(CASES)
    assert len(CASES) >= 100


@pytest.mark.parametrize("name", BEFORE_A_RUN)
def test_validate_says_the_same_as_run(name, world, documented, capsys):
    if CASES[name].varies or "asset-other" in name:
        pytest.skip("what was expected differs between machines")
    CASES[name].spoil(world)
    before = error_lines.listing(world)
    assert main(["recipes", "validate", "recipe.yaml"]) == 2
    assert capsys.readouterr().err.splitlines() == documented[name][1]
    assert error_lines.listing(world) == before


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("recipe-tab", 10),
        ("recipe-encoding", 1),
        ("recipe-control", 1),
        ("recipe-object", 10),
        ("recipe-bomb", 6),
        ("recipe-itself", 4),
        ("recipe-several", 14),
        ("recipe-english", 1),
        ("recipe-missing-model", 2),
        ("recipe-no-file", 4),
        ("stage-key", 10),
        ("stage-kind", 9),
        ("stage-twice", 14),
        ("stage-key-twice", 11),
        ("stage-quotas", 14),
        ("reference-later", 8),
        ("reference-unasked", 11),
        ("reference-kind", 16),
    ],
)
def test_the_line_is_that_of_the_fault(name, number, documented):
    assert any(line.startswith(f"error: recipe.yaml, line {number}: ") for line in documented[name][1])


def test_every_fault_is_told_in_the_order_of_the_file(documented):
    numbers = [int(re.search(r", line (\d+): ", line)[1]) for line in documented["run-many-faults"][1]]
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 14, 16, 19}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("run-out-")])
def test_a_dry_run_refuses_the_directories_that_a_run_refuses(name, world, documented, capsys):
    CASES[name].spoil(world)
    before = error_lines.listing(world)
    assert main([*CASES[name].command.split(), "--dry-run"]) == 2
    assert capsys.readouterr().err.splitlines() == documented[name][1]
    assert error_lines.listing(world) == before


def test_the_good_recipe_is_good(world, capsys):
    assert main(["recipes", "validate", "recipe.yaml"]) == 0
    assert capsys.readouterr().out.startswith("valid\n")


def test_a_corrected_recipe_runs_in_the_same_directory(world, capsys):
    bad = recipe_cases.RECIPE.replace("steps: 2", "stpes: 2")
    Path("recipe.yaml").write_text(bad, encoding="utf-8")
    assert main(["run", "recipe.yaml", "--out", "out"]) == 2
    assert not Path("out").exists()
    only = recipe_cases.RECIPE.partition("  pretrain:")[0]
    Path("recipe.yaml").write_text(only, encoding="utf-8")
    assert main(["run", "recipe.yaml", "--out", "out", "--device", "cpu"]) == 0
    assert Path("out/report.html").is_file() and Path("out/model/model.safetensors").is_file()
    capsys.readouterr()


def test_a_bomb_of_aliases_costs_nothing():
    from lingraft.errors import ConfigError

    started = time.perf_counter()
    with pytest.raises(ConfigError, match="values, aliases unfolded"):
        parse_document(recipe_cases.BOMB, "bomb.yaml")
    # Deeper, and under keys: each unfolds twice what the one before does.
    keys = "".join(f"k{n}: &k{n} {{x: *k{n - 1}, y: *k{n - 1}}}\n" for n in range(1, 60))
    with pytest.raises(ConfigError, match="values, aliases unfolded"):
        parse_document("k0: &k0 {x: 1}\n" + keys, "bomb.yaml")
    assert time.perf_counter() - started < 2


def test_aliases_of_ordinary_use_are_taken():
    text = "a: &a {steps: 3, rate: 0.5}\nb: *a\nc:\n  <<: *a\n  steps: 4\n"
    document = parse_document(text, "r.yaml")
    assert document.content["b"] == {"steps": 3, "rate": 0.5}
    assert document.content["c"] == {"steps": 4, "rate": 0.5} and not document.repeated
    assert document.lines.of(("c", "steps")) == 5 and document.lines.of(("c", "rate")) == 3
    many = "a: [" + ", ".join(["1"] * (MOST_VALUES - 10)) + "]\n"
    assert len(many) < LONGEST and len(parse_document(many, "r.yaml").content["a"]) == MOST_VALUES - 10


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
def test_lists_within_lists_are_no_crash(depth):
    from lingraft.errors import ConfigError

    try:
        parse_document("a: " + "[" * depth + "]" * depth + "\n", "deep.yaml")
    except ConfigError as error:
        assert depth > 100 and str(error).startswith("deep.yaml: lists within lists without end")
