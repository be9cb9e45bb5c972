"""Languages that no identifier knows are told before anything runs."""

import textwrap
from pathlib import Path

import pytest

from lingraft.recipes.checking.faults import RecipeError
from lingraft.recipes.checking.recipe import check_recipe
from lingraft.recipes.checking.yaml_lines import parse_document

pytest.importorskip("lingua", reason='lingua is not installed: pip install "lingraft[corpora]"')

HAUSA = """\
    language: ha
    model: ./model
    data: {aligned: pairs.tsv, english_held_out: held.txt}
    stages:
      pairs: {}
      preference: {}
      evaluate: {}
    """


def told(text: str, *changes: str) -> list[str]:
    try:
        check_recipe(parse_document(textwrap.dedent(text), "r.yaml"), "r.yaml", changes)
    except RecipeError as error:
        return list(error.lines)
    return []


def test_stages_that_judge_texts_by_an_unknown_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("a\tb\tOpen the file.\tBuɗe fayil.\n", encoding="utf-8")
    Path("held.txt").write_text("Open the file.\n", encoding="utf-8")
    Path("model").mkdir()
    Path("model/config.json").write_text("{}", encoding="utf-8")
    found = told(HAUSA)
    assert [line.split(" judges ")[0].rsplit(" ", 1)[1] for line in found] == [
        "pairs",
        "preference",
        "evaluate",
    ]
    assert "lingua does not know ha; expected one of af, ar" in found[0] and "`identifier: none`" in found[0]
    assert "set `fidelity_prompts: 0`" in found[1]
    assert "set `fidelity_prompts: 0` and `english_prompts: 0`" in found[2]
    quiet = ["pairs.identifier=none", "preference.fidelity_prompts=0"]
    quiet += ["evaluate.fidelity_prompts=0", "evaluate.english_prompts=0"]
    assert told(HAUSA, *quiet) == []
    assert told(HAUSA, "language=sw") == []
