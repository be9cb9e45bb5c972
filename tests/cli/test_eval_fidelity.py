"""`lingraft eval fidelity` end to end: what lies on the disk, a killed run, and one line for bad input."""

import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.corpora.language_id import LanguageGuess
from lingraft.evaluation.answers import greedy_answers
from lingraft.evaluation.fidelity import ask_for_english
from lingraft.tokenizers.chat import prompt_format

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")
needs_lingua = pytest.mark.skipif(
    importlib.util.find_spec("lingua") is None, reason="lingua is not installed"
)

PROMPTS = [
    "Ireki dokumentua eta aukeratu Formatua.",
    "Größe — naïve café: 안녕하세요?",
    "Zer moduz?",
    "Taula bat sortzeko, aukeratu Taula - Txertatu taula, eta idatzi errenkaden eta zutabeen kopurua.",
    "Egun on!",
]
SWAHILI = "Habari ya asubuhi, watoto wanasoma vitabu vyao shuleni."


class Quick:
    """Takes the place of lingua, whose models load for seconds: Swahili ends in a vowel here."""

    def __init__(self, languages: Any = None) -> None:
        self.languages = languages

    def identify(self, texts: list[str]) -> list[LanguageGuess]:
        return [LanguageGuess("sw" if text[-1:] in "aeiou" else "en", 1.0) for text in texts]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tiny_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    write_rows([{"id": f"größe-{n}", "prompt": text} for n, text in enumerate(PROMPTS)])
    return tmp_path / "world"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("lingraft.recipes.evaluating.fidelity_inputs.LinguaIdentifier", Quick)


