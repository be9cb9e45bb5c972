"""Documents cut into windows of tokens, windows put into batches, and the likelihood of a batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.errors import ModelError, TokenizerError

DEFAULT_CONTEXT = 1024
"""Tokens in a window where the caller names no number and the model has room for as many."""

LOGITS_BYTES = 2**29
"""Bound on the float32 logits of one forward pass; more windows are put in another pass."""

LIKE_LENGTH, FULL_TOKENS = 0.75, 512
"""A batch takes no window shorter than this share of its longest once it has as many tokens: padding costs as much."""

SOFTMAX_ROWS = 256
"""Positions whose log-softmax is computed at once, in float32."""

Precision = Literal["model", "bf16-autocast"]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a document: start token and tokens as inputs; the last `scored` targets are counted.

    Attributes:
        document: Index of the document.
        inputs: int64 [length].
        targets: int64 [length], the token after each input.
        scored: How many of the targets no earlier window has counted.
    """

    document: int
    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    scored: int


def embedding_rows(model: Any) -> int:
    """Return the number of rows of the model's input embedding matrix."""
    return int(model.get_input_embeddings().weight.shape[0])


def require_rows(model: Any, highest: int) -> None:
    """Refuse token ids that the model has no embedding row for.

    Args:
        model: A transformers model.
        highest: The highest token id in use.

    Raises:
        TokenizerError: `highest` is beyond the last row.
    """
    if highest >= embedding_rows(model):
        raise TokenizerError(
            f"token id {highest}, but an embedding matrix of {embedding_rows(model)} rows",
            "a row for every id of the tokenizer",
            "give the tokenizer that belongs to this model",
        )


def window_sizes(model: Any, context: int | None, stride: int | None) -> tuple[int, int]:
    """Return context and stride in tokens, each checked, or chosen where it is None.

    Args:
        model: A transformers model.
        context: Tokens in the longest window, or None.
        stride: Tokens by which a window moves on, or None.

    Returns:
        Context and stride.

    Raises:
        ModelError: A context beyond the model's positions, or a stride beyond the context.
    """
    # Some models have no limit of positions (BLOOM, Mamba), and some keep it in a part of their config (Gemma 3).
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        context = min(int(limit or DEFAULT_CONTEXT), DEFAULT_CONTEXT)
    if context < 2 or (limit and context > int(limit)):
        expected = f"2 to {limit}" if limit else "at least 2"
        raise ModelError(f"a context of {context} tokens", expected, "give another context")
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= stride <= context:
        raise ModelError(
            f"a stride of {stride} tokens", f"1 to the context, {context}", "give another stride"
        )
    return context, stride


def cut_windows(
    index: int, ids: NDArray[np.int32], start: int, context: int, stride: int
) -> Iterator[Window]:
    """Cut one document: each token is scored in one window; each window begins with the start token."""
    done = 0
    while done < len(ids):
        end = min(done + (context if done == 0 else stride), len(ids))
        begin = max(0, end - context)
        piece = ids[begin:end].astype(np.int64)
        yield Window(index, np.concatenate([[start], piece[:-1]]), piece, end - done)
        done = end


def batch_windows(windows: list[Window], most_tokens: int, vocabulary: int) -> Iterator[list[Window]]:
    """Put windows of like length together, longest first, within the bounds on tokens and on logits."""
    most = max(1, min(most_tokens, LOGITS_BYTES // (4 * vocabulary)))
    batch: list[Window] = []
    for window in sorted(windows, key=lambda item: (-len(item.inputs), item.document)):
        if batch:
            longest = len(batch[0].inputs)
            unlike = len(window.inputs) < LIKE_LENGTH * longest and len(batch) * longest >= FULL_TOKENS
            if unlike or (len(batch) + 1) * longest > most:
                yield batch
                batch = []
        batch.append(window)
    if batch:
        yield batch


def score_batch(model: Any, batch: Sequence[Window], precision: Precision) -> NDArray[np.float64]:
    """Return the nats of each window's counted targets.

    A model with LongRoPE takes its rotary factors by the length of the whole pass: windows from both sides of
    such a length are given in passes of their own, so that no window's nats depend on what is beside it.

    Args:
        model: A causal language model in evaluation mode.
        batch: Windows, the longest first.
        precision: "model" or "bf16-autocast".

    Returns:
        float64 [windows].
    """
    switches = _longrope_switches(model)
    sides = groupby(batch, key=lambda window: sum(len(window.inputs) > switch for switch in switches))
    return np.concatenate([_score_pass(model, list(side), precision) for _, side in sides])


def _longrope_switches(model: Any) -> list[int]:
    """Return the lengths beyond which a model with LongRoPE takes its long factors; mostly there are none."""
    config = model.config.get_text_config()
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    # Some models (Gemma 3) have parameters for each type of layer.
    parts = [part for part in (given, *given.values()) if isinstance(part, Mapping) and "long_factor" in part]
    usual = getattr(config, "original_max_position_embeddings", None)
    switches = [part.get("original_max_position_embeddings", usual) for part in parts]
    return [int(switch) for switch in switches if switch is not None]


@torch.inference_mode()
def _score_pass(model: Any, batch: Sequence[Window], precision: Precision) -> NDArray[np.float64]:
    """Return the nats, float64 [windows], from one forward pass.

    Rows are padded on the right and no mask is given: a causal model's real positions never see what comes
    after them, and without a mask the fast causal attention kernels apply.
    """
    width = len(batch[0].inputs)
    inputs = np.zeros((len(batch), width), dtype=np.int64)
    for row, window in enumerate(batch):
        inputs[row, : len(window.inputs)] = window.inputs
    device = model.get_input_embeddings().weight.device
    casting: AbstractContextManager[Any] = (
        torch.autocast(device.type, torch.bfloat16) if precision == "bf16-autocast" else nullcontext()
    )
    with casting:
        logits = model(input_ids=torch.from_numpy(inputs).to(device), use_cache=False).logits
    rows, columns, targets, owners = [], [], [], []
    for row, window in enumerate(batch):
        positions = np.arange(len(window.targets) - window.scored, len(window.targets))
        rows.append(np.full(len(positions), row))
        columns.append(positions)
        targets.append(window.targets[positions])
        owners.append(rows[-1])
    flat = torch.from_numpy(np.concatenate(rows) * width + np.concatenate(columns)).to(device)
    wanted = torch.from_numpy(np.concatenate(targets)).to(device)
    nats = _nats(logits.view(-1, logits.shape[-1]), flat, wanted)
    sums = np.zeros(len(batch), dtype=np.float64)
    np.add.at(sums, np.concatenate(owners), nats)
    return sums


def _nats(logits: torch.Tensor, flat: torch.Tensor, wanted: torch.Tensor) -> NDArray[np.float64]:
    """Return -log softmax(logits[flat])[wanted], float64 [positions], a few rows in float32 at a time."""
    parts = []
    for begin in range(0, len(flat), SOFTMAX_ROWS):
        chunk = logits[flat[begin : begin + SOFTMAX_ROWS]].float()
        target = chunk.gather(1, wanted[begin : begin + SOFTMAX_ROWS, None])[:, 0]
        parts.append((torch.logsumexp(chunk, dim=1) - target).double().cpu())
    return torch.cat(parts).numpy()
