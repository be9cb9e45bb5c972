"""The recipes that come with Lingraft: valid without a network, with a header that says what a reader must know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.recipes.checking.builtins import BUILTIN, list_builtins
from lingraft.recipes.checking.loading import load_recipe
from lingraft.recipes.checking.reference_page import reference_markdown
from lingraft.recipes.diagnosing.recommendation import Recommendation

NAMES = ["demo", "high-resource", "low-resource", "preference-only", "pretrain-only", "probe-only"]


def test_they_are_all_there() -> None:
    assert [recipe.name for recipe in list_builtins()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_valid_and_says_command_hardware_and_time(name: str) -> None:
    checked = load_recipe(name)
    header = next(recipe for recipe in list_builtins() if recipe.name == name).header
    text = "\n".join(header)
    assert f"lingraft run {name} --out" in text and "Hardware: " in text and "Time: " in text
    assert checked.stages[-1].kind_name == "evaluate"
    # Another language is one change, its texts follow.
    other = load_recipe(name, ["language=tr"])
    assert "libreoffice-help-tr" in str(other.recipe.data) and "{language}" not in str(other.content)


@pytest.mark.parametrize(
    "name", ["low-resource", "high-resource", "pretrain-only", "preference-only", "probe-only"]
)
def test_what_a_first_look_recommends_is_a_command_that_is_valid(name: str) -> None:
    changes = {"low-resource": {"vocabulary.mode": "extend", "preference.template": "plain"}}.get(name, {})
    line = Recommendation(name, (), changes).command(model="org/name", language="sl")  # type: ignore[arg-type]
    found = re.findall(r"--set (\S+)", line)
    checked = load_recipe(name, found)
    assert checked.recipe.model == "org/name" and checked.recipe.language == "sl"


def test_a_copy_is_the_same_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "copy", "low-resource", str(tmp_path)]) == 0
    copy = tmp_path / "low-resource.yaml"
    assert copy.read_text(encoding="utf-8") == (BUILTIN / "low-resource.yaml").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["recipes", "copy", "low-resource", str(copy)]) == 2
    assert "exists; expected a new file" in capsys.readouterr().err


def test_validate_estimates_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "validate", "pretrain-only"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("valid") and "pretrain" in out and "TFLOP/s" in out


def test_the_reference_in_docs_is_what_the_schema_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "recipe-reference.md"
    assert page.read_text(encoding="utf-8") == reference_markdown()


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["list"], {"torch", "numpy"}),
        (["kinds", "preference"], {"transformers"}),
        (["validate", "demo"], {"transformers.modeling_utils", "datasets", "pandas", "peft"}),
    ],
)
def test_recipes_are_read_without_what_running_them_takes(arguments: list[str], heavy: set[str]) -> None:
    program = (
        f"import sys\nfrom lingraft.cli.app import main\nstatus = main(['recipes', *{arguments}])\n"
        f"sys.exit(f'imported {{found}}' if (found := {heavy} & set(sys.modules)) else status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
