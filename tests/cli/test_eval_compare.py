"""`lingraft eval compare` end to end on tiny models: what it leaves, a killed run, one line for bad input."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.corpora.language_id import LanguageGuess
from lingraft.evaluation.answers import greedy_answers
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.tokenizers.chat import prompt_format
from lingraft.tokenizers.document_start import document_start

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

HELD_OUT = [
    "Größe — naïve café: 안녕하세요, hemen gaude gu denok.",
    "Ireki taula eta aukeratu edukia dokumentuaren hasieran.",
    "Zer moduz?",
    "Egun on! Euskal Herriko mendiak ederrak dira, eta itsasoa ere bai.",
]
ENGLISH = ["Open the table of contents and choose the size.", "Choose the size of the document here."]
PAIRS = [
    {"id": f"größe-{n}", "english_prompt": english, "target_prompt": target, "target_language": "eu"}
    for n, (english, target) in enumerate(
        [
            ("Open the document?", "Ireki dokumentua?"),
            ("Which size?", "Zein tamaina — größer?"),
            ("Who is there?", "Nor dago hor?\u2028안녕"),
        ]
    )
]
TEXTS = ["--held-out", "held.txt", "--english-held-out", "held.en.txt"]


class Vowels:
    """Takes the place of lingua, whose models load for seconds: Basque ends in a vowel here."""

    def __init__(self, languages=None):
        self.languages = languages

    def identify(self, texts):
        return [LanguageGuess("eu" if text[-1:] in "aeiou" else "en", 1.0) for text in texts]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    world = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    tiny_world.write_lines(world / "held.txt", HELD_OUT)
    tiny_world.write_lines(world / "held.en.txt", ENGLISH)
    tiny_world.write_lines(world / "pairs.jsonl", [json.dumps(row, ensure_ascii=False) for row in PAIRS])
    return world


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    monkeypatch.setattr("lingraft.recipes.evaluating.fidelity_inputs.LinguaIdentifier", Vowels)
    return tmp_path / "world"


def compare(*more, out="out", models=("before=model", "after=untied")):
    named = [part for text in models for part in ("--model", text)]
    return main(["eval", "compare", *named, "--out", out, "--max-new-tokens", "8", "--device", "cpu", *more])


def prompted(*more, **given):
    return compare("--prompts", "pairs.jsonl", "--language", "eu", *more, **given)


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n") if line]


def one_line(capsys):
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in said.err and not said.out
    return lines[0]


def load(name):
    return AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)


@pytest.mark.slow
def test_everything_a_run_leaves(world, capsys):
    assert prompted(*TEXTS, "--samples", "2", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    metrics = result["metrics"]
    assert list(metrics["models"]) == ["before", "after"] and metrics["baseline"] == "before"
    own = {name: load(directory) for name, directory in (("before", "model"), ("after", "untied"))}
    for name, (model, tokenizer) in own.items():
        for side, texts in (("target", HELD_OUT), ("english", ENGLISH)):
            wanted, found = bits_per_byte(model, tokenizer, texts), metrics["models"][name][side]
            assert found["bits_per_byte"] == pytest.approx(wanted.bits_per_byte)
            assert found["tokens"] == wanted.tokens and found["documents"] == len(texts)
            assert found["tokens_per_byte"] == wanted.tokens / wanted.bytes
            assert found["interval"][0] <= found["bits_per_byte"] <= found["interval"][1]
        form = prompt_format(tokenizer, "chat")
        for kind, field in (("target", "target_prompt"), ("english", "english_prompt")):
            rows = [row for row in rows_of("out/samples.jsonl") if row["kind"] == kind]
            prompts = [row[field] for row in PAIRS[:2]]
            assert [row["prompt"] for row in rows] == prompts and rows[0]["id"] == "größe-0"
            answers = greedy_answers(model, form, [row[field] for row in PAIRS], max_new_tokens=8)
            assert [row["answers"][name] for row in rows] == answers[:2]
    change = metrics["differences"]["after"]["target"]
    values = [metrics["models"][name]["target"]["bits_per_byte"] for name in ("before", "after")]
    assert change["value"] == pytest.approx(values[1] - values[0])
    assert change["low"] <= change["value"] <= change["high"] and change["observations"] == 4
    fidelity = metrics["models"]["before"]["fidelity"]
    assert fidelity["answers"] == 3 and fidelity["judged"] + fidelity["skipped"] == 3
    assert metrics["models"]["before"]["english_fidelity"]["answers"] == 3
    assert sum(result["counts"]["answers, after"].values()) == 3

    table = pq.read_table("out/comparison.parquet").to_pylist()
    first, second = (row for row in table if row["measure"] == "target language, bits per byte")
    assert first["model"] == "before" and first["difference"] is None
    assert second["difference"] == change["value"] and second["value"] == values[1]
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("after less before", "größer?", "What the models write"))
    assert not any(outside in page for outside in ('src="http', 'href="http', "<link", "@import"))

    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.is_file()}
    assert prompted(*TEXTS, "--samples", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == result
    assert times == {path: path.stat().st_mtime_ns for path in times}
    shutil.copytree("model", "untied", dirs_exist_ok=True)
    assert prompted(*TEXTS, "--samples", "2") == 2
    assert "differs in: content of model after" in one_line(capsys)


def test_a_model_against_itself(world, capsys):
    """No difference at all; and what is said of it."""
    assert prompted(*TEXTS, models=("one=model", "same=model")) == 0
    said = capsys.readouterr().out
    assert "+0.000, 95% interval +0.000 to +0.000: no difference beyond chance" in said
    assert compare(*TEXTS, models=("alone=model",), out="alone") == 0
    assert "Target language, bits per byte: " in capsys.readouterr().out


def test_without_prompts_held_out_text_is_carried_on(world):
    assert compare(*TEXTS, "--samples", "3") == 0
    rows = rows_of("out/samples.jsonl")
    assert {row["kind"] for row in rows} == {"continuation", "English continuation"}
    beginnings = [row["prompt"] for row in rows if row["kind"] == "continuation"]
    assert len(beginnings) == 3 and all(
        any(text.startswith(f"{beginning} ") for text in HELD_OUT) for beginning in beginnings
    )
    model, tokenizer = load("model")
    ids = [document_start(tokenizer), *tokenizer(beginnings[0], add_special_tokens=False)["input_ids"]]
    # Said, since generate takes a first token that is also the pad token for padding.
    seen = torch.ones(1, len(ids), dtype=torch.long)
    made = model.generate(torch.tensor([ids]), attention_mask=seen, max_new_tokens=8, do_sample=False)
    found = made[0, len(ids) :]
    assert rows[0]["answers"]["before"] == tokenizer.decode(found, skip_special_tokens=True)


def test_fidelity_is_that_of_the_answers(world, monkeypatch, capsys):
    """Known answers in the place of the models': before 1 of 3 in the language, after 2 of the 2 judged."""
    basque, english = "hau da esaldi oso luze bat hona", "this is one long line about that"
    given = {"model": [basque, english, english], "untied": [basque, basque, "hau"]}

    def answer_batches(model, format, prompts, **_):
        tied = model.config.tie_word_embeddings
        yield dict(enumerate(given["model" if tied else "untied"][: len(prompts)]))

    monkeypatch.setattr("lingraft.recipes.evaluating.kept_answers.answer_batches", answer_batches)
    assert prompted("--json", "--english-prompts", "0") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    rates = [metrics["models"][name]["fidelity"]["line_pass_rate"] for name in ("before", "after")]
    assert [(rate["value"], rate["observations"]) for rate in rates] == [(pytest.approx(1 / 3), 3), (1, 2)]
    change = metrics["differences"]["after"]["fidelity"]
    assert change["value"] == 0.5 and change["observations"] == 2, "of the two judged in both"
    assert rows_of("out/samples.jsonl")[2]["judged"] == {
        "before": "en",
        "after": "not judged: no line long enough",
    }
    assert prompted("--fidelity-prompts", "0", out="unjudged") == 0
    assert "judged" not in rows_of("unjudged/samples.jsonl")[0]
    assert (
        "fidelity" not in json.loads(Path("unjudged/result.json").read_text())["metrics"]["models"]["after"]
    )


