"""The loop's data and loss in continued pre-training: blocks of one length, each token but the first predicted."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lingraft.training.losses import cross_entropy
from lingraft.training.trainer import RunTrainer


class BlockDataset(Dataset[dict[str, torch.Tensor]]):
    """Blocks in a fixed order: item i is what the i-th sequence of the training is, whoever asks for it."""

    def __init__(self, blocks: NDArray[np.integer[Any]], order: NDArray[np.int64]) -> None:
        self.blocks, self.order = blocks, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.from_numpy(self.blocks[self.order[index]].astype(np.int64))}


def stack(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Put rows of one length into a batch."""
    return {"input_ids": torch.stack([row["input_ids"] for row in rows])}


class CausalTrainer(RunTrainer):
    """Continued pre-training on blocks of one length."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean negative log-likelihood of each token of a block but its first, nats."""
        ids = inputs["input_ids"]
        with self.casting(ids.device.type):
            outputs = model(input_ids=ids[:, :-1], use_cache=False)
        loss = cross_entropy(outputs.logits.flatten(0, 1), ids[:, 1:].flatten())
        return (loss, outputs) if return_outputs else loss
