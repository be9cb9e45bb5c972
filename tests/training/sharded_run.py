"""Run as a script in two processes: continued pre-trainings sharded by FSDP; says what came out.

accelerate shards on accelerators alone; the patch below makes it shard on a CPU too, with gloo, so that this is tested.
"""

import json
import sys
from pathlib import Path
from typing import Any

import accelerate.state
import numpy as np
import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils import DistributedType
from transformers import LlamaConfig, LlamaForCausalLM

from lingraft.errors import TrainingError
from lingraft.training.causal import train_causal
from lingraft.training.processes import is_main_process


def shard_on_cpu() -> None:
    """Let accelerate take FSDP for a CPU's processes."""
    plain = accelerate.state.AcceleratorState.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        plain(self, *args, **options)
        if self.distributed_type in {DistributedType.MULTI_CPU, DistributedType.FSDP}:
            self.distributed_type = DistributedType.FSDP
            known = options.get("fsdp_plugin") or vars(self).get("fsdp_plugin")
            self.fsdp_plugin = known or FullyShardedDataParallelPlugin()

    accelerate.state.AcceleratorState.__init__ = init  # type: ignore[method-assign]


def train(directory: Path, *, tied: bool = True, measure: bool = False, **options: Any) -> dict[str, Any]:
    """What one training gave, or with what line it was refused; the checkpoint is saved and loaded by a stranger."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        **sizes, vocab_size=61, num_hidden_layers=2, tie_word_embeddings=tied, initializer_range=0.2
    )
    model = LlamaForCausalLM(config)
    blocks = np.random.default_rng(0).integers(3, 61, (24, 16), dtype=np.int32)
    plan: dict[str, Any] = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "save_every": 2}
    more: dict[str, Any] = {"evaluate_at": [0, 3], "evaluate": lambda step, _: {}} if measure else {}
    try:
        result = train_causal(model, blocks, output_dir=directory / "run", **plan | options, **more)
    except TrainingError as error:
        return {"refused": str(error)}
    if not is_main_process():
        assert not any(parameter.any() for parameter in model.parameters())
        return {}
    ids = torch.arange(3, 19)[None]
    with torch.no_grad():
        logits = model.eval()(ids).logits
    model.save_pretrained(directory / "model")
    torch.testing.assert_close(LlamaForCausalLM.from_pretrained(directory / "model")(ids).logits, logits)
    return {
        "losses": result.losses.tolist(),
        "logits": logits.flatten().tolist(),
        "tied": model.lm_head.weight is model.model.embed_tokens.weight,
        "kind": type(model.model.layers[0]).__name__,
        "resumed_from": result.resumed_from,
    }


def main(directory: Path, cases: dict[str, dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    shard_on_cpu()
    seen = {}
    for name, options in cases.items():
        place = directory / options.pop("place", name)
        seen[name] = train(place, **options)
    if is_main_process():
        (directory / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