def test_what_a_tokenizer_hides_is_said(world, capsys):
    tokenizer = AutoTokenizer.from_pretrained("untied")
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained("untied")
    capitals = sum(character.isupper() for text in HELD_OUT for character in text)
    assert compare(*TEXTS, "--json") == 0
    models = json.loads(capsys.readouterr().out)["metrics"]["models"]
    assert [models[name]["target"]["charged_bytes"] for name in ("before", "after")] == [0, capitals]
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert f"after: its tokenizer hides {capitals} of the" in page and "before: its tokenizer" not in page
    assert main(["eval", "bpb", "--model", "untied", "--text", "held.txt", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert f"{capitals} bytes that the tokenizer normalises away are charged 8 bits each; without any" in said
    Path("one.txt").write_text(HELD_OUT[1], encoding="utf-8")
    assert main(["eval", "bpb", "--model", "model", "--text", "one.txt", "--device", "cpu"]) == 0
    assert "interval" not in capsys.readouterr().out, "of one document there is none"


KILL = """
import os, signal, sys
import lingraft.recipes.evaluating.measures as measures
own, done = measures.write_json, []
def write(path, value):
    own(path, value)
    done.append(path)
    if len(done) == {times}:
        os.kill(os.getpid(), signal.SIGKILL)
measures.write_json = write
from lingraft.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_continues(world, monkeypatch):
    """Killed after the second model's first text: the first model is not loaded again."""
    assert compare(*TEXTS, out="whole") == 0
    command = ["eval", "compare", "--model", "before=model", "--model", "after=untied", "--out", "out"]
    command += ["--max-new-tokens", "8", "--device", "cpu", *TEXTS]
    script = [sys.executable, "-c", KILL.format(times=5), *command]
    ended = subprocess.run(script, env=os.environ | {"LINGRAFT_CACHE": "none"}, check=False)
    assert ended.returncode == -signal.SIGKILL and not Path("out/result.json").exists()
    module = importlib.import_module("lingraft.recipes.evaluating.measures")
    own, loaded = module.load_model, []

    def load_model(reference, **more):
        loaded.append(reference)
        return own(reference, **more)

    monkeypatch.setattr(module, "load_model", load_model)
    assert main(command) == 0
    assert loaded == ["untied"]
    for name in ("samples.jsonl", "comparison.parquet"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    results = [json.loads(Path(out, "result.json").read_text(encoding="utf-8")) for out in ("out", "whole")]
    assert results[0]["metrics"] == results[1]["metrics"]


def test_words_and_tasks(world, monkeypatch, capsys):
    """Both go through their own verbs' runs; word scores are compared word by word."""
    scores = {"model": [0.1, 0.3, 0.2], "untied": [0.4, 0.2, 0.6]}
    module = importlib.import_module("lingraft.recipes.evaluating.measures")
    asked = []

    class Found:
        def __init__(self, metrics):
            self.metrics, self.draws = metrics, [0, 1]

    def run_scoring(reference, words, *, out, **more):
        import pyarrow as pa

        asked.append((reference, str(words), more["limit"]))
        out.mkdir(parents=True)
        pq.write_table(pa.table({"score": scores[reference]}), out / "scores.parquet")
        mean = float(np.mean(scores[reference]))
        rate = {"value": mean, "low": mean - 0.1, "high": mean + 0.1, "observations": 3}
        return Found({"score": rate, "words": 3, "other": 1})

    def run_tasks(options, *, out, **_):
        return Found({"tasks": {"mine": {"acc,none": 0.5, "acc_stderr,none": 0.1}}, "intervals": {}})

    monkeypatch.setattr(module, "run_scoring", run_scoring)
    monkeypatch.setattr(module, "run_tasks", run_tasks)
    monkeypatch.setattr("lingraft.recipes.evaluating.inputs.read_words", lambda *_: Found({}))
    monkeypatch.setattr("lingraft.recipes.evaluating.options.check_options", lambda *_: None)
    Path("words.json").write_text("{}", encoding="utf-8")
    assert compare("--words", "words.json", "--word-limit", "3", "--tasks", "mine") == 0
    capsys.readouterr()
    assert compare("--words", "words.json", "--word-draws", "3", out="draws") == 2
    assert "--word-draws 3; expected at most 2, what words.json holds" in one_line(capsys)
    metrics = json.loads(Path("out/result.json").read_text(encoding="utf-8"))["metrics"]
    assert asked == [("model", "words.json", 3), ("untied", "words.json", 3)]
    assert metrics["models"]["before"]["words"]["score"]["value"] == pytest.approx(0.2)
    assert metrics["differences"]["after"]["words"]["value"] == pytest.approx(0.2)
    task = metrics["models"]["after"]["tasks"]["mine"]["acc,none"]
    assert task["value"] == 0.5 and task["low"] == pytest.approx(0.304)
    assert "other" not in metrics["models"]["before"]["words"]
    assert "acc,none" in Path("out/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("models", "arguments", "words"),
    [
        (["model"], TEXTS, ["--model model", "NAME=REFERENCE"]),
        (["a=model", "a=untied"], TEXTS, ["two models named 'a'"]),
        (["../a=model"], TEXTS, ["the model's name '../a'"]),
        (["a=model"], [], ["nothing to measure on", "--held-out"]),
        (["a=model", "b=./gone"], TEXTS, ["no file or directory './gone'"]),
        (["a=model", "b=target"], TEXTS, ["target"]),
        (["a=model"], ["--held-out", "gone.txt"], ["no file gone.txt"]),
        (["a=model"], ["--prompts", "pairs.jsonl"], ["--prompts without --language"]),
        (["a=model"], ["--prompts", "gone.jsonl", "--language", "eu"], ["gone.jsonl"]),
        (["a=model"], ["--prompts", "pairs.jsonl", "--language", "sw"], ["no prompt in pairs.jsonl"]),
        (["a=model"], ["--words", "held.txt"], ["held.txt"]),
        (["a=model"], [*TEXTS, "--samples", "-1"], ["--samples"]),
        (
            ["a=model"],
            ["--prompts", "pairs.jsonl", "--language", "eu", "--max-new-tokens", "300"],
            ["at most 256 together, the model's context"],
        ),
        (
            ["a=model"],
            ["--prompts", "pairs.jsonl", "--language", "eu", "--template", "gone.jinja"],
            ["--template gone.jinja"],
        ),
    ],
)
def test_one_line_for_bad_input(world, capsys, models, arguments, words):
    assert compare(*arguments, models=models) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert not Path("out").exists()


def test_a_template_that_fits_all_models(world, capsys):
    """One without a chat template: all are asked in plain text, and chat is refused."""
    Path("untied/chat_template.jinja").unlink(missing_ok=True)
    tiny_world.edit_json(Path("untied/tokenizer_config.json"), chat_template=None)
    assert prompted("--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["template"] == "plain"
    assert prompted("--template", "chat", out="chat") == 2
    assert "without a chat template" in one_line(capsys)
    assert not Path("chat").exists()


def test_a_directory_of_something_else(world, capsys):
    assert compare(*TEXTS, out="donor") == 2
    assert "not made by lingraft" in one_line(capsys)
