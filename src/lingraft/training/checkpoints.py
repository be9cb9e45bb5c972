"""Checkpoints of a training that may be killed: which one is whole, and whether all of it was read back."""

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from lingraft.errors import TrainingError

COMPLETE = "lingraft-complete.json"
"""Written last into a checkpoint: one without it was cut short and is not resumed from."""


def latest_checkpoint(directory: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end; remove those that were not."""
    found = []
    for checkpoint in directory.glob("checkpoint-*"):
        if (checkpoint / COMPLETE).exists():
            found.append(checkpoint)
        else:
            shutil.rmtree(checkpoint, ignore_errors=True)
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def check_restored(model: nn.Module, load_result: Any, directory: str) -> None:
    """Refuse to go on where a checkpoint did not hold all weights under the model's names.

    Args:
        model: The model that they were read into.
        load_result: What `load_state_dict` said: `missing_keys` and `unexpected_keys`.
        directory: Where the checkpoints are, for the message.

    Raises:
        TrainingError: A weight was not read, and is not tied to one that was; or the checkpoint holds another one.
    """
    missing = set(load_result.missing_keys)
    weights = model.state_dict(keep_vars=True)
    there = {id(tensor) for name, tensor in weights.items() if name not in missing}
    lost = sorted(name for name in missing if id(weights[name]) not in there)
    if lost or load_result.unexpected_keys:
        raise TrainingError(
            f"a checkpoint in {directory} with other weights than the model's, such as"
            f" {[*lost, *load_result.unexpected_keys][0]}",
            "one that this version of Lingraft wrote",
            "remove the directory and start again",
        )
