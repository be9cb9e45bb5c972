"""Adapted checkpoints in other programs that never import lingraft: plain transformers, lm-eval, the hub."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from hub_server import Hub, hub_environment, serve_hub

from lingraft.cli.app import main
from lingraft.models.loading import LoadedModel, load_model
from lingraft.models.saving import save_checkpoint
from lingraft.tokenizers.extending import extend_tokenizer
from lingraft.tokenizers.training import train_tokenizer
from lingraft.vocabulary.transfer import transfer_vocabulary

TEXTS = [
    "Egun on! Zer moduz zaude?",
    "Größe 99 € — 안녕하세요",
    "<|im_start|>user\nKaixo<|im_end|>\n",
    " 2  3\n\n",
]

PLAIN = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
directory, texts = sys.argv[1], json.loads(sys.argv[2])
model, report = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
assert not report["missing_keys"] and not report["unexpected_keys"], report
tokenizer = AutoTokenizer.from_pretrained(directory)
ids = [tokenizer(text)["input_ids"] for text in texts]
with torch.no_grad():
    logits = [model.eval()(torch.tensor([row])).logits[0].tolist() for row in ids]
chat = tokenizer.apply_chat_template([{"role": "user", "content": "Kaixo"}], tokenize=False)
ends = model.generation_config.eos_token_id
assert not any(name.split(".")[0] == "lingraft" for name in sys.modules)
print(json.dumps({"ids": ids, "logits": logits, "chat": chat, "ends": ends}))
"""

HARNESS = """
import json, sys
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
directory, tasks = sys.argv[1:]
found = lm_eval.simple_evaluate(
    HFLM(directory, device="cpu", dtype="float32", batch_size=2),
    tasks=["aukera"], task_manager=TaskManager(include_path=tasks, include_defaults=False),
    log_samples=True, bootstrap_iters=0,
)
samples = sorted(found["samples"]["aukera"], key=lambda sample: sample["doc_id"])
assert not any(name.split(".")[0] == "lingraft" for name in sys.modules)
print(json.dumps({"acc": found["results"]["aukera"]["acc,none"],
                  "scores": [[float(one[0]) for one in sample["filtered_resps"]] for sample in samples]}))
"""

TASK = """
task: aukera
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nA:"
doc_to_choice: options
doc_to_target: gold
metric_list:
  - metric: acc
"""
QUESTIONS = [
    {"question": "Zer kolore du zeruak?", "options": ["urdina", "gorria da", "Größe"], "gold": 0},
    {"question": "Non dago, 안녕?", "options": ["hemen", "han urrutian"], "gold": 1},
    {"question": "Nor?", "options": ["ni", "zu eta hura", "gu"], "gold": 2},
]


@pytest.fixture(params=["extended", "replaced"])
def adapted(request, tmp_path, make_tiny_llama, byte_bpe_tokenizer, multilingual_texts) -> Path:
    """A checkpoint as a vocabulary transfer leaves it: extended and tied, or replaced and untied with padding rows."""
    if request.param == "extended":
        model = make_tiny_llama(600, tied=True)
        target: Any = extend_tokenizer(byte_bpe_tokenizer, multilingual_texts * 3, new_tokens=50)
        mode: Any = "extend"
    else:
        model = make_tiny_llama(608, tied=False)
        target = train_tokenizer(multilingual_texts, vocabulary_size=640, source_tokenizer=byte_bpe_tokenizer)
        mode = "replace"
    source = LoadedModel(model, byte_bpe_tokenizer, "tiny", "0")
    transfer = transfer_vocabulary(source, target, method="subword-mean", mode=mode)
    directory = tmp_path / "adapted"
    save_checkpoint(directory, transfer.model, transfer.tokenizer, recipe={"made": "in a test"})
    return directory


def stranger(script: str, *arguments: str, **environment: str) -> Any:
    """What a program that has never heard of lingraft prints, started away from its sources."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_plain_transformers_gives_identical_logits(adapted):
    ours = load_model(str(adapted), device="cpu")
    theirs = stranger(PLAIN, str(adapted), json.dumps(TEXTS))
    for text, ids, logits in zip(TEXTS, theirs["ids"], theirs["logits"], strict=True):
        assert ours.tokenizer(text)["input_ids"] == ids
        assert ours.tokenizer.decode(ids) == text
        with torch.no_grad():
            assert ours.model(torch.tensor([ids])).logits[0].tolist() == logits
    assert theirs["chat"] == "<|im_start|>user\nKaixo<|im_end|>\n"
    assert theirs["ends"] == ours.tokenizer.eos_token_id


@pytest.mark.parametrize("adapted", ["replaced"], indirect=True)
def test_lm_eval_scores_it_as_we_do(adapted, tmp_path):
    pytest.importorskip("lm_eval", reason='lm-eval is not installed: pip install "lingraft[eval]"')
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in QUESTIONS)
    (tmp_path / "data.jsonl").write_text(lines, encoding="utf-8")
    text = TASK.format(data=tmp_path / "data.jsonl", cache=tmp_path / "cache")
    (tasks / "aukera.yaml").write_text(text, encoding="utf-8")
    found = stranger(HARNESS, str(adapted), str(tasks))
    loaded = load_model(str(adapted), device="cpu")
    right = 0
    for row, scores in zip(QUESTIONS, found["scores"], strict=True):
        wanted = [_logprob(loaded, f"{row['question']}\nA:", f" {option}") for option in row["options"]]
        assert scores == pytest.approx(wanted, abs=1e-4)
        right += max(range(len(wanted)), key=wanted.__getitem__) == row["gold"]
    assert found["acc"] == pytest.approx(right / len(QUESTIONS))


def _logprob(loaded: LoadedModel, context: str, continuation: str) -> float:
    """Log probability of a continuation; ids of the whole text, cut where the context's end."""
    whole = loaded.tokenizer(context + continuation)["input_ids"]
    start = len(loaded.tokenizer(context)["input_ids"])
    with torch.no_grad():
        logs = loaded.model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(logs[place - 1, whole[place]]) for place in range(start, len(whole)))


@pytest.fixture
def hub():
    with serve_hub() as served:
        yield served


def lingraft(hub: Hub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-m", "lingraft.cli.app", *arguments]
    env |= hub_environment(hub, home)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("adapted", ["extended"], indirect=True)
def test_a_hub_id_works_where_a_path_does(hub, adapted, tmp_path, capsys):
    """Pushed, fetched again by name, and measured: the same number as from the directory."""
    pushed = lingraft(hub, tmp_path / "a", "push", "--model", str(adapted), "--to", "me/grafted", "--yes")
    assert pushed.returncode == 0, pushed.stderr
    text = tmp_path / "t.txt"
    text.write_text("\n".join(TEXTS[:2]), encoding="utf-8")
    assert main(["eval", "bpb", "--model", str(adapted), "--text", str(text), "--json"]) == 0
    wanted = json.loads(capsys.readouterr().out)["bits_per_byte"]
    name = f"me/grafted@{hub.commit('me/grafted')}"
    measured = lingraft(hub, tmp_path / "b", "eval", "bpb", "--model", name, "--text", str(text), "--json")
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["bits_per_byte"] == pytest.approx(wanted, abs=1e-12)
    assert "GET /me/grafted/resolve" in "".join(hub.requests)
    missing = lingraft(hub, tmp_path / "b", "eval", "bpb", "--model", "me/none", "--text", str(text))
    assert missing.returncode == 2
    assert "me/none" in missing.stderr
    assert missing.stderr.count("\n") == 1
