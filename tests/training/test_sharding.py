"""Training under FSDP in two processes: the same result as in one, saved whole; and what is refused there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .sharded_run import train

pytest.importorskip("accelerate", reason='accelerate is not installed: pip install "lingraft[train]"')

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
CASES: dict[str, dict[str, Any]] = {
    "tied": {"tied": True},
    "untied": {"tied": False},
    "again": {"tied": True, "place": "tied"},
    "masters": {"precision": "bfloat16"},
    "measured": {"measure": True},
}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case gave, all in one start of two processes."""
    directory = tmp_path_factory.mktemp("sharded")
    script = str(Path(__file__).parent / "sharded_run.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, script, str(directory), json.dumps(CASES)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((directory / "seen.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_a_sharded_training_gives_the_weights_of_a_whole_one(
    sharded: dict[str, Any], tmp_path: Path, tied: bool
) -> None:
    whole, found = train(tmp_path, tied=tied), sharded["tied" if tied else "untied"]
    assert found["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    assert found["logits"] == pytest.approx(whole["logits"], abs=1e-4)
    assert found["tied"] is whole["tied"] is tied
    assert found["kind"] == "LlamaDecoderLayer"


def test_a_sharded_training_goes_on_from_its_checkpoint(sharded: dict[str, Any]) -> None:
    assert sharded["again"]["resumed_from"] == 6
    assert sharded["again"]["logits"] == pytest.approx(sharded["tied"]["logits"], abs=1e-6)


def test_what_needs_whole_parameters_is_refused(sharded: dict[str, Any]) -> None:
    assert "bf16-autocast" in sharded["masters"]["refused"]
    assert "measure the checkpoint" in sharded["measured"]["refused"]