def write_rows(rows, name="prompts.jsonl"):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    Path(name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def fidelity(*more, out="out", model="model", prompts="prompts.jsonl", language="sw"):
    command = ["eval", "fidelity", "--model", model, "--prompts", prompts, "--language", language]
    return main([*command, "--out", out, "--max-new-tokens", "12", "--batch-size", "2", *more])


def one_line(capsys):
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said.err.count("\n") == 1 and "Traceback" not in said.err
    return lines[0]


def own_answers(prompts, template="chat"):
    model, tokenizer = (kind.from_pretrained("model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    wrapped = prompt_format(tokenizer, template)
    return [greedy_answers(model, wrapped, [one], max_new_tokens=12, batch_size=1)[0] for one in prompts]


def test_everything_a_run_leaves(world, quick, capsys):
    assert fidelity("--answer-in-english", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    rows = read_rows("out/answers.jsonl")
    plain, asked = rows[:5], rows[5:]
    assert [row["answer"] for row in plain] == own_answers(PROMPTS)
    assert [row["answer"] for row in asked] == own_answers(ask_for_english(PROMPTS))
    assert [row["id"] for row in rows] == [f"größe-{n}" for n in range(5)] * 2
    assert {row["kind"] for row in plain} == {"as given"} and {row["language"] for row in asked} == {"en"}
    metrics = result["metrics"]
    skipped = [row["skipped"] for row in plain]
    assert metrics["skipped"] == sum(bool(reason) for reason in skipped)
    assert metrics["judged"] + metrics["skipped"] == metrics["answers"] == 5
    passed = [row["line_pass"] for row in plain if row["line_pass"] is not None]
    rate = metrics["line_pass_rate"]
    assert rate is None if not passed else rate["value"] == pytest.approx(sum(passed) / len(passed))
    assert result["counts"]["prompts"] == {"answered": 5}
    assert sum(result["counts"]["answers, sw"].values()) == 5
    assert metrics["answer_in_english"]["asked"]["answers"] == 5
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Response-language fidelity" in page and "größe-3" in page and "were skipped" in page
    assert not Path("out/answers.part.jsonl").exists()
    # The same command again reads what is there; other prompts are another command.
    before = Path("out/result.json").read_bytes()
    assert fidelity("--answer-in-english", "--json") == 0
    assert json.loads(capsys.readouterr().out) == result and Path("out/result.json").read_bytes() == before
    write_rows([{"prompt": "Zer?"}])
    assert fidelity("--answer-in-english") == 2
    assert "holds a run of another command (differs in: content of prompts)" in one_line(capsys)


def test_rates_are_those_of_the_answers(world, quick, monkeypatch, capsys):
    """Known answers in the place of the model's: 3 judged of 5, 2 pass by lines, 1 of those by words."""
    given = [
        SWAHILI[:-1],
        "",
        f"{SWAHILI[:-1]}\nThis is another line altogether",
        "Ndiyo",
        "watu with wote ni hapa",
    ]

    def answer_batches(model, format, prompts, **_):
        yield dict(enumerate(given))

    monkeypatch.setattr("lingraft.recipes.evaluating.kept_answers.answer_batches", answer_batches)
    assert fidelity("--answer-in-english", out="asked") == 0
    said = capsys.readouterr().out
    assert "asked for, 0 of 3 (0.0 %) are in English, 2 skipped (not asked for: 0.0 %)." in said
    assert fidelity() == 0
    said = capsys.readouterr().out
    assert "2 of 3 judged answers (66.7 %) are in sw by lines, 1 of those 2 by words; 2 skipped." in said
    result = json.loads(Path("out/result.json").read_text(encoding="utf-8"))
    assert result["metrics"]["skipped_reasons"] == {"empty": 1, "no line long enough": 1}
    assert result["counts"]["answers, sw"] == {
        "passed": 2,
        "a line in another language": 1,
        "skipped: empty": 1,
        "skipped: no line long enough": 1,
    }
    assert result["metrics"]["line_pass_rate"]["observations"] == 3
    assert read_rows("out/answers.jsonl")[4]["foreign"] == ["with"]


KILL = """
import os, signal, sys
import lingraft.recipes.evaluating.fidelity_inputs as inputs, lingraft.recipes.evaluating.kept_answers as kept
sys.path.insert(0, {here!r})
from test_eval_fidelity import Quick
inputs.LinguaIdentifier = Quick
own, done = kept._keep, []
def keep(file, kind, batch):
    own(file, kind, batch)
    done.append(kind)
    if len(done) == {batches}:
        with file.open("ab") as stream:  # what a write that is cut off leaves
            stream.write('{{"kind": "as given", "number": 0, "answer": "größ'.encode()[:-1])
        os.kill(os.getpid(), signal.SIGKILL)
kept._keep = keep
from lingraft.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_keeps_its_answers(world, quick, monkeypatch):
    assert fidelity("--answer-in-english", out="whole") == 0
    command = ["eval", "fidelity", "--model", "model", "--prompts", "prompts.jsonl", "--language", "sw"]
    command += ["--out", "out", "--max-new-tokens", "12", "--batch-size", "2", "--answer-in-english"]
    script = KILL.format(here=str(Path(__file__).parent), batches=4)
    environment = os.environ | {"LINGRAFT_CACHE": "none"}
    ended = subprocess.run([sys.executable, "-c", script, *command], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not Path("out/result.json").exists() and not Path("out/answers.jsonl").exists()
    again = []
    module = importlib.import_module("lingraft.recipes.evaluating.kept_answers")
    own = module._keep
    monkeypatch.setattr(
        module, "_keep", lambda file, kind, batch: (again.append(batch), own(file, kind, batch))
    )
    assert fidelity("--answer-in-english") == 0
    assert len(again) == 2, "of six batches four were done"
    assert Path("out/answers.jsonl").read_bytes() == Path("whole/answers.jsonl").read_bytes()


def test_which_prompts_are_taken(world, quick, capsys):
    pairs = [
        {"id": "1", "english_prompt": "Who?", "target_prompt": "Nor?", "target_language": "sw"},
        {"id": "2", "english_prompt": "Where?", "target_prompt": "Wo?", "target_language": "de"},
        {"id": "3", "english_prompt": "When?", "target_prompt": " ", "target_language": "sw"},
        {"id": "4", "english_prompt": "What?", "target_prompt": 7, "target_language": "sw"},
        {"id": "5", "english_prompt": "Why?", "target_language": "sw"},
        "not JSON",
        {"id": "6", "english_prompt": "How?", "target_prompt": "Nola?", "target_language": "SW"},
    ]
    write_rows(pairs)
    assert fidelity("--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["prompt"] for row in read_rows("out/answers.jsonl")] == ["Nor?", "Nola?"]
    assert result["counts"]["prompts"] == {
        "answered": 2,
        "another target language": 1,
        "blank": 1,
        "'target_prompt' is not a string": 1,
        "no field 'target_prompt'": 1,
        "invalid JSON": 1,
    }
    assert [row["line"] for row in read_rows("out/rejects.jsonl")] == [4, 5, 6]
    assert fidelity("--limit", "1", language="en", out="en") == 0
    assert [row["prompt"] for row in read_rows("en/answers.jsonl")] == ["Who?"]
    assert fidelity("--field", "english_prompt", "--template", "plain", out="field") == 0
    rows = read_rows("field/answers.jsonl")
    assert len(rows) == 6 and [row["answer"] for row in rows] == own_answers(
        [row["prompt"] for row in rows], "plain"
    )


def test_prompts_of_a_data_set(world, quick, capsys):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(read_rows("prompts.jsonl")).save_to_disk("set")
    assert fidelity("--json", prompts="hf:set") == 0 and fidelity("--json", out="file") == 0
    rows, others = read_rows("out/answers.jsonl"), read_rows("file/answers.jsonl")
    assert rows == others and [row["prompt"] for row in rows] == PROMPTS


def test_what_the_user_gives_counts(world, quick, monkeypatch):
    Path("q.jinja").write_text("Q: {{ messages[0]['content'] }}\nA:", encoding="utf-8")
    Path("words.txt").write_text("size\n", encoding="utf-8")
    assert fidelity("--template", "q.jinja", "--allow", "words.txt", "--accept", "en", language="ru") == 0
    metrics = json.loads(Path("out/result.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["line_pass_rate"] is None or metrics["line_pass_rate"]["value"] == 1
    Path("q.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
    assert fidelity("--template", "q.jinja", "--allow", "words.txt", "--accept", "en", language="ru") == 2


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        ([], [], ["no prompt in prompts.jsonl", "--field"]),
        ([{"prompt": " "}], [], ["no prompt", "1 blank"]),
        ([{"question": "Nor?"}], [], ["with the fields question", "prompt or target_prompt", "--field"]),
        (["[1]"], [], ["1 not a JSON object"]),
        (None, ["--field", "frage"], ["5 no field 'frage'"]),
        (None, ["--limit", "0"], ["--limit 0"]),
        (None, ["--template", "gone.jinja"], ["--template gone.jinja", "chat, plain"]),
        (None, ["--allow", "gone.txt"], ["--allow gone.txt", "list of words"]),
        (None, ["--english-words", "empty.txt"], ["--english-words empty.txt: no word"]),
        (
            None,
            ["--max-new-tokens", "300"],
            ["prompt 1 ('Ireki", "at most 256 together, the model's context"],
        ),
        (
            [{"prompt": "Zer?"}, {"prompt": "größer " * 400}],
            [],
            ["prompt 2 ('größer", "at most 256 together, the model's context"],
        ),
    ],
)
def test_one_line_for_bad_input(world, quick, capsys, rows, arguments, words):
    Path("empty.txt").write_text("\n", encoding="utf-8")
    if rows is not None:
        write_rows(rows)
    assert fidelity(*arguments) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert not Path("out").exists()


def test_accepted_codes_may_be_capitals(world, quick, monkeypatch):
    """Quick finds Swahili here, which is not what was asked for."""
    monkeypatch.setattr(
        "lingraft.recipes.evaluating.kept_answers.answer_batches",
        lambda *given, **_: iter([dict.fromkeys(range(len(given[2])), SWAHILI[:-1])]),
    )
    assert fidelity("--accept", "EN", "--accept", "SW", language="ru") == 0
    rate = json.loads(Path("out/result.json").read_text(encoding="utf-8"))["metrics"]["line_pass_rate"]
    assert rate["value"] == 1
    assert fidelity("--accept", "EN", "--among", "EN", language="ru", out="among") == 0


def test_english_asked_of_english(world, quick, capsys):
    assert fidelity("--answer-in-english", language="en") == 2
    assert "--answer-in-english with --language en" in one_line(capsys)


def test_a_missing_file_and_a_directory_of_something_else(world, quick, capsys):
    assert fidelity(prompts="gone.jsonl") == 2
    assert "no file gone.jsonl" in one_line(capsys)
    assert fidelity(out="donor") == 2
    assert "not made by lingraft" in one_line(capsys)


@needs_lingua
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"language": "xx"}, ["--language xx", "sw", "ISO 639-1"]),
        ({"language": "swahili"}, ["--language swahili", "yo"]),
        ({"more": ["--among", "qq"]}, ["--among qq"]),
        ({"more": ["--accept", "norsk"]}, ["--accept norsk", "nn", "ISO 639-1"]),
        ({"more": ["--accept", "nn", "--among", "en"]}, ["--accept nn", "one of en, sw", "--among"]),
    ],
)
def test_an_unknown_language(world, capsys, arguments, words):
    assert fidelity(*arguments.get("more", []), language=arguments.get("language", "sw")) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert not Path("out").exists()


def test_no_chat_template(world, quick, capsys):
    Path("model/chat_template.jinja").unlink(missing_ok=True)
    tiny_world.edit_json(Path("model/tokenizer_config.json"), chat_template=None)
    assert fidelity() == 2
    assert "--template plain" in one_line(capsys)
    assert not Path("out").exists()
    assert fidelity("--template", "plain") == 0


def test_without_lingua(world, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lingua", None)
    assert fidelity() == 2
    assert 'pip install "lingraft[corpora]"' in one_line(capsys)
    assert not Path("out").exists()


@needs_lingua
def test_the_real_identifier(world, monkeypatch, capsys):
    """Among two languages, whose models load quickly: known answers in the place of the model's."""
    given = [
        SWAHILI,
        "Open the document and choose the size of the paper.",
        f"{SWAHILI} {SWAHILI}",
        "",
        SWAHILI,
    ]

    def answer_batches(model, format, prompts, **_):
        yield dict(enumerate(given))

    monkeypatch.setattr("lingraft.recipes.evaluating.kept_answers.answer_batches", answer_batches)
    assert fidelity("--among", "en", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["line_pass_rate"]["value"] == 0.75 and metrics["line_languages"] == {"sw": 3, "en": 1}
    assert metrics["identifier"] == "lingua among en, sw"
