"""A first look: each part says what its own tool says, what stands in is told, and a stage reads it back."""

import dataclasses
import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.corpora.language_id import LanguageGuess
from lingraft.corpora.reading import read_texts
from lingraft.errors import ArchitectureError, AssetError, ConfigError, MissingExtraError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.pivots.trace_grid import WordGrid
from lingraft.pivots.trace_grid_report import grid_block
from lingraft.pivots.wordtask import WordItem
from lingraft.recipes.diagnosing import inputs as diagnosing_inputs
from lingraft.recipes.diagnosing import parts as diagnosing_parts
from lingraft.recipes.diagnosing import run as diagnosing
from lingraft.recipes.diagnosing.options import PARTS, DiagnoseOptions
from lingraft.recipes.diagnosing.recommendation import Findings, byte_premium
from lingraft.recipes.diagnosing.report import read_grids
from lingraft.recipes.diagnosing.run import findings_of, run_diagnosis
from lingraft.recipes.inputs import take_bytes
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.diagnose import KIND, DiagnoseSettings
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import render_page
from lingraft.reports.tokengrid import TokenGrid
from lingraft.tokenizers.fertility import measure_fertility

sys.path.insert(0, str(Path(__file__).parent))
diagnose_world = importlib.import_module("diagnose_world")


class Quick:  # in the place of lingua
    def __init__(self, languages=None):
        self.languages = languages

    def identify(self, texts):
        return [LanguageGuess("ru", 1.0) for _ in texts]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return diagnose_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    monkeypatch.setattr("lingraft.recipes.evaluating.fidelity_inputs.LinguaIdentifier", Quick)
    return tmp_path / "world"


def options(*parts, **changes):
    """Options for some parts only."""
    given = DiagnoseOptions(
        model="model",
        language="ru",
        held_out="ru.txt",
        english_held_out="en.txt",
        lexicon="lexicon.tsv",
        prompts=Path("prompts.jsonl"),
        help_pages=False,
        skip=tuple(part for part in PARTS if part not in parts),
        word_count=5,
        grids=2,
        answers=3,
        answer_tokens=4,
        instances=4,
    )
    return dataclasses.replace(given, **changes)


