"""`lingraft diagnose` as it is typed: what lies on the disk, killed runs, and one line for whatever goes wrong."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.corpora.language_id import LanguageGuess
from lingraft.pivots.task_file import read_word_task
from lingraft.progress import progress_enabled

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
diagnose_world = importlib.import_module("diagnose_world")
arguments = diagnose_world.arguments


class Quick:
    """Takes the place of lingua, whose models load for seconds."""

    def __init__(self, languages=None):
        self.languages = languages

    def identify(self, texts):
        return [LanguageGuess("ru" if len(text) % 2 else "en", 1.0) for text in texts]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The world, with a whole look in `whole`."""
    world = diagnose_world.make_world(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch, progress_enabled(False):
        patch.chdir(world)
        patch.setattr("lingraft.recipes.evaluating.fidelity_inputs.LinguaIdentifier", Quick)
        assert main(arguments(out="whole")) == 0
    return world


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    monkeypatch.setattr("lingraft.recipes.evaluating.fidelity_inputs.LinguaIdentifier", Quick)
    return tmp_path / "world"


def one_line(capsys):
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in said.err, said.err
    return errors[0]


def test_everything_a_look_leaves(world, capsys):
    before = Path("whole/result.json").read_bytes()
    # The same command again reads what is there.
    assert main(arguments("--json", out="whole")) == 0
    result = json.loads(capsys.readouterr().out)
    metrics = result["metrics"]
    assert Path("whole/result.json").read_bytes() == before
    assert metrics["skipped"] == {} and result["counts"] == {"parts": {"measured": 6, "not measured": 0}}
    for name, place in result["files"].items():
        assert Path("whole", place).is_file(), name
    assert len(read_word_task(Path("whole", result["files"]["words"])).items) == 6
    assert {item["role"] for item in result["inputs"]} == {"model", "held_out", "english_held_out"}
    advice = metrics["recommendation"]
    assert advice["command"].startswith(f"lingraft run {advice['recipe']} --out runs/ru --set model=model")
    assert "data.held_out=ru.txt" in advice["command"] and "data.lexicon=lexicon.tsv" in advice["command"]
    page = Path("whole/report.html").read_text(encoding="utf-8")
    for text in ("Recommended recipe", "Transplant headroom", "layer by token", "Как дела?", "<details"):
        assert text in page, text
    assert "http://" not in page.replace("http://www.w3.org", "")
    # For a person: the recipe, why, and the command that starts it.
    assert main(arguments(out="whole")) == 0
    shown = capsys.readouterr().out
    assert f"recommended recipe: {advice['recipe']}" in shown and f"start it: {advice['command']}" in shown
    assert all(reason in shown for reason in advice["reasons"])
    assert main(arguments(out="whole", seed=1)) == 2
    assert "holds a run of another command (differs in: seed)" in one_line(capsys)


def test_what_is_missing_is_told_and_no_error(world, capsys):
    nothing = dict.fromkeys(["english_held_out", "lexicon", "prompts"])
    assert main(arguments("--json", "--skip", "likelihood", **nothing)) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    skipped = metrics["skipped"]
    assert set(skipped) == {"likelihood", "words", "trace", "fidelity", "patching"}
    assert skipped["words"].startswith("none of --words, --lexicon and --aligned, ")
    assert "libreoffice-help-ru is not to be used" in skipped["words"]
    assert skipped["fidelity"].startswith("no --prompts")
    assert not Path("out/words.jsonl").exists()


def test_nothing_to_measure_is_an_error(world, capsys):
    nothing = dict.fromkeys(["held_out", "english_held_out", "lexicon", "prompts"])
    assert main(arguments("--skip", "trace", **nothing)) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "error: nothing to measure fertility, likelihood, words, fidelity, patching on: no --held"
    )
    assert "; none of --words, " in told and told.count("\n") == 1 and not Path("out").exists()


def test_parts_can_be_left_out(world, capsys):
    options = arguments("--json", "--skip", "patching, trace,fidelity,likelihood", english_held_out=None)
    assert main(options) == 0
    result = json.loads(capsys.readouterr().out)
    metrics = result["metrics"]
    assert set(metrics["skipped"]) == {"patching", "trace", "fidelity", "likelihood"}
    assert set(metrics["skipped"].values()) == {"left out (--skip)"}
    assert "english" not in metrics["fertility"] and metrics["fertility"]["target"]["tokens_per_word"] > 1
    assert metrics["fertility"]["byte_premium"] > 1.5  # Cyrillic
    assert not Path("out/trace").exists() and metrics["words"]["words"] == 6


