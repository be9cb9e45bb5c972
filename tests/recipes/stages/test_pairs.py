"""Stages `translate` and `pairs`: one after the other, from parallel lines, from documents, and what is refused."""

import json
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from lingraft.errors import ConfigError
from lingraft.preference.items import read_items
from lingraft.recipes.stages import pairs, translate

SYLLABLES = ["ba", "ku", "mi", "no", "ré", "so", "ta", "wü", "ye", "zo"]


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """English and made-up lines, instructions of them, and their translations for the engine `parallel`."""
    monkeypatch.chdir(tmp_path)
    chance = random.Random(0)

    def words():
        return " ".join("".join(chance.choices(SYLLABLES, k=4)) for _ in range(8))

    english, target = ([f"{name} {words()}" for _ in range(300)] for name in ("en", "xx"))
    for name, lines in (("a.en", english), ("a.xx", target)):
        Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    rows = [{"prompt": english[n], "response": english[n + 100]} for n in range(60)]
    rows += [{"prompt": "Translate this text into French: I like tea.", "response": "J'aime le thé."}]
    write("instructions.jsonl", rows)
    # One translation is missing, so that the rows of both sides do not lie side by side.
    pairs_of = [(english[n], target[n]) for n in [*range(60), *range(100, 160)] if n != 7]
    write("parallel.jsonl", [{"source": one, "target": other} for one, other in pairs_of])
    return tmp_path


def write(name, rows):
    Path(name).write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


ENGINE = {"instructions": "instructions.jsonl", "engine": "parallel:parallel.jsonl", "identifier": "none"}


def test_translated_and_then_divided(texts, staged):
    made, page = staged(translate.KIND, Path("one"), language="xx", **ENGINE, engine_licence="CC0-1.0")
    assert made.metrics["items"] == 59 and made.counts["items"]["kept"] == 59
    assert not {"seconds", "words_translated_now"} & set(made.metrics) and "sentences" not in made.counts
    assert "59 of 61 instructions translated from en to xx by parallel" in page and "CC0-1.0" in page
    assert "asks for a translation" in page and "no target_prompt" in page
    items, _ = read_items(Path("one") / made.files["pairs"])
    given = {name: str(Path("one") / made.files[name]) for name in ("instructions", "translations")}
    result, page = staged(
        pairs.KIND, Path("two"), language="xx", **given, identifier="none", held_out=9, limit=40
    )
    training, _ = read_items(Path("two") / result.files["pairs"])
    apart, _ = read_items(Path("two") / result.files["heldout"])
    assert (len(training), len(apart)) == (40, 9)
    known = {item.id: item for item in items}
    assert all(known[item.id] == item for item in [*training, *apart])
    assert "40 paired items to train on and 9 held out, in English and xx" in page
    assert training[0].target_prompt in page


def test_parallel_lines_without_held_out_items(texts, staged):
    result, page = staged(
        pairs.KIND,
        language="xx",
        parallel=["a.en", "a.xx"],
        # Stands there by a default of the recipe.
        aligned="missing.tsv",
        identifier="none",
        held_out=0,
        limit=30,
    )
    assert result.metrics["items"] == 30 and "heldout" not in result.files
    assert result.seeds == {"seed": 3} and "Continuations of parallel text" in page


def test_documents(texts, staged):
    chance = random.Random(1)
    rows = []
    for document in range(60):
        for kind, length in (("hd", 3), ("par", 9), ("hd", 4), ("par", 8)):
            sides = [
                " ".join([name, *("".join(chance.choices(SYLLABLES, k=3)) for _ in range(length))])
                for name in ("en", "xx")
            ]
            rows.append("\t".join([f"doc{document}", f"{kind}_{len(rows)}", *sides]))
    Path("pairs.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    result, page = staged(
        pairs.KIND, language="xx", aligned="pairs.tsv", identifier="none", held_out=10, limit=40
    )
    assert (result.metrics["items"], result.metrics["held_out"]) == (40, 10)
    assert "Sections of aligned documents" in page


def test_without_a_source(texts, staged):
    with pytest.raises(ConfigError, match="no source of items"):
        staged(pairs.KIND, language="xx")
    assert not any(Path("out").iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"instructions": "a"}, "go together: add translations"),
        ({"translations": "a"}, "go together: add instructions"),
        (
            {"instructions": "a", "translations": "b", "parallel": ["a", "b"]},
            "two sources: keep one, or make two stages",
        ),
    ],
)
def test_settings_that_do_not_fit(given, said):
    with pytest.raises(ValidationError, match=said):
        pairs.KIND.settings.model_validate(given)


def test_what_is_offered():
    settings = pairs.KIND.settings
    assert list(pairs.KIND.made_by(settings.model_validate({}))) == ["pairs", "heldout"]
    assert list(pairs.KIND.made_by(settings.model_validate({"held_out": 0}))) == ["pairs"]
