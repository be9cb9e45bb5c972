"""The initial model's log-probabilities, computed once before training instead of holding a second model."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lingraft.files import replacing
from lingraft.preference.collation import EncodedItem, collate_rows, forward_inputs
from lingraft.progress import progress_task

TOKENS_TOGETHER = 2048
"""Tokens of a batch, padding included."""


@torch.no_grad()
def item_logs(
    model: Any,
    items: Sequence[EncodedItem],
    *,
    casting: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    progress: bool = False,
) -> list[NDArray[np.float32]]:
    """Compute the log-probabilities of all answers under the model as it is.

    Args:
        model: The model before training, in the training's dtype, inside `shared_prompt.answering`.
        items: Encoded items.
        casting: What casts the forward pass in training, so that gains begin at zero.
        progress: Show a progress bar.

    Returns:
        For each item float32 [rows, 2], chosen and rejected, nats.
    """
    rows = [(number, row) for number, item in enumerate(items) for row in item.rows]
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at][1]))
    results = np.zeros((len(rows), 2), dtype=np.float32)
    training = model.training
    model.eval()
    try:
        with _bar(progress, len(rows)) as advance:
            while order:
                size = max(1, TOKENS_TOGETHER // len(rows[order[0]][1]))
                some, order = order[:size], order[size:]
                batch = forward_inputs(collate_rows([rows[at][1] for at in some]))
                with casting():
                    logs = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
                results[some] = logs.float().cpu().numpy()
                advance(len(some))
    finally:
        model.train(training)
    bounds = np.cumsum([len(item.rows) for item in items])[:-1]
    return np.split(results, bounds)


def _bar(progress: bool, total: int) -> AbstractContextManager[Callable[..., None]]:
    if progress:
        return progress_task("reference", total=total)
    return contextlib.nullcontext(lambda *_: None)


def kept_logs(
    file: Path | None, items: Sequence[EncodedItem], compute: Callable[[], list[NDArray[np.float32]]]
) -> list[NDArray[np.float32]]:
    """Return what an earlier start of the same run computed, or compute and keep it.

    Args:
        file: In the run's directory; None keeps nothing.
        items: Encoded items.
        compute: What computes.

    Returns:
        As `item_logs`.
    """
    if file is not None and file.exists():
        flat = load_file(file)["logs"]
        return np.split(flat, np.cumsum([len(item.rows) for item in items])[:-1])
    found = compute()
    if file is not None:
        with replacing(file) as temporary:
            save_file({"logs": np.concatenate(found)}, temporary)
    return found
