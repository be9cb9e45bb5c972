"""`lingraft eval tasks` end to end: task files from disk, offline; a killed run; one line for bad input."""

import importlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main

pytest.importorskip("lm_eval", reason='lm-eval is not installed: pip install "lingraft[eval]"')
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

DOCUMENTS = [
    {"question": "Zer kolore du zeruak? 안녕", "options": ["urdina", "gorri-gorria da", "Größe"], "gold": 0},
    {"question": "Non dago?", "options": ["hemen", "han urrutian", "ez"], "gold": 2},
    {"question": "Nor?", "options": ["ni", "zu eta hura", "gu"], "gold": 1},
]
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {data_files: {test: data.jsonl}, cache_dir: cache}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{question}}\\nA:"
doc_to_choice: options
doc_to_target: gold
metric_list:
  - metric: acc
"""
FREE = """
include: choice.yaml
task: free
output_type: generate_until
doc_to_choice: null
doc_to_target: "{{options[gold]}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 6, do_sample: false}
metric_list:
  - metric: exact_match
"""
GROUP = """
group: mine
task: [choice, free]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    world = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    (world / "tasks").mkdir()
    for name, text in (("choice", CHOICE), ("free", FREE), ("mine", GROUP)):
        (world / "tasks" / f"{name}.yaml").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in DOCUMENTS)
    (world / "data.jsonl").write_text(lines, encoding="utf-8")
    return world


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the tiny world to work in, without a network."""
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "world"


def arguments(*tasks, out="out", more=()):
    named = [word for task in tasks for word in ("--tasks", task)]
    return ["eval", "tasks", "--model", "model", *named, "--out", out, *more]


def one_line(capsys):
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said.err.count("\n") == 1 and "Traceback" not in said.err
    return lines[0]


@torch.no_grad()
def plain_accuracy():
    """Share of documents whose right option has the highest likelihood, by plain forwards."""
    model, tokenizer = (kind.from_pretrained("model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    right = []
    for row in DOCUMENTS:
        context = tokenizer(f"{row['question']}\nA:")["input_ids"]
        scores = []
        for option in row["options"]:
            ids = tokenizer(f"{row['question']}\nA: {option}")["input_ids"]
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(sum(float(logits[at - 1, ids[at]]) for at in range(len(context), len(ids))))
        right.append(max(range(3), key=scores.__getitem__) == row["gold"])
    return sum(right) / len(right)


def test_a_task_file_and_what_a_run_leaves(world, capsys):
    assert main(arguments("tasks/choice.yaml", more=["--json"])) == 0
    result = json.loads(capsys.readouterr().out)
    accuracy = plain_accuracy()
    assert result["metrics"]["tasks"]["choice"]["acc"] == pytest.approx(accuracy)
    low, high = result["metrics"]["intervals"]["choice"]["acc"]
    assert 0 <= low <= accuracy <= high <= 1 and high - low > 0.3, "three documents say little"
    assert result["counts"]["documents"] == {"choice": 3}
    rows = [
        json.loads(line) for line in Path("out/tasks/0000.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["arguments"][0][0] for row in rows] == [f"{row['question']}\nA:" for row in DOCUMENTS]
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "choice" in page and "Zer kolore du zeruak? 안녕" in page
    # Again: read, not run. With a changed data file: another command.
    before = Path("out/result.json").read_bytes()
    assert main(arguments("tasks/choice.yaml")) == 0
    assert f"choice acc: {accuracy:.4f} (" in capsys.readouterr().out
    assert Path("out/result.json").read_bytes() == before
    Path("data.jsonl").write_text(json.dumps(DOCUMENTS[0]) + "\n", encoding="utf-8")
    assert main(arguments("tasks/choice.yaml")) == 2
    assert "another command (differs in: task_files)" in one_line(capsys)


def test_names_from_a_directory_shots_and_a_limit(world, capsys):
    more = ["--include", "tasks", "--limit", "2", "--shots", "1", "--json"]
    assert main(arguments("mine", more=more)) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["metrics"]["tasks"]) >= {"choice", "free"}
    assert result["counts"]["documents"] == {"choice": 2, "free": 2}
    rows = [
        json.loads(line) for line in Path("out/tasks/0000.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    free = [row for row in rows if row["task"] == "free"]
    # The example in front is answered, the document is not.
    assert all(row["arguments"][0][0].count("\nA:") == 2 for row in free)


KILL = """
import os, signal, sys
import lingraft.recipes.evaluating.measuring_tasks as measuring
own = measuring.evaluate_tasks
def evaluate(lm, tasks, **options):
    if tasks == ["free"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return own(lm, tasks, **options)
measuring.evaluate_tasks = evaluate
from lingraft.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_goes_on_with_its_task(world, monkeypatch):
    command = arguments("choice", "free", more=["--include", "tasks"])
    assert subprocess.run([sys.executable, "-c", KILL, *command], check=False).returncode == -signal.SIGKILL
    assert Path("out/tasks/0000.json").exists() and not Path("out/result.json").exists()
    module = importlib.import_module("lingraft.recipes.evaluating.measuring_tasks")
    own, run = module.evaluate_tasks, []
    monkeypatch.setattr(module, "evaluate_tasks", lambda lm, t, **o: (run.extend(t), own(lm, t, **o))[1])
    assert main(command) == 0 and run == ["free"]
    assert main(arguments("choice", "free", out="whole", more=["--include", "tasks"])) == 0
    found, whole = (json.loads(Path(d, "result.json").read_text())["metrics"] for d in ("out", "whole"))
    assert found["tasks"] == whole["tasks"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: x\n  y: [", ["--tasks bad.yaml", "ScannerError"]),
        ("just text", ["--tasks bad.yaml", "Expected YAML dict"]),
        ("[1, 2]", ["--tasks bad.yaml", "Expected YAML dict"]),
        ("task: x\nunknown_key: 1\ndataset_path: json\n", ["--tasks bad.yaml"]),
        (CHOICE.replace("{{question}}", "{{frage}}"), ["--tasks bad.yaml", "'frage' is undefined"]),
        (CHOICE.replace("data.jsonl", "gone.jsonl"), ["--tasks bad.yaml", "gone.jsonl"]),
        (CHOICE.replace("data.jsonl", "torn.jsonl"), ["--tasks bad.yaml"]),
    ],
)
def test_a_bad_task_file_is_named_before_anything_is_run(world, capsys, text, words):
    """Beside a good one, which is not blamed."""
    Path("torn.jsonl").write_text('{"question": "No', encoding="utf-8")
    Path("bad.yaml").write_text(text, encoding="utf-8")
    assert main(arguments("tasks/choice.yaml", "bad.yaml")) == 2
    line = one_line(capsys)
    assert all(word in line for word in words) and "choice.yaml" not in line, line
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--tasks", "none.yaml"], ["--tasks none.yaml: there is no such file"]),
        (["--tasks", "tasks/choice.yaml", "--include", "gone"], ["--include gone"]),
        (["--tasks", "tasks/choice.yaml", "--limit", "0"], ["--limit 0"]),
        (["--tasks", "tasks/choice.yaml", "--shots", "-1"], ["--shots -1"]),
        ([], ["--tasks"]),
    ],
)
def test_bad_options(world, capsys, more, words):
    assert main(["eval", "tasks", "--model", "model", "--out", "out", *more]) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "Zer?"}, ["document 4 of choice ({'question': 'Zer?'", "the options None"]),
        ({"question": "Zer?", "options": [], "gold": 0}, ["document 4", "the options []"]),
        ({"question": "Zer?", "options": ["a", None], "gold": 0}, ["document 4", "the options ['a', None]"]),
        (
            {"question": "Zer?", "options": ["a", "b"], "gold": 7},
            ["document 4", "the right answer 7, none of the 2"],
        ),
        ({"question": "Zer?", "options": ["a", "b"], "gold": -1}, ["document 4", "the right answer -1"]),
        ({"question": "Zer?", "options": ["a", "b"], "gold": None}, ["document 4", "the right answer None"]),
    ],
)
def test_a_bad_row_of_ones_own_is_named_before_the_model_is_loaded(world, capsys, monkeypatch, row, words):
    with Path("data.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    module = importlib.import_module("lingraft.recipes.evaluating.measuring_tasks")
    monkeypatch.setattr(module, "load_model", None)
    assert main(arguments("tasks/choice.yaml")) == 2
    line = one_line(capsys)
    assert all(word in line for word in ["--tasks tasks/choice.yaml: ", *words]), line
    assert not Path("out").exists()


def test_only_rows_that_are_used_are_looked_at(world, capsys):
    with Path("data.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"question": "Zer?", "options": null, "gold": 0}\n')
    assert main(arguments("tasks/choice.yaml", more=["--limit", "3"])) == 0
    free = FREE.replace("task: free", "task: scored").replace("generate_until", "loglikelihood")
    Path("tasks/scored.yaml").write_text(
        free.replace("exact_match", "acc").replace('"{{options[gold]}}"', "options"), encoding="utf-8"
    )
    capsys.readouterr()
    assert main(arguments("tasks/scored.yaml", out="scored")) == 2
    assert "document 1 of scored" in (line := one_line(capsys)) and "in the place of a text" in line


def test_two_files_that_name_one_task(world, capsys):
    Path("same.yaml").write_text(CHOICE.replace("data.jsonl", "other.jsonl"), encoding="utf-8")
    Path("other.jsonl").write_text(json.dumps(DOCUMENTS[1]) + "\n", encoding="utf-8")
    for second in ("same.yaml", "tasks/choice.yaml"):
        assert main(arguments("tasks/choice.yaml", second)) == 2
        line = one_line(capsys)
        assert f"--tasks tasks/choice.yaml and --tasks {second}, which both give choice" in line
        assert "rename its `task:`" in line and not Path("out").exists()


def test_what_changed_the_numbers_is_said(world, capsys):
    """Requests that were cut, summed over the tasks, and a task that takes no examples."""
    rows = [{"question": word * 400, "options": ["a", "b"], "gold": 0} for word in ("luze ", "hitz ")]
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("zero.yaml").write_text(
        CHOICE.replace("task: choice", "task: zero\nnum_fewshot: 0"), encoding="utf-8"
    )
    assert main(arguments("zero.yaml", "tasks/choice.yaml", more=["--shots", "1"])) == 0
    said = capsys.readouterr().out
    assert "note: no examples in front of zero, whatever --shots says" in said
    assert "lost their beginning: 8." in said
    result = json.loads(Path("out/result.json").read_text(encoding="utf-8"))
    assert result["counts"]["on the way"] == {"truncated": 8}
    assert result["metrics"]["shots"] == 1 and result["metrics"]["shots_used"] == {"zero": 0, "choice": 1}
    assert "lost their beginning: 8." in Path("out/report.html").read_text(encoding="utf-8")
    Path("data.jsonl").write_text(json.dumps(DOCUMENTS[0]) + "\n", encoding="utf-8")
    assert main(arguments("tasks/choice.yaml", out="short")) == 0
    assert "note:" not in capsys.readouterr().out


def test_no_chat_template_and_no_lm_eval(world, capsys, monkeypatch):
    Path("model/chat_template.jinja").unlink(missing_ok=True)
    tiny_world.edit_json(Path("model/tokenizer_config.json"), chat_template=None)
    assert main(arguments("tasks/choice.yaml", more=["--chat-template"])) == 2
    assert "without a chat template" in one_line(capsys)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    assert main(arguments("tasks/choice.yaml")) == 2
    assert 'pip install "lingraft[eval]"' in one_line(capsys)
    assert not Path("out").exists()
