"""What a preference training is to do, checked before it starts."""

import math
from dataclasses import dataclass, field
from typing import Any

from lingraft.errors import TrainingError
from lingraft.preference.losses import OBJECTIVES, Objective
from lingraft.preference.policies import LoraOptions
from lingraft.training.optimization import Schedule
from lingraft.training.plan import Precision, TrainingPlan

LONGEST = 1024
"""Tokens of a prompt with an answer where the user gives no limit and the model has positions for more."""


@dataclass(frozen=True, slots=True)
class PreferencePlan:
    """What a training is to do; the numbers are our choice, as the paper gives none.

    Attributes:
        objective: One of `OBJECTIVES`.
        parameters: What learns, one of `POLICIES`.
        steps: Optimiser steps; None goes once through the items.
        batch_size: Items a step (each is both directions), over all processes and pieces.
        learning_rate: Peak rate.
        warmup_steps: Steps of linear rise.
        schedule: What follows the rise.
        weight_decay: AdamW's, on matrices that are not embeddings.
        gradient_clip: Largest norm of the gradient.
        share: Weight of the likelihood term, the paper's lambda; None takes the objective's.
        beta: Scale of margins; None takes the objective's.
        longest: Tokens of a prompt with an answer; None takes the model's positions, at most `LONGEST`.
        precision: As for `train_causal`.
        seed: Seed of the order and of dropout.
        lora: For the policy `lora`.
    """

    objective: str = "clo"
    parameters: str = "attention"
    steps: int | None = None
    batch_size: int = 16
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    schedule: Schedule = "linear"
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    share: float | None = None
    beta: float | None = None
    longest: int | None = None
    precision: Precision = "bfloat16"
    seed: int = 0
    lora: LoraOptions = field(default_factory=LoraOptions)

    def resolved_objective(self) -> tuple[Objective, float, float]:
        """Look the objective up, and put its own share and beta where the plan has none.

        Returns:
            The objective, its share and its beta.

        Raises:
            TrainingError: An unknown objective, or a share or beta that makes no loss.
        """
        found = OBJECTIVES.get(self.objective)
        if found is None:
            raise TrainingError(
                f"objective {self.objective!r}", f"one of {', '.join(OBJECTIVES)}", "name one of them"
            )
        share = found.share if self.share is None else self.share
        beta = found.beta if self.beta is None else self.beta
        if not 0 <= share <= 1:
            raise TrainingError(f"a share of {share}", "a number from 0 to 1", "give another --share")
        if not math.isfinite(beta) or (found.preference is not None and beta <= 0):
            raise TrainingError(f"a beta of {beta}", "a number above 0", "give another --beta")
        return found, share, beta

    def training_plan(self, items: int) -> TrainingPlan:
        """Make the loop's part of the plan.

        Args:
            items: How many items there are to train on.

        Returns:
            The loop's plan.

        Raises:
            TrainingError: Fewer items than a batch has, or options that no training can have.
        """
        if items < self.batch_size and self.steps is None:
            raise TrainingError(
                f"{items} items for a batch of {self.batch_size}",
                "a batch at least",
                "give more items or a smaller batch",
            )
        plan = TrainingPlan(
            steps=items // self.batch_size if self.steps is None else self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            embedding_learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
            body_after=0,
            precision=self.precision,
            seed=self.seed,
        )
        plan.check_options()
        if not math.isfinite(self.lora.alpha):
            raise TrainingError(
                f"a LoRA alpha of {self.lora.alpha}", "a number above 0", "give another alpha"
            )
        return plan

    def longest_for(self, model: Any) -> int:
        """Decide how many tokens a prompt with an answer may have.

        Args:
            model: The model.

        Returns:
            The limit.

        Raises:
            TrainingError: More than the model has positions for, or fewer than two.
        """
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if self.longest is None:
            return min(LONGEST, positions or LONGEST)
        if self.longest < 2 or (positions is not None and self.longest > positions):
            raise TrainingError(
                f"at most {self.longest} tokens a prompt with its answer",
                "2 or more" + (f", and at most {positions}, the model's positions" if positions else ""),
                "give another --max-length",
            )
        return self.longest
