"""Recipes are read with their lines and checked whole: every fault is told at once, where it stands."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
from tiny_stages import KINDS

from lingraft.errors import ConfigError
from lingraft.recipes.checking import recipe as checking
from lingraft.recipes.checking.faults import RecipeError
from lingraft.recipes.checking.recipe import CheckedRecipe, check_recipe
from lingraft.recipes.checking.yaml_lines import parse_document
from lingraft.recipes.stages import kinds


@pytest.fixture(autouse=True)
def tiny_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (kinds, checking):
        monkeypatch.setattr(module, "STAGES", KINDS)
    monkeypatch.chdir(tmp_path)
    Path("größe.txt").write_text("bat bi hiru\n", encoding="utf-8")
    Path("model").mkdir()
    Path("model/config.json").write_text("{}", encoding="utf-8")


def check(text: str, *changes: str) -> CheckedRecipe:
    return check_recipe(parse_document(textwrap.dedent(text), "r.yaml"), "r.yaml", changes)


def faults(text: str, *changes: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        check(text, *changes)
    return caught.value.lines


GOOD = """\
    language: eu
    model: ./model
    data: {corpus: größe.txt}
    stages:
      select:
      pretrain:
        text: stage:select
        steps: 5
      again:
        use: pretrain
        rate: 1e-3
      evaluate:
    """


def test_what_is_left_out_is_filled_in() -> None:
    checked = check(GOOD)
    filled = {stage.name: dict(stage.filled) for stage in checked.stages}
    assert filled["select"] == {"corpus": ("größe.txt",)}
    assert filled["pretrain"] == {"model": "./model", "text": "stage:select", "tokenizer": None}
    assert filled["again"]["model"] == "stage:pretrain", "the newest model"
    assert filled["evaluate"]["models"] == {"before": "./model", "after": "stage:again"}
    # YAML 1.1 reads 1e-3 as text; a recipe's reader means the number.
    assert checked.stages[2].settings.rate == 1e-3  # type: ignore[attr-defined]
    assert [stage.kind_name for stage in checked.stages] == ["select", "pretrain", "pretrain", "evaluate"]


def test_pairs_of_an_earlier_stage_stand_for_those_of_the_recipe() -> None:
    text = "language: eu\nmodel: ./model\nstages:\n  made:\n    use: pairs\n  evaluate:\n"
    assert check(text).stages[1].filled["pairs"] == "stage:made/heldout"
    given = text.replace("stages:", "data: {held_out_pairs: größe.txt}\nstages:")
    assert check(given).stages[1].filled["pairs"] == "größe.txt"


def test_changes_take_the_place_of_what_the_file_says() -> None:
    checked = check(
        GOOD, "pretrain.steps=7", "model=org/name", "data.held_out=größe.txt", "seed=3", "select.copies=2"
    )
    assert checked.recipe.model == "org/name" and checked.recipe.seed == 3
    assert checked.stages[1].settings.steps == 7  # type: ignore[attr-defined]
    assert checked.stages[0].settings.copies == 2  # type: ignore[attr-defined]
    assert checked.stages[1].filled["model"] == "org/name"


def test_several_texts_of_the_recipe_are_read_where_several_may_be() -> None:
    Path("bi.txt").write_text("bi", encoding="utf-8")
    text = "language: eu\nmodel: ./model\ndata: {corpus: [größe.txt, bi.txt]}\nstages:\n  select:\n"
    assert check(text).stages[0].filled["corpus"] == ("größe.txt", "bi.txt")
    named = text.replace("select:", "select: {corpus: [recipe:corpus, bi.txt]}")
    assert check(named).stages[0].filled["corpus"] == ("größe.txt", "bi.txt", "bi.txt")
    told = faults(text + "  pretrain:\n")
    assert len(told) == 1 and told[0].startswith("r.yaml, line 6: stages.pretrain.text: 2 texts"), told


def test_the_language_stands_where_a_text_says_so() -> None:
    Path("sw.txt").write_text("moja", encoding="utf-8")
    text = GOOD.replace("größe.txt", "'{language}.txt'")
    assert check(text, "language=sw").stages[0].filled["corpus"] == ("sw.txt",)


def test_the_home_directory_is_read_where_no_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("größtes Zuhause").absolute()
    home.mkdir()
    (home / "bat.txt").write_text("bat", encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    text = GOOD.replace("größe.txt", "~/bat.txt").replace("stage:select", "~/*.txt")
    stages = check(text).stages
    assert stages[0].filled["corpus"] == (str(home / "bat.txt"),)
    assert stages[1].filled["text"] == str(home / "*.txt")
    assert any("no file '~/hiru.txt'" in line for line in faults(text.replace("bat.txt", "hiru.txt")))


def test_every_fault_is_told_at_once_with_its_line() -> None:
    told = faults(
        """\
        language: english
        modle: x
        seed: -1
        data: {corpus: missing.txt, herd: 3}
        stages:
          evaluate: {models: {a: stage:pretrain}}
          pretrain:
            stpes: 3
            steps: many
          select: {copies: 0}
          select: {copies: 2}
          third: {use: pretrain, text: stage:nobody, rate: .inf}
          four: {}
        """
    )
    starts = [line.split(": ", 1)[0] for line in told]
    assert starts == sorted(starts, key=lambda text: int(text.rsplit(" ", 1)[1]))
    expected = {
        "line 1": "language: 'english'; expected a code of ISO 639",
        "line 2": "unknown key 'modle' in the recipe; expected",
        "line 3": "seed: -1; expected greater than or equal to 0",
        "line 4": "unknown key 'herd' in data",
        "line 6": "stage 'pretrain', which comes later",
        "line 8": "unknown key 'stpes' in stages.pretrain; expected one of",
        "line 9": "stages.pretrain.steps: 'many'; expected a whole number; correct it",
        "line 11": "stages.select stands twice",
        "line 12": "no stage 'nobody'",
        "line 13": "no kind of stage 'four'",
    }
    for place, text in expected.items():
        assert any(f"r.yaml, {place}: " in line and text in line for line in told), (place, text, told)
    assert any("did you mean 'steps'?" in line for line in told)
    assert any("no model; expected a value for 'model'" in line for line in told)
    assert len(set(told)) == len(told) >= 11


@pytest.mark.parametrize(
    ("before", "after", "place", "text"),
    [
        ("language: eu", "language: en", 1, "another language than English"),
        ("language: eu", "language: no", 1, "YAML reads a bare `no` as false; quote it: 'no'"),
        ("language: eu", "language: Basque", 1, "a code of ISO 639 in small letters"),
        ("language: eu", "language: eus", 1, "a code of two letters (ISO 639-1); write eu"),
        ("model: ./model", "model: ./modle", 2, "no model './modle'"),
        ("model: ./model", "model: 7", 2, "model: 7; expected text"),
        ("größe.txt", "nichts.txt", 3, "no file 'nichts.txt'"),
        ("größe.txt", "asset:nothing/train.txt", 3, "no asset 'nothing'"),
        ("größe.txt", "asset:libreoffice-help-eu", 3, "asset:NAME/FILE"),
        ("stage:select", "stage:select/random", 7, "has no output 'random'"),
        ("stage:select", "stage:pretrain", 7, "itself; expected an earlier stage"),
        ("stage:select", "recipe:nothing", 7, "expected recipe: and one of model, corpus"),
        ("stage:select", "recipe:lexicon", 7, "but the recipe has no data.lexicon"),
        ("text: stage:select", "model: stage:select", 7, "makes text; expected a model"),
        ("steps: 5", "steps: 5.5", 8, "steps: 5.5; expected a whole number"),
        ("steps: 5", "steps: 0", 8, "greater than or equal to 1"),
        ("use: pretrain", "use: pretrian", 10, "did you mean 'pretrain'?"),
        ("evaluate:", "stages: {use: evaluate}", 12, "a stage named 'stages'"),
        ("evaluate:", "a b: {use: evaluate}", 12, "letters, digits, - and _"),
        ("evaluate:", "evaluate: 3", 12, "a mapping of settings"),
        ("evaluate:", "evaluate: {models: 3}", 12, "a mapping of names to values"),
    ],
)
def test_a_fault_is_one_line_where_it_stands(before: str, after: str, place: int, text: str) -> None:
    told = faults(GOOD.replace(before, after, 1))
    hits = [line for line in told if text in line]
    assert hits, told
    assert any(f"r.yaml, line {place}: " in line for line in hits), told


def test_a_wrong_change_is_named_as_typed() -> None:
    told = faults(GOOD, "pretrain.steps=many", "pretain.steps=3", "nonsense")
    assert any(
        line.startswith("--set pretrain.steps=many: stages.pretrain.steps: 'many'") for line in told
    ), told
    assert any("--set pretain.steps=3" in line and "did you mean 'pretrain'?" in line for line in told), told
    assert any(line.startswith("--set nonsense: ") and "STAGE.KEY=VALUE" in line for line in told), told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2\nb: 3\n", "r.yaml, line 2"),
        ("a:\n\t- 1\n", "r.yaml, line 2"),
        ("- 1\n- 2\n", "holds a list"),
        ("", "holds nothing"),
        ("just words\n", "holds a single value"),
        ("a: &x [*x]\n b: !!python/object:os.system x\n", "line 2"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1"),
    ],
)
def test_what_is_no_recipe_is_one_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "r.yaml")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_required_reference_without_anything_to_read_is_a_fault() -> None:
    told = faults("language: eu\nstages:\n  pretrain: {text: größe.txt}\n")
    assert any("stage pretrain has no model" in line for line in told), told


def test_lines_of_values_in_flow_and_block() -> None:
    document = parse_document("a: {b: 1,\n  c: [x,\n    y]}\nd:\n  e: |\n    text\n", "r.yaml")
    of: Any = document.lines.of
    assert of(("a", "b")) == 1 and of(("a", "c")) == 2 and of(("a", "c", 1)) == 3
    assert of(("d", "e")) == 5 and of(("d", "missing", "deeper")) == 4 and of(("nothing",)) == 1
