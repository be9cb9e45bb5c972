"""What a training is to do, checked before it starts, and what identifies it when it is started again."""

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.errors import TrainingError
from lingraft.files import fingerprint
from lingraft.training.optimization import Schedule

Precision = Literal["float32", "bf16-autocast", "bfloat16"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The options of `train_causal` that decide its result; see there."""

    steps: int
    batch_size: int
    learning_rate: float
    embedding_learning_rate: float
    warmup_steps: int
    schedule: Schedule
    weight_decay: float
    gradient_clip: float
    body_after: int
    precision: Precision
    seed: int

    def check_options(self) -> None:
        """Refuse options that no training can have.

        Raises:
            TrainingError: What does not fit, with its value.
        """
        for name, least in (("steps", 1), ("batch_size", 1), ("warmup_steps", 0), ("body_after", 0)):
            if getattr(self, name) < least:
                raise TrainingError(
                    f"{name} {getattr(self, name)}", f"{least} or more", "give another number"
                )
        for name in ("learning_rate", "embedding_learning_rate", "weight_decay", "gradient_clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise TrainingError(f"{name} {value}", "a number from 0 up", "give another number")
        if self.precision not in ("float32", "bf16-autocast", "bfloat16"):
            raise TrainingError(
                f"precision {self.precision!r}", "float32, bf16-autocast or bfloat16", "give one of them"
            )
        if self.schedule not in ("constant", "cosine", "linear"):
            raise TrainingError(
                f"schedule {self.schedule!r}", "constant, cosine or linear", "give one of them"
            )

    def check(self, model: Any, blocks: NDArray[Any]) -> None:
        """Refuse a plan that cannot be carried out with this model and these blocks.

        Args:
            model: A transformers causal language model.
            blocks: Token ids, int [blocks, block_length].

        Raises:
            TrainingError: What does not fit, with its value.
        """
        self.check_options()
        if blocks.ndim != 2 or blocks.size == 0 or not np.issubdtype(blocks.dtype, np.integer):
            raise TrainingError(
                f"blocks of shape {blocks.shape} and type {blocks.dtype}",
                "integers [blocks, block_length], at least one block",
                "pack the texts with pack_blocks",
            )
        rows = model.get_input_embeddings().weight.shape[0]
        if not 0 <= (low := int(blocks.min())) <= (high := int(blocks.max())) < rows:
            raise TrainingError(
                f"token ids from {low} to {high} for an embedding matrix of {rows} rows",
                f"ids from 0 to {rows - 1}",
                "pack the texts with the tokenizer that belongs to this model",
            )
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and blocks.shape[1] > longest:
            raise TrainingError(
                f"blocks of {blocks.shape[1]} tokens",
                f"at most {longest}, the model's positions",
                "pack shorter blocks",
            )

    def command(self, model: Any, blocks: NDArray[Any]) -> dict[str, Any]:
        """Return what identifies this training: a directory holds one, and goes on with no other.

        Args:
            model: The model as it is before training.
            blocks: Token ids, int [blocks, block_length].

        Returns:
            A mapping for `lingraft.files.open_run_directory`.
        """
        return {"training": asdict(self), "blocks": _sampled(blocks), "model": weights_fingerprint(model)}


def _sampled(blocks: NDArray[Any]) -> str:
    """Hash the shape and up to 4096 blocks spread over all: enough to tell corpora apart, cheap when they are large."""
    digest = hashlib.sha256(str(blocks.shape).encode())
    picked = np.linspace(0, len(blocks) - 1, min(len(blocks), 4096)).astype(np.int64)
    digest.update(np.ascontiguousarray(blocks[picked], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]


def weights_fingerprint(model: Any) -> str:
    """Hash names, shapes and up to 4096 values of each parameter, spread over it.

    Args:
        model: A model.

    Returns:
        What identifies its weights for a run directory.
    """
    parts: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        values = flat[:: max(1, len(flat) // 4096)].to("cpu", torch.float32).contiguous().numpy()
        parts[name] = [list(parameter.shape), hashlib.sha256(values.tobytes()).hexdigest()]
    return fingerprint(parts)
