"""Memory of preference training and of supervised training, each in a process of its own.

    python benchmarks/preference_memory.py MODEL HOW PARAMETERS PROMPT ANSWER ITEMS

prints bytes: resident once the model is loaded, and the peak of two steps.
"""

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import preference_peers as peers
import torch

from lingraft.models.loading import load_model

STEPS = 2


def lingraft(objective):
    def run(model, _tokenizer, items, per_step, parameters):
        peers.ours(model, items, per_step, parameters, objective=objective)

    return run


def by_rows(model, _tokenizer, items, per_step, parameters):
    """The same items a piece as supervised training's, its rows divided into as many tokens a forward pass."""
    together = 2 * per_step * len(f"{items[0].english_prompt} {items[0].english_response}".split())
    peers.ours(model, items, per_step, parameters, together=together)


def trl_online(*arguments):
    peers.trl_dpo(*arguments, online=True)


def trl_checkpointed(*arguments):
    peers.trl_dpo(*arguments, checkpointing=True)


WAYS = {
    "clo": lingraft("clo"),
    "clo-by-rows": by_rows,
    "sft-both": lingraft("sft-both"),
    "sft": lingraft("sft"),
    "trl-dpo": peers.trl_dpo,
    "trl-dpo-online": trl_online,
    "trl-dpo-checkpointed": trl_checkpointed,
    "trl-sft": peers.trl_sft,
}


def status(name):
    """A line of this process's own account, in bytes."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", text)[1])


def worker(reference, how, parameters, *sizes):
    prompt, answer, per_step = map(int, sizes)
    torch.set_num_threads(1)
    if how.startswith("trl"):
        # Libraries are loaded before anything is measured.
        import datasets  # noqa: F401
        import trl

        _ = trl.DPOTrainer, trl.SFTTrainer
    loaded = load_model(reference, dtype="bfloat16", device="cpu")
    items = peers.random_items(STEPS * per_step, prompt, answer, loaded.model.config.vocab_size, 0)
    gc.collect()
    before = status("VmRSS")
    # Resets the peak of this process.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    WAYS[how](loaded.model, loaded.tokenizer, items, per_step, parameters)
    print(json.dumps({"loaded": before, "above": status("VmHWM") - before}))


def measure(reference, how, parameters, prompt, answer, per_step):
    """Bytes of a child that does this."""
    command = [sys.executable, __file__, reference, how, parameters, *map(str, (prompt, answer, per_step))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    worker(*sys.argv[1:])
