"""`lingraft pivots words`, `score` and `trace` end to end: what is typed, what lies on the disk, what forwards say."""

import importlib
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.pivots.task_file import read_word_task

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

LETTERS = "etaoinshrdlucm"
CYRILLIC = "еитонасрвлкмдп"


def word(number, letters=LETTERS):
    """A word for a number, its length varying."""
    text = ""
    number += 20
    while number:
        text += letters[number % len(letters)]
        number //= len(letters)
    return text * (1 + len(text) % 2)


LEXICON = [(word(n), word(3 * n + 1, CYRILLIC)) for n in range(80)]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    world = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    import transformers

    torch.manual_seed(5)
    config = transformers.AutoConfig.from_pretrained(world / "model")
    config.num_hidden_layers, config.max_position_embeddings = 3, 512
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(world / "model")
    write_lexicon(world / "ru.tsv", LEXICON)
    assert main(words("--limit", "12", out=str(world / "words.jsonl"), lexicon=str(world / "ru.tsv"))) == 0
    return world


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def write_lexicon(path, rows):
    path.write_text("".join(f"{first}\t{second}\n" for first, second in rows), encoding="utf-8")


def words(*more, out="new.jsonl", lexicon="ru.tsv", source="en", target="ru"):
    given = ["--lexicon", lexicon, "--source", source, "--target", target, "--out", out]
    return ["pivots", "words", *given, *more]


def run(verb, *more, out="out", file="words.jsonl", model="model"):
    return ["pivots", verb, "--model", model, "--words", file, "--out", out, *more]


def table(path):
    return pq.read_table(path).to_pydict()


