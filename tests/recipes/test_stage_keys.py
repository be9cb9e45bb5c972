"""A stage's key covers what the files hold that its settings name, references or not."""

import sys
from pathlib import Path

import pytest

from lingraft.recipes.checking.loading import load_recipe
from lingraft.recipes.running.planning import plan_stages
from lingraft.recipes.running.store import Store

STAGES = {
    "translations": ("translate", "instructions: given.jsonl, engine: 'parallel:pairs.jsonl'", "pairs.jsonl"),
    "a glob pattern": ("translate", "instructions: given.jsonl, engine: 'parallel:p*.jsonl'", "pairs.jsonl"),
    "a model": ("translate", "instructions: given.jsonl, engine: 'seq2seq:./start'", "start/config.json"),
    "a converted model": (
        "translate",
        "instructions: given.jsonl, engine: 'ctranslate2:start'",
        "start/config.json",
    ),
    "a tokenizer": (
        "translate",
        "instructions: given.jsonl, engine: 'seq2seq:owner/name', tokenizer: start",
        "start/config.json",
    ),
    "word vectors": ("vocabulary", "mode: extend, auxiliary: 'words:words.vec'", "words.vec"),
    "a function": ("vocabulary", "mode: extend, method: 'own_method:rows'", "own_method.py"),
    "a shifted function": ("vocabulary", "mode: extend, method: 'own_method:rows+unigram'", "own_method.py"),
    "a template": ("preference", "template: form.jinja", "form.jinja"),
    "a template to measure with": ("evaluate", "template: form.jinja", "form.jinja"),
    "a task": ("evaluate", "tasks: [task.yaml]", "task.yaml"),
    "a task's documents": ("evaluate", "tasks: [task.yaml]", "documents.jsonl"),
    "a task's functions": ("evaluate", "tasks: [task.yaml]", "scoring.py"),
}
"""Kind of a stage, settings that name a file, and the file."""
FILES = {
    "given.jsonl": '{"prompt": "a", "response": "b"}\n',
    "pairs.jsonl": '{"source": "a", "target": "b"}\n',
    "words.vec": "1 2\nbat 0 1\n",
    "own_method.py": "def rows(*given):\n    return given\n",
    "form.jinja": "{{ messages }}",
    "task.yaml": "task: own\ndata_files: documents.jsonl\nprocess_results: !function scoring.judge\n",
    "documents.jsonl": '{"question": "a"}\n',
    "scoring.py": "def judge(*given):\n    return {}\n",
    "corpus.txt": "bat bi\n",
    "start/config.json": "{}",
}


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_method", raising=False)


def key(kind: str, settings: str) -> str:
    data = "data: {corpus: corpus.txt, pairs: pairs.jsonl, held_out: corpus.txt}"
    recipe = f"language: eu\nmodel: ./start\n{data}\nstages:\n  {kind}: {{{settings}}}\n"
    Path("recipe.yaml").write_text(recipe, encoding="utf-8")
    (planned,) = plan_stages(load_recipe("recipe.yaml"), Store(Path("run")))
    return planned.key


@pytest.mark.parametrize("name", STAGES)
def test_a_file_that_a_setting_names_counts_by_what_it_holds(name: str) -> None:
    kind, settings, file = STAGES[name]
    before = key(kind, settings)
    assert key(kind, settings) == before
    text = Path(file).read_text(encoding="utf-8")
    Path(file).write_text(text + "\n", encoding="utf-8")
    assert key(kind, settings) != before
    Path(file).write_text(text, encoding="utf-8")
    assert key(kind, settings) == before


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        ("preference", "template: plain", "plain"),
        ("evaluate", "template: auto", "auto"),
        ("vocabulary", "mode: extend, auxiliary: donor", "donor"),
        ("translate", "instructions: given.jsonl, engine: 'apertium:eng-eus'", "eng-eus"),
        ("translate", "instructions: given.jsonl, engine: 'seq2seq:owner/name'", "name"),
        ("evaluate", "tasks: [arc_easy]", "arc_easy"),
    ],
)
def test_a_name_is_no_file_that_happens_to_be_called_so(kind: str, settings: str, name: str) -> None:
    before = key(kind, settings)
    Path(name).write_text("something", encoding="utf-8")
    assert key(kind, settings) == before