def test_text_is_measured_as_by_hand(world):
    found = run_diagnosis(options("fertility", "likelihood", text_bytes=150), out=Path("out")).metrics
    model, tokenizer = (kind.from_pretrained("model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    for name, file in (("target", "ru.txt"), ("english", "en.txt")):
        texts = read_texts(file)
        report = measure_fertility(tokenizer, texts)
        assert found["fertility"][name]["bytes_per_token"] == pytest.approx(report.bytes_per_token)
        # The same draw of whole documents, from the same order.
        scored = take_bytes(take_bytes(texts, diagnosing_inputs.TOKENIZED_BYTES), 150)
        wanted = bits_per_byte(model.eval(), tokenizer, scored)
        assert found["likelihood"][name]["bits_per_byte"]["value"] == pytest.approx(wanted.bits_per_byte)
        assert found["likelihood"][name]["bytes"] == wanted.bytes < 400
    assert found["fertility"]["byte_premium"] == pytest.approx(
        byte_premium("".join(read_texts("ru.txt"))), rel=0.02
    )


def test_findings_are_taken_from_where_they_are():
    estimate = {"value": 0.5, "low": 0.25, "high": 0.75, "observations": 12}
    metrics = {
        "fertility": {
            "target": {"bytes_per_token": 2.0},
            "english": {"bytes_per_token": 4.0},
            "byte_premium": 1.8,
        },
        "likelihood": {
            "target": {"bits_per_byte": {"value": 3.0}},
            "english": {"bits_per_byte": {"value": 1.0}},
            "byte_premium": 1.8,
        },
        "words": {"score": estimate},
        "fidelity": {"line_pass_rate": {"value": 0.4}, "judged": 7},
        "patching": {"headroom": estimate},
    }
    interval = Estimate(0.5, 0.25, 0.75, 12)
    assert findings_of(metrics, chat_template=True) == Findings(
        2.0, 4.0, 3.0, 1.0, 1.8, interval, 0.4, 7, True, interval
    )
    assert findings_of({}) == Findings()
    # No answer could be judged; no English text.
    assert findings_of({"fidelity": {"line_pass_rate": None, "judged": 0}}) == Findings()
    alone = {"likelihood": {"target": {"bits_per_byte": {"value": 3.0}}}}
    assert findings_of(alone) == Findings(bits_per_byte=3.0)


@pytest.mark.parametrize(
    "error",
    [
        ArchitectureError("an unknown architecture", "a known one", "name its layers"),
        MissingExtraError("lingua", "corpora", "language identification"),
        ConfigError("5 words whose source and target share tokens", "a word to trace", "give other words"),
    ],
)
def test_a_part_that_cannot_be_measured_says_why(world, monkeypatch, error):
    def refuse(_):
        raise error

    monkeypatch.setitem(diagnosing._PARTS, "trace", (refuse, "words"))
    found = run_diagnosis(options("fertility", "trace"), out=Path("out")).metrics
    assert found["skipped"]["trace"] == str(error) and "fertility" in found
    assert str(error).split(";")[0] in Path("out/report.html").read_text(encoding="utf-8").replace(
        "&#x27;", "'"
    )


def help_pages(directory):
    """What the asset of help pages looks like."""
    directory = directory / "v9"
    directory.mkdir(parents=True)
    for name, file in {"heldout.txt": "ru.txt", "en.heldout.txt": "en.txt"}.items():
        shutil.copy(file, directory / name)
    rows = Path("aligned.tsv").read_text(encoding="utf-8").splitlines()
    paragraphs = [f"page\tpar_{n}\t{row}" for n, row in enumerate(rows)]
    diagnose_world.write(directory / "pairs.tsv", paragraphs)
    headings = [f"page\thd_{n}\tThe heading {n}\tЗаголовок номер {n} здесь" for n in range(9)]
    diagnose_world.write(
        directory / "pairs.heldout.tsv", [*headings, "page\thd_x\tShort\tКоротко", *paragraphs]
    )
    return directory


@pytest.fixture
def asset(world, monkeypatch):
    directory = help_pages(world / "libreoffice-help-ru")
    for module in ("diagnosing.inputs", "pivots.aligned_words"):
        monkeypatch.setattr(
            f"lingraft.recipes.{module}.is_asset_name", lambda name: name == "libreoffice-help-ru"
        )
        monkeypatch.setattr(
            f"lingraft.recipes.{module}.fetch_asset", lambda _: type("Fetched", (), {"path": directory})
        )
    return directory


def test_help_pages_stand_in_for_what_is_not_given(asset):
    bare = options("fertility", "words", "fidelity", held_out=None, english_held_out=None, help_pages=True)
    bare = dataclasses.replace(bare, lexicon=None, prompts=None)
    result = run_diagnosis(bare, out=Path("out"))
    assert set(result.metrics["skipped"]) == {"likelihood", "trace", "patching"}
    assert result.metrics["help_pages"] == "libreoffice-help-ru"
    assert set(result.metrics["fertility"]) == {"target", "english", "byte_premium"}
    rows = [json.loads(line) for line in Path("out/prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 3 and all(row["prompt"].startswith("Заголовок номер") for row in rows)
    # The built-in recipes read the help pages by themselves.
    assert "data." not in result.metrics["recommendation"]["command"]
    inputs = {item.role: item.reference for item in result.inputs}
    assert inputs["held_out"] == "asset:libreoffice-help-ru/heldout.txt"
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "taken from the asset libreoffice-help-ru" in page


def test_no_help_pages_for_text_that_has_no_english_beside_it(asset):
    """English of another kind would not compare."""
    given = options("fertility", english_held_out=None, help_pages=True)
    found = run_diagnosis(given, out=Path("out")).metrics
    assert "english" not in found["fertility"] and not found["help_pages"]


def test_help_pages_that_cannot_be_fetched(asset, monkeypatch):
    def refuse(_):
        raise AssetError("no network", "one", "try again")

    monkeypatch.setattr("lingraft.recipes.diagnosing.inputs.fetch_asset", refuse)
    bare = options("fertility", "words", held_out=None, english_held_out=None, lexicon=None, help_pages=True)
    with pytest.raises(ConfigError, match=r"could not be fetched \(no network; expected one; try again\)"):
        run_diagnosis(bare, out=Path("out"))
    given = options("fertility", "words", lexicon=None, help_pages=True)
    assert "could not be fetched" in run_diagnosis(given, out=Path("out")).metrics["skipped"]["words"]


def test_a_lexicon_is_cut_to_frequent_words(world, monkeypatch):
    monkeypatch.setattr(diagnosing_inputs, "ENOUGH_WORDS", 30)
    common = [first for first, _ in diagnose_world.LEXICON[:40]]
    run_diagnosis(options("words", draws=1), out=Path("out"))
    kept = Path("out/lexicon/pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert {line.split("\t")[0] for line in kept} == set(common)
    monkeypatch.setattr(diagnosing_inputs, "ENOUGH_WORDS", 41)
    run_diagnosis(options("words", draws=1), out=Path("all"))
    assert len(Path("all/lexicon/pairs.tsv").read_text(encoding="utf-8").splitlines()) == 90


def test_grids_are_read_as_they_were_written(tmp_path):
    grid = WordGrid(
        WordItem("size", "Größe", ("Größe",), ()),
        ("size", "\n", ":"),
        1,
        np.array([[[1, 2], [3, 4], [5, 6]]] * 2),
        np.full((2, 3, 2), 0.25, dtype=np.float32),
        ((("a", "b"), ("क", "d"), ("\ufffd", "f")),) * 2,
        frozenset({1}),
        frozenset({3, 5}),
    )
    block = grid_block(grid)
    diagnosing_parts.write_grids(tmp_path / "grids.json", [block])
    (found,) = read_grids(tmp_path / "grids.json")
    assert isinstance(found, TokenGrid)
    assert dataclasses.replace(found, marked=block.marked, kinds=block.kinds) == block
    assert list(found.marked) == list(block.marked) and list(found.kinds) == list(block.kinds)


SETTINGS = DiagnoseSettings(
    model="model",
    held_out="ru.txt",
    english_held_out="en.txt",
    lexicon="lexicon.tsv",
    aligned="aligned.tsv",  # a recipe's data may hold both
    prompts="prompts.jsonl",
    help_pages=False,
    word_count=4,
    draws=1,
    grids=1,
    answers=3,
    answer_tokens=4,
    instances=4,
)


@pytest.mark.slow
def test_the_stage_runs_the_verb_and_reads_it_back(world):
    said = []
    context = StageContext("look", Path("stage"), "ru", seed=3, say=said.append)
    result = KIND.run(SETTINGS, context)
    assert result.kind == "stage diagnose" and result.seeds == {"seed": 3}
    assert [line.removeprefix("diagnose: ") for line in said] == list(PARTS)
    for name in KIND.made_by(SETTINGS):
        assert (Path("stage") / result.files[name]).is_file()
    assert "seconds" not in json.dumps(result.metrics)
    check_headroom(result.metrics["patching"], Path("stage/look"))
    page = render_page(KIND.sections(SETTINGS, Path("stage"), result))
    for text in ("Recommended recipe", "Transplants: the map, cell by cell", "tokengrid", "Как дела?"):
        assert text in page, text
    assert "with no control" not in page  # the shuffled donors are one
    # Again: what is there is read, and the report is the same.
    said.clear()
    assert KIND.run(SETTINGS, context).metrics == result.metrics and not said
    assert render_page(KIND.sections(SETTINGS, Path("stage"), result)) == page


def check_headroom(found, out):
    """Headroom is the bound less the bound of shuffled donors, word by word."""
    unions = []
    for run in ("patching", "patching-shuffled"):
        table = pq.read_table(out / run / "map.parquet").to_pydict()
        assert len(table["correct"]) == 4 * 3 * 3
        right = {}
        for name, correct in zip(table["instance"], table["correct"], strict=True):
            right[name] = right.get(name, False) or correct
        unions.append(right)
    real, shuffled = unions
    assert found["upper_bound"]["value"] == pytest.approx(np.mean(list(real.values())))
    differences = [float(real[name]) - shuffled[name] for name in real]
    assert found["headroom"]["value"] == pytest.approx(np.mean(differences))
    # Four instances: Student's t, which is wider than resampling four.
    reach = np.std(differences, ddof=1) / 2 * 3.1824
    assert found["headroom"]["high"] == pytest.approx(np.mean(differences) + reach, abs=1e-4)


def test_stage_settings():
    assert "words" in KIND.made_by(DiagnoseSettings())
    assert not KIND.made_by(DiagnoseSettings(skip=("words", "trace", "patching")))
    with pytest.raises(ValueError, match="every part is left out"):
        DiagnoseSettings(skip=PARTS)
