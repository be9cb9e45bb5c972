"""Stage `preference` on a tiny model: the checkpoint, what was measured, killed and continued."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.errors import TrainingError
from lingraft.preference.plan import PreferencePlan
from lingraft.recipes.stages.preference import KIND

pytest.importorskip("accelerate")

FAST = {
    "model": "model",
    "pairs": "pairs.jsonl",
    "batch_size": 4,
    "learning_rate": 1e-3,
    "max_new_tokens": 4,
    "fidelity_prompts": 3,
    "evaluations": 2,
    "precision": "float32",
    "save_every": 1,
}


def test_trained_and_measured(world, staged):
    pytest.importorskip("lingua")
    result, page = staged(KIND, language="de", **FAST, held_out="held.jsonl", keep="last")
    before = AutoModelForCausalLM.from_pretrained("model").state_dict()
    after = AutoModelForCausalLM.from_pretrained("out/train/model").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("self_attn" in name for name in changed)
    assert AutoTokenizer.from_pretrained("out/train/model").chat_template
    metrics = result.metrics
    assert metrics["steps"] == 3 and set(metrics["evaluations"]) == {"0", "1", "3"}
    assert not {"seconds", "training_seconds"} & set(metrics) and result.seeds == {"seed": 3}
    rows = [json.loads(line) for line in Path("out/train/answers.jsonl").read_text("utf-8").splitlines()]
    assert {row["language"] for row in rows} == {"de", "en"} and len(rows) == 6
    bits = metrics["evaluations"]["0"]["target_bits_per_byte"]
    assert f"target: {bits:.3f} -&gt; " in page and "Answers before and after" in page
    assert "Greedy answers to held-out prompts, en" in page and "Größe der Straße, 52?" in page


def test_without_held_out_items_the_page_says_so(world, staged):
    result, page = staged(KIND, language="de", **FAST, keep="last", objective="sft-both", parameters="full")
    assert result.metrics["evaluations"] == {} and "Nothing was measured" in page


@pytest.mark.parametrize("bad", [{"objective": "orca"}, {"parameters": "mlp"}, {"template": "chta"}])
def test_what_the_verb_would_refuse_is_no_valid_setting(bad):
    with pytest.raises(
        ValidationError, match=r"expected .*clo.*name one|expected .*lora.*name one|Jinja template"
    ):
        KIND.settings.model_validate({**FAST, **bad})
    assert KIND.settings.model_validate(FAST).objective == "clo"


def test_bad_options_are_one_line_and_leave_nothing(world, staged):
    with pytest.raises(TrainingError, match="a batch of 64"):
        staged(KIND, language="de", **{**FAST, "batch_size": 64})
    assert not any(Path("out").iterdir())


def test_its_fields_are_the_plans():
    fields = set(KIND.settings.model_fields)
    renamed = {"longest": "max_length", "lora": "lora_rank"}
    for name in PreferencePlan.__dataclass_fields__:
        assert renamed.get(name, name) in fields


KILLED = """
import json, os, signal, sys
from pathlib import Path
import lingraft.training.trainer as trainer
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.preference import KIND
write, seen = trainer.write_json, []
def fatal(path, value):
    write(path, value)
    seen.append(path)
    if len(seen) == 2: os.kill(os.getpid(), signal.SIGKILL)
trainer.write_json = fatal
Path("killed").mkdir()
settings = KIND.settings.model_validate(json.loads(sys.argv[1]))
KIND.run(settings, StageContext(name="it", out=Path("killed"), language="de", seed=3, device="cpu"))
"""


@pytest.mark.slow
def test_killed_and_continued(world, staged):
    given = {**FAST, "keep": "last"}
    command = [sys.executable, "-c", KILLED, json.dumps(given)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert any(Path("killed/train/training").iterdir())
    whole, _ = staged(KIND, Path("whole"), language="de", again=False, **given)
    killed, _ = staged(KIND, Path("killed"), language="de", **given)
    assert whole.metrics == killed.metrics
    first, second = (load_file(f"{name}/train/model/model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(first[key], second[key]) for key in first)
