"""Stage `vocabulary` on a tiny model: the checkpoint, the inspection beside it, killed runs, bad settings."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.recipes.stages.vocabulary import KIND

REPLACE = {"model": "model", "tokenizer": "target", "donor": "donor", "corpus": ["corpus.txt"]}


def test_replace(world, staged):
    result, page = staged(KIND, **REPLACE, method="salt")
    model = AutoModelForCausalLM.from_pretrained("out/model")
    tokenizer = AutoTokenizer.from_pretrained("out/model")
    assert model.config.vocab_size == len(tokenizer) == result.metrics["target_tokens"]
    inspection = result.metrics["inspection"]
    assert inspection["vocabulary"]["target"] == len(tokenizer)
    assert inspection["fertility"]["after"]["tokens"] < inspection["fertility"]["before"]["tokens"]
    assert result.metrics["method"] == "salt" and result.seeds == {"draws": 3}
    assert sum(result.counts["tokens"].values()) == len(tokenizer)
    assert pq.read_table(f"out/{result.files['provenance']}").num_rows == len(tokenizer)
    shares = inspection["fertility"]
    assert f"{shares['after']['tokens_per_word']:.2f} tokens instead of" in page
    assert "Where each row came from" in page and "Both tokenizers on the same text" in page
    assert {item.role for item in result.inputs} == {"model", "tokenizer", "donor", "corpus"}


def test_extend_two_files_and_auto(world, staged):
    Path("more.txt").write_text("Größe: 안녕하세요, itsasoa.\n", encoding="utf-8")
    given = {"model": "untied", "donor": "donor", "corpus": ["corpus.txt", "more.txt"]}
    result, page = staged(KIND, **given, mode="extend", new_tokens=30)
    assert result.counts["corpus"]["documents"] == 21
    assert result.metrics["inspection"]["overlap"]["new"] == 30
    assert "held-out shared tokens" in result.metrics["reason"]
    assert "30 are new" in page


def test_without_text_and_donor(world, staged):
    result, page = staged(KIND, model="model", tokenizer="target", method="subword-mean")
    assert result.metrics["inspection"]["fertility"] is None
    assert "No text was given" in page and "no --donor" in page


def test_replace_needs_a_tokenizer():
    with pytest.raises(ValidationError, match="mode replace needs a tokenizer, for instance"):
        KIND.settings.model_validate({"model": "m"})
    assert KIND.settings.model_validate({"mode": "extend"}).tokenizer is None


KILLED = """
import os, signal, sys
from pathlib import Path
import lingraft.recipes.vocabulary.transferring as transferring
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.vocabulary import KIND
def fatal(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
transferring.write_transfer = fatal
settings = KIND.settings.model_validate(
    {"model": "model", "tokenizer": "target", "donor": "donor", "corpus": ["corpus.txt"], "method": "salt"})
Path("killed").mkdir()
KIND.run(settings, StageContext(name="it", out=Path("killed"), language="eu", seed=3, device="cpu"))
"""


def test_killed_and_continued(world, staged):
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    one, _ = staged(KIND, Path("whole"), **REPLACE, method="salt")
    two, _ = staged(KIND, Path("killed"), **REPLACE, method="salt")
    assert one.metrics == two.metrics and one.counts == two.counts
    first, second = (load_file(f"{name}/model/model.safetensors") for name in ("whole", "killed"))
    assert all((first[key] == second[key]).all() for key in first)