def test_words_of_parallel_text_and_of_a_word_task(world, capsys):
    few = ["--skip", "trace,fidelity,patching,fertility,likelihood", "--json"]
    assert main(arguments(*few, aligned="aligned.tsv", lexicon=None)) == 0
    first = json.loads(capsys.readouterr().out)["metrics"]["words"]
    pairs = set(diagnose_world.LEXICON)
    items = read_word_task(Path("out/words.jsonl")).items
    assert {(item.source_word, item.target_word) for item in items} <= pairs and len(items) == 6
    shutil.copy("out/words.jsonl", "given.jsonl")
    assert main(arguments(*few, words="given.jsonl", lexicon=None, out="again")) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["words"] == first


BAD = {
    "model": ({"model": "nowhere"}, "nowhere"),
    "encoder": ({"model": "donor"}, "donor"),
    "held-out": ({"held_out": "gone.txt"}, "gone.txt"),
    "held-out-empty": ({"held_out": "empty.txt"}, "empty.txt"),
    "english": ({"english_held_out": "gone.txt"}, "gone.txt"),
    "lexicon": ({"lexicon": "gone.tsv"}, "gone.tsv: No such file or directory; expected a lexicon"),
    "lexicon-small": ({"lexicon": "small.tsv"}, "usable words; expected at least"),
    "aligned": ({"lexicon": None, "aligned": "gone.tsv"}, "no file gone.tsv"),
    "words": ({"lexicon": None, "words": "gone.jsonl"}, "gone.jsonl: No such file"),
    "words-other": ({"lexicon": None, "words": "ru.txt"}, "expected a line of a word task"),
    "words-language": (
        {"lexicon": None, "words": "eu.jsonl"},
        "eu.jsonl with words into Basque; expected words",
    ),
    "two-sources": ({"aligned": "aligned.tsv"}, "--lexicon and --aligned; expected one of them"),
    "prompts": ({"prompts": "gone.jsonl"}, "gone.jsonl"),
    "prompts-field": ({"prompts": "nofield.jsonl"}, "expected a field prompt or target_prompt"),
    "skip": ({"skip": "patches"}, "--skip patches; expected parts among fertility, likelihood, words"),
    "skip-all": (
        {"skip": "fertility,likelihood,words,trace,fidelity,patching"},
        "--skip with every part; expected a part",
    ),
    "language": ({"language": "xq"}, "the language 'xq'"),
    "english-language": ({"language": "en"}, "another language than English"),
    "count": ({"word_count": 0}, "--word-count 0; expected at least 1"),
    "instances": ({"instances": 1}, "--instances 1; expected at least 2"),
    "dtype": ({"dtype": "int3"}, "dtype 'int3'"),
    "device": ({"device": "tpu"}, "tpu"),
    "out": ({"out": "model"}, "model is not empty and was not made by lingraft"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line_and_nothing_left(world, capsys, name):
    changes, message = BAD[name]
    Path("empty.txt").write_text("\n", encoding="utf-8")
    Path("nofield.jsonl").write_text('{"question": "?"}\n', encoding="utf-8")
    Path("small.tsv").write_text("one\tодин\n", encoding="utf-8")
    diagnose_world.write(Path("eu.tsv"), [f"{first}\tñak{first}" for first, _ in diagnose_world.LEXICON])
    words = [
        "pivots",
        "words",
        "--lexicon",
        "eu.tsv",
        "--source",
        "en",
        "--target",
        "eu",
        "--out",
        "eu.jsonl",
    ]
    assert main(words) == 0
    capsys.readouterr()
    before = sorted(Path().rglob("*"))
    assert main(arguments(**changes)) == 2
    assert message in one_line(capsys)
    assert sorted(Path().rglob("*")) == before


def files(directory):
    """What the parts left that does not say when it was made."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        if path.suffix in {".jsonl", ".tsv", ".png", ".safetensors"} or path.name.startswith("trace-"):
            found[str(path.relative_to(directory))] = path.read_bytes()
    return {name: content for name, content in found.items() if not name.startswith("fidelity")}


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same(world, capsys):
    more = ("--skip", "fidelity")  # the other process would load lingua
    command = [sys.executable, "-m", "lingraft.cli.app", *arguments(*more, out="killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    deaths = 0
    for path in ("fertility/result.json", "words/parts", "patching/instances"):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 240
        while process.poll() is None and not Path("killed", path).exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        deaths += process.returncode == -signal.SIGKILL
    assert deaths == 3 and not Path("killed/result.json").exists()
    assert main(arguments(*more, out="killed")) == 0
    whole, killed = (
        json.loads(Path(name, "result.json").read_text(encoding="utf-8"))["metrics"]
        for name in ("whole", "killed")
    )
    assert killed["skipped"] == {"fidelity": "left out (--skip)"}
    for part in ("fertility", "likelihood", "words", "trace", "patching"):
        assert killed[part] == whole[part], part
    wanted = {name: content for name, content in files("whole").items() if name != "prompts.jsonl"}
    assert {name: content for name, content in files("killed").items() if name in wanted} == wanted
