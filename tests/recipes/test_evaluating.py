"""The stage `evaluate`, and the beginnings of documents that models carry on."""

import inspect
from pathlib import Path

import pytest

from lingraft.cli.eval_compare import compare
from lingraft.recipes.evaluating.inputs import OPENING, _opening
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.evaluate import KIND, EvaluateSettings
from lingraft.reports.page import render_page


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("Egun on! Zer moduz zaude gaur?", "Egun on! Zer"),
        ("one two", "one"),
        ("문서를열고페이지를선택하세요", "문서를열고페이"),
        ("a", ""),
        ("word " * 100, ("word " * (OPENING // 5)).strip()),
    ],
)
def test_openings_end_with_a_word(text: str, opening: str) -> None:
    assert _opening(text) == opening


def test_the_stage_takes_what_the_verb_takes() -> None:
    """Names and defaults are the verb's; the language is the recipe's."""
    verb = {
        name: value.default
        for name, value in inspect.signature(compare).parameters.items()
        if name not in {"out", "device", "language", "trust_remote_code", "accept_terms", "json"}
    }
    stage = {name: info.default for name, info in EvaluateSettings.model_fields.items() if name != "use"}
    verb["models"] = verb.pop("model")
    assert verb.keys() == stage.keys()
    same = verb.keys() - {"models", "seed"}
    assert {name: verb[name] or None for name in same} == {name: stage[name] or None for name in same}
    assert all(info.description for info in EvaluateSettings.model_fields.values())


def test_the_stage(tmp_path: Path, make_tiny_llama, byte_bpe_tokenizer, multilingual_texts) -> None:
    for name, seed in (("model", 0), ("after", 1)):
        make_tiny_llama(600, seed=seed).save_pretrained(tmp_path / name)
        byte_bpe_tokenizer.save_pretrained(tmp_path / name)
    (tmp_path / "held.txt").write_text("".join(f"{t}\n" for t in multilingual_texts), encoding="utf-8")
    settings = EvaluateSettings(
        models={"before": str(tmp_path / "model"), "after": str(tmp_path / "after")},
        held_out=str(tmp_path / "held.txt"),
        samples=2,
        max_new_tokens=4,
        seed=5,
    )
    said: list[str] = []
    context = StageContext(
        name="evaluate", out=tmp_path / "out", language="eu", device="cpu", say=said.append
    )
    result = KIND.run(settings, context)
    assert said[0] == "before: bits per byte, target" and said[-1] == "after: answers"
    assert result.seeds == {"seed": 5} and result.metrics["language"] == "eu"
    assert (tmp_path / "out" / result.files["samples"]).exists()
    assert KIND.outputs.keys() <= result.files.keys() and not KIND.trains
    assert KIND.run(settings, context).metrics == result.metrics
    page = render_page(KIND.sections(settings, tmp_path / "out", result))
    for text in ("What came out", "after less before", "Each model", "carried on from its first words"):
        assert text in page, text
