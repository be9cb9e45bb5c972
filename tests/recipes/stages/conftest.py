"""A tiny world for stages, and what every stage must do: outputs, a result in JSON, sections without a model."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from lingraft.models import loading
from lingraft.preference.items import PairedItem, write_items
from lingraft.recipes.stages.contract import StageContext
from lingraft.reports.page import render_page
from lingraft.reports.result import RunResult

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

GERMAN = ["Größe der Straße", "Öffnen Sie das Dokument", "Wählen Sie Format", "Die Papiergröße ist 99"]
ENGLISH = ["Size of the street", "Open the document", "Choose format", "The size of the paper is 99"]


def paired_items(count, start=0):
    """German items, all different."""
    return [
        PairedItem(
            f"{ENGLISH[n % 4]}, {n}?",
            f"{ENGLISH[(n + 1) % 4]} and {ENGLISH[(n + 2) % 4]} {n}.",
            f"{GERMAN[n % 4]}, {n}?",
            f"{GERMAN[(n + 1) % 4]} {n}.",
            "de",
            f"item-{n}",
        )
        for n in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    directory = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    write_items(directory / "pairs.jsonl", paired_items(12))
    write_items(directory / "held.jsonl", paired_items(5, 50))
    return directory


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the tiny world to work in."""
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def context(out, language="eu", **more):
    """What a runner tells a stage."""
    out.mkdir(parents=True, exist_ok=True)
    return StageContext(name="it", out=out, language=language, seed=3, device="cpu", **more)


def plain(result):
    """A result without where and when it was made."""
    return {name: value for name, value in result.as_json().items() if name != "provenance"}


@pytest.fixture
def staged(monkeypatch):
    """A function that runs a stage and checks what every stage must do; returns its result and its page."""

    def run(kind, out=Path("out"), language="eu", again=True, **given):
        settings = kind.settings.model_validate(given)
        result = kind.run(settings, context(out, language))
        assert isinstance(result, RunResult)
        text = json.dumps(result.as_json(), allow_nan=False)
        kept = RunResult.model_validate(json.loads(text))
        made = kind.made_by(settings)
        assert made, "a stage without outputs"
        for name in made:
            assert (out / result.files[name]).exists(), name
        assert not set(kind.outputs) - set(made) & set(result.files)
        if again:
            assert plain(kind.run(settings, context(out, language))) == plain(result)
        return kept, page_of(kind, settings, out, kept)

    def page_of(kind, settings, out, result):
        """The stage's part of the report from its files alone; the same twice."""
        with monkeypatch.context() as without:
            for name in ("load_model", "load_donor", "load_tokenizer"):
                without.setattr(loading, name, lambda *_, **__: pytest.fail("the report loads a model"))
            pages = [render_page(kind.sections(settings, out, result)) for _ in range(2)]
        assert pages[0] == pages[1]
        assert "What came out" in pages[0]
        return pages[0]

    return run
