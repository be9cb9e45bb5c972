"""The best weights of a run, by target fidelity and English retention together."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lingraft.files import replacing, write_json

RETENTION = 0.02
"""How much of its English bits per byte a model may lose and still be called retained (our choice)."""

WEIGHTS, ABOUT = "best.safetensors", "best.json"
ENGLISH, TARGET, FIDELITY = "english_bits_per_byte", "target_bits_per_byte", "target_fidelity"
"""What an evaluation gives for the choice; fidelity may be missing or None."""


def rank(evaluation: Mapping[str, Any], first: Mapping[str, Any]) -> tuple[float, ...]:
    """Order evaluations; the largest is the best (our choice).

    Those that keep English within `RETENTION` of the first evaluation come before those that do not. Among the
    former the highest fidelity wins, then the fewest target bits; among the latter the fewest English bits.

    Args:
        evaluation: With `ENGLISH`, `TARGET` and possibly `FIDELITY`.
        first: The evaluation before training.

    Returns:
        A key to compare by.
    """
    english, target = float(evaluation[ENGLISH]), float(evaluation[TARGET])
    if not english <= float(first[ENGLISH]) * (1 + RETENTION):
        return (0.0, -english if math.isfinite(english) else -math.inf)
    fidelity = evaluation.get(FIDELITY)
    return (1.0, 0.0 if fidelity is None else float(fidelity), -target)


class BestWeights:
    """Keeps the weights of the best evaluation so far.

    Args:
        directory: The run's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        about = directory / ABOUT
        kept = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
        self.first: dict[str, Any] | None = kept.get("first")
        self.best: dict[str, Any] | None = kept.get("best")
        self.step: int = kept.get("step", 0)

    def offer(self, step: int, evaluation: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
        """Take an evaluation; keep its weights if it is the best, the earlier one where they are equal.

        Args:
            step: Its step.
            evaluation: What was measured; one without bits per byte is passed over.
            weights: The parameters that learn, by name.
        """
        if ENGLISH not in evaluation or TARGET not in evaluation:
            return
        chosen = {name: evaluation.get(name) for name in (ENGLISH, TARGET, FIDELITY)}
        first = chosen if self.first is None else self.first
        if self.best is not None and rank(chosen, first) <= rank(self.best, first):
            return
        with replacing(self.directory / WEIGHTS) as temporary:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary
            )
        self.first, self.best, self.step = first, chosen, step
        write_json(self.directory / ABOUT, {"step": step, "best": chosen, "first": first})

    @torch.no_grad()
    def restore(self, model: Any) -> int:
        """Put the best weights into the model.

        Args:
            model: With the parameters that were kept.

        Returns:
            Their step.
        """
        if self.best is not None:
            parameters = dict(model.named_parameters())
            for name, tensor in load_file(self.directory / WEIGHTS).items():
                parameters[name].copy_(tensor)
        return self.step