def loaded():
    model, tokenizer = (kind.from_pretrained("model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    return model.eval(), tokenizer


def plain_probabilities(model, tokenizer, prompt, target):
    """Of the target's tokens, by one ordinary forward of the whole string; and the whole distribution before them."""
    before, whole = (tokenizer(text)["input_ids"] for text in (prompt, f"{prompt} {target}"))
    assert whole[: len(before)] == before
    with torch.no_grad():
        said = torch.log_softmax(model(torch.tensor([whole])).logits[0], -1)
    places = range(len(before), len(whole))
    return [float(said[place - 1, whole[place]]) for place in places], said[len(before) - 1].exp()


# ------------------------------------------------------------------------------------------------ what comes out


def test_words_are_drawn_and_counted(world, capsys):
    with (world / "ru.tsv").open("ab") as file:
        file.write(b"no tab\nempty\t\nsame\tsame\n\xff\tx\n")
        file.write("hot dog\tсосиска\ndog\tпёс\nСобака\tdog\n".encode())
    assert main(words("--json", "--pairs", "pairs.tsv", "--seed", "4")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["rejected rows"] == {
        "no tab": 1,
        "an empty word": 1,
        "the same word on both sides": 1,
        "not UTF-8": 1,
        "several words": 1,
        "not in the script of English": 1,
    }
    task = read_word_task(Path("new.jsonl"))
    assert len(task.items) == result["words"] and len(task.draws) == 5
    pairs = Path("pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert pairs == [f"{item.source_word}\t{item.target_word}" for item in task.items]
    first = Path("new.jsonl").read_bytes()
    assert main(words("--seed", "4")) == 0
    assert "rejected, an empty word: 1 (line" in capsys.readouterr().out
    assert Path("new.jsonl").read_bytes() == first
    assert main(words("--seed", "5")) == 0 and Path("new.jsonl").read_bytes() != first


def test_frequencies_come_from_a_corpus(world, capsys):
    names = [first for first, _ in LEXICON]
    lines = [" ".join([name] * (n + 1)) for n, name in enumerate(names)]
    Path("text.txt").write_text("\n".join(lines), encoding="utf-8")
    assert main(words("--corpus", "text.txt", "--most-frequent", "60", "--json")) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]["words"]
    assert counts["not among the most frequent words"] == len(LEXICON) - 60
    frequencies = {item.source_word: item.frequency for item in read_word_task(Path("new.jsonl")).items}
    assert all(frequency == names.index(name) + 1 for name, frequency in frequencies.items())


def test_a_directory_is_a_lexicon_and_columns_are_swapped(world, capsys):
    (world / "lexicon").mkdir()
    write_lexicon(world / "lexicon" / "pairs.tsv", [(second, first) for first, second in LEXICON])
    assert main(words("--swap", "--limit", "12", lexicon="lexicon")) == 0
    assert read_word_task(Path("new.jsonl")) == read_word_task(Path("words.jsonl"))


def test_scores_are_what_plain_forwards_say(world, capsys):
    assert main(run("score", "--draws", "2", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    rows, task = table("out/scores.parquet"), read_word_task(Path("words.jsonl"))
    model, tokenizer = loaded()
    for number in (0, 7):
        item = task.items[number]
        contrasts = []
        for draw in range(2):
            values = []
            for name in (item.source_word, *item.distractors):
                said, _ = plain_probabilities(model, tokenizer, task.prompt(name, draw), item.target_word)
                values.append(math.exp(sum(said) / len(said)))
            contrasts.append(values[0] - np.mean(values[1:]))
        assert rows["score"][number] == pytest.approx(np.mean(contrasts), abs=1e-6)
    assert result["metrics"]["score"]["value"] == pytest.approx(np.mean(rows["score"]))
    assert result["metrics"]["score"]["low"] <= result["metrics"]["score"]["value"]
    assert set(result["metrics"]) >= {"accuracy", "median_first_rank", "by_draw"}
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert task.items[0].target_word in page and "http://" not in page.replace("http://www.w3.org", "")


def test_the_last_layer_is_the_model(world, capsys):
    """Through the real command: the lens of the last layer is what transformers' own logits say."""
    assert main(run("trace", "--json", "--every-token", "--top", "4", "--grids", "3")) == 0
    result = json.loads(capsys.readouterr().out)
    layers, task = table("out/trace_layers.parquet"), read_word_task(Path("words.jsonl"))
    model, tokenizer = loaded()
    items = {item.source_word: item for item in task.items}
    last = [row for row, layer in enumerate(layers["layer"]) if layer == 2]
    assert len(last) >= result["metrics"]["words"] == 12 - len(result["metrics"]["skipped"])
    for row in last:
        item = items[layers["source_word"][row]]
        prompt = task.prompt(item.source_word, 0)
        said, whole = plain_probabilities(model, tokenizer, prompt, item.target_word)
        place = layers["position"][row]
        assert layers["next_probability"][row] == pytest.approx(math.exp(said[place]), rel=1e-3)
        if place == 0:
            best = whole.topk(4)
            assert layers["top_token_ids"][row] == best.indices.tolist()
            np.testing.assert_allclose(layers["top_probabilities"][row], best.values, rtol=1e-3)
    shares = result["metrics"]["behaviours"]
    assert list(shares) == ["any token", "words only", "words only, less common tokens"]
    assert sum(share["value"] for share in shares["any token"].values()) == pytest.approx(1)
    assert "0.1" in result["metrics"]["pivot_by_threshold"]["words only"]
    pictures = [name for name in result["files"].values() if name.endswith(".png")]
    assert len(pictures) == 5
    assert all(Path("out", name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert page.count("<details") == 3 and "Layer" not in capsys.readouterr().err


def test_pivots_and_named_words(world, capsys):
    item = read_word_task(Path("words.jsonl")).items[1]
    Path("pivots.tsv").write_text(f"{item.source_word}\t{item.target_word}\tdocument\n", encoding="utf-8")
    more = ["--pivots", "pivots.tsv", "--grid-word", item.source_word, "--threshold", "0.123"]
    assert main(run("trace", *more, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert "pivot" in result["metrics"]["mass_by_layer"]
    assert "0.123" in result["metrics"]["pivot_by_threshold"]["any token"]
    assert [one["role"] for one in result["inputs"]] == ["model", "words", "pivots"]
    assert Path("out/report.html").read_text(encoding="utf-8").count("<details") == 1


def test_pairs_that_share_tokens_are_named(world, capsys):
    lines = Path("words.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[1])
    lines[1] = json.dumps({**row, "source_word": "page", "target_word": "page", "accepted": ["page"]})
    Path("words.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert main(run("trace", "--grids", "0")) == 0
    assert "pairs share tokens and were skipped: page / page" in capsys.readouterr().out
    assert main(run("score", "--draws", "1", "--no-generate", out="scores")) == 0
    assert "pairs share tokens: page / page" in capsys.readouterr().out
    result = json.loads(Path("out/result.json").read_text(encoding="utf-8"))
    counts = result["counts"]["words"]
    assert counts["skipped: source and target share tokens"] == len(result["metrics"]["skipped"]) >= 1
    assert "page / page" in Path("out/report.html").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------- run again


@pytest.mark.parametrize("verb", ["score", "trace"])
def test_the_same_command_is_done_at_once_and_another_is_refused(world, capsys, verb):
    few = ["--limit", "6", *(["--grids", "1"] if verb == "trace" else ["--draws", "1", "--no-generate"])]
    assert main(run(verb, *few)) == 0
    first = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    shown = capsys.readouterr().out
    shutil.move("model", "elsewhere")  # a finished run loads nothing
    Path("model").symlink_to("elsewhere")
    assert main(run(verb, *few)) == 0
    assert capsys.readouterr().out == shown
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")} == first
    for more in (["--limit", "5"], ["--seed", "3"]):
        assert main(run(verb, *few, *more)) == 2
        line = capsys.readouterr().err
        assert re.search(r"out holds a run of another command \(differs in: (limit|seed)\)", line)
    # Other content under the same name is another command too.
    Path("words.jsonl").write_text(
        Path("words.jsonl").read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8"
    )
    assert main(run(verb, *few)) == 2
    assert "differs in: content of words" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["score", "trace"])
def test_a_killed_run_continues(world, monkeypatch, verb):
    """Killed by SIGKILL after its first part; the same command ends with the same tables."""
    recipe = {"score": "word_scoring", "trace": "word_tracing"}[verb]
    more = ["--draws", "1"] if verb == "score" else ["--grids", "0"]
    program = (
        f"import lingraft.recipes.pivots.{recipe} as recipe, os, signal\n"
        "recipe.PART_WORDS = 3\n"
        "from lingraft.pivots import partials\n"
        "save = partials.save_file\n"
        "def dying(arrays, path):\n"
        "    if len(list(path.parent.glob('*.safetensors'))) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    save(arrays, path)\n"
        "partials.save_file = dying\n"
        f"from lingraft.cli.app import main\nmain({run(verb, *more)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    parts = sorted(Path("out/parts").glob("*.safetensors"))
    assert len(parts) == 2 and not Path("out/result.json").exists()
    kept = [path.stat().st_mtime_ns for path in parts]
    monkeypatch.setattr(importlib.import_module(f"lingraft.recipes.pivots.{recipe}"), "PART_WORDS", 3)
    assert main(run(verb, *more)) == 0 and main(run(verb, *more, out="whole")) == 0
    assert [path.stat().st_mtime_ns for path in parts] == kept
    assert not list(Path("out/parts").glob(".*"))
    for name in {"score": ["scores"], "trace": ["traces", "trace_layers"]}[verb]:
        assert table(f"out/{name}.parquet") == table(f"whole/{name}.parquet")


# --------------------------------------------------------------------------------------------------- bad input


def bad(arguments, capsys, left=()):
    """The one line of a command that is refused and leaves nothing."""
    before = {path.name for path in Path().iterdir()}
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("error: ")
    assert {path.name for path in Path().iterdir()} - before == set(left)
    return captured.err


WORDS_LINES = {
    "wrong-direction": (
        {"source": "ru", "target": "en"},
        r"ru\.tsv: 100% of the words are in the other column's script; expected Russian words first.*--swap",
    ),
    "needless-swap": ({"more": ["--swap"]}, r"other column's script"),
    "unknown-language": (
        {"target": "xx"},
        r"the language 'xx'; expected one of ar, .*; give another language's",
    ),
    "same-language": ({"source": "ru"}, r"Russian twice; expected two languages"),
    "missing-file": ({"lexicon": "gone.tsv"}, r"gone\.tsv: No such file or directory; expected a lexicon"),
    "unknown-asset": ({"lexicon": "freedict-eng-zzz"}, r"freedict-eng-zzz: No such file"),
    "other-asset": (
        {"lexicon": "freedict-eng-deu"},
        r"freedict-eng-deu is no lexicon of English and Russian",
    ),
    "no-words": ({"lexicon": "corpus.txt"}, r"corpus\.txt has no usable row \(\d+ no tab\)"),
    "too-few": (
        {"lexicon": "small.tsv"},
        r"30 usable words; expected at least 35: 25 for examples, 9 distrac",
    ),
    "limit": ({"more": ["--limit", "0"]}, r"--limit 0; expected at least 1"),
    "draws": ({"more": ["--draws", "0"]}, r"--draws 0; expected at least 1"),
    "most-frequent": ({"more": ["--most-frequent", "9"]}, r"without frequencies; expected a frequency list"),
    "frequencies": ({"more": ["--frequencies", "corpus.txt"]}, r"corpus\.txt holds no frequency"),
    "both": (
        {"more": ["--frequencies", "ru.tsv", "--corpus", "corpus.txt"]},
        r"both --frequencies and --corpus",
    ),
    "out-taken": ({"out": "corpus.txt"}, r"corpus\.txt is there and is no word task; expected a new file"),
    "out-directory": ({"out": "model"}, r"model is a directory"),
}


@pytest.mark.parametrize("name", WORDS_LINES)
def test_bad_input_of_words(world, capsys, name):
    given, line = WORDS_LINES[name]
    write_lexicon(world / "small.tsv", LEXICON[:30])
    content = Path("corpus.txt").read_bytes()
    options = {key: value for key, value in given.items() if key != "more"}
    assert re.search(line, bad(words(*given.get("more", ()), **options), capsys))
    assert Path("corpus.txt").read_bytes() == content


def spoil(change, line=2):
    lines = Path("words.jsonl").read_text(encoding="utf-8").splitlines()
    lines[line - 1] = json.dumps({**json.loads(lines[line - 1]), **change}, ensure_ascii=False)
    Path("words.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("verb", ["score", "trace"])
def test_bad_input_of_score_and_trace(world, capsys, verb):
    assert re.search(r"gone: No such file.*lingraft pivots words", bad(run(verb, file="gone"), capsys))
    assert re.search(r"ru\.tsv line 1: no JSON", bad(run(verb, file="ru.tsv"), capsys))
    assert re.search(r"--limit 0", bad(run(verb, "--limit", "0"), capsys))
    assert re.search(r"'\./gone'", bad(run(verb, model="./gone"), capsys))
    (world / "out").mkdir()
    (world / "out" / "thesis.txt").write_text("x")
    assert re.search(r"out is not empty and was not made by lingraft", bad(run(verb), capsys))
    shutil.rmtree(world / "out")
    spoil({"source_word": " "})
    assert re.search(r"words\.jsonl line 2: an empty source_word", bad(run(verb), capsys))


@pytest.mark.parametrize("verb", ["score", "trace"])
def test_a_prompt_beyond_the_context(world, capsys, verb):
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    line = bad(run(verb), capsys)
    assert re.search(r"a prompt of \d+ tokens; expected at most 64, the model's context; give fewer ex", line)


@pytest.mark.parametrize("verb", ["score", "trace"])
def test_an_unknown_architecture(world, capsys, verb):
    from transformers import CTRLConfig, CTRLLMHeadModel

    tokenizer = AutoTokenizer.from_pretrained("model")
    config = CTRLConfig(vocab_size=len(tokenizer), n_embd=16, dff=16, n_layer=1, n_head=2)
    CTRLLMHeadModel(config).save_pretrained("strange")
    tokenizer.save_pretrained("strange")
    assert re.search(r"ctrl", bad(run(verb, model="strange"), capsys))


def test_bad_options_of_trace(world, capsys):
    assert re.search(r"--draw 5; expected 0 to 4", bad(run("trace", "--draw", "5"), capsys))
    assert re.search(r"--threshold 1\.5; expected a probab", bad(run("trace", "--threshold", "1.5"), capsys))
    assert re.search(r"--grid-word 'cow'", bad(run("trace", "--grid-word", "cow"), capsys))
    assert re.search(r"gone is not there", bad(run("trace", "--pivots", "gone"), capsys))
    Path("pivots.tsv").write_text("a\tb\tc\n")
    assert re.search(r"none of them among the 12 words", bad(run("trace", "--pivots", "pivots.tsv"), capsys))
    assert re.search(r"--draws 6; expected 1 to 5", bad(run("score", "--draws", "6"), capsys))
    task = [json.loads(line) for line in Path("words.jsonl").read_text(encoding="utf-8").splitlines()]
    task[1] |= {"source_word": "page", "target_word": "page"}
    Path("words.jsonl").write_text("\n".join(json.dumps(row) for row in task[:2]), encoding="utf-8")
    assert re.search(r"1 words whose source and target share tokens", bad(run("trace"), capsys))


@pytest.mark.real
def test_the_real_model_and_lexicon(real_asset, tmp_path, monkeypatch, capsys):
    """Few words on the real model: German is said after English words, more than after others."""
    real_asset("smollm2-135m-instruct"), real_asset("freedict-eng-deu")
    monkeypatch.chdir(tmp_path)
    arguments = words("--limit", "4", "--draws", "1", out="de.jsonl", lexicon="freedict-eng-deu", target="de")
    assert main(arguments) == 0
    assert (
        main(run("trace", "--grids", "1", file="de.jsonl", model="smollm2-135m-instruct", out="trace")) == 0
    )
    assert len(set(table("trace/trace_layers.parquet")["layer"])) == 30
