"""What continued pre-training is told, and what of it can be refused before anything is loaded."""

import os
from dataclasses import asdict, dataclass
from typing import Any

from lingraft.contents import with_contents
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.errors import ConfigError, TrainingError
from lingraft.files import CONTENT_OF
from lingraft.recipes.pretraining.inputs import text_contents
from lingraft.training.optimization import Schedule
from lingraft.training.plan import Precision, TrainingPlan

ENGLISH_SHARE = 0.2
"""Share of English where `--english` is given alone (our choice)."""
TEXTS = ("corpus", "english", "held_out", "english_held_out")


@dataclass(frozen=True, slots=True)
class PretrainingOptions:
    """Everything that changes the result.

    Attributes:
        model: Reference of the model.
        corpus: References of the text to train on.
        english: References of English text to mix in; empty for none.
        english_share: Share of the blocks that is English, 0 for none; None for `ENGLISH_SHARE` where there is English.
        held_out: Target-language text to measure on, or None.
        english_held_out: English text to measure on, or None.
        held_out_bytes: UTF-8 bytes of each that are scored.
        evaluations: How many times to measure after the first, evenly over the training.
        steps: Optimiser steps.
        equal_compute_with: Train as long as `steps` on this model would take; None for `steps` themselves.
        batch_size: Blocks a step.
        block_length: Tokens a block.
        learning_rate: Peak rate.
        embedding_learning_rate: Peak rate of the embeddings, where it differs.
        warmup_steps: Steps of linear rise.
        schedule: What follows the rise.
        body_after: For so many first steps only the embeddings learn.
        weight_decay: AdamW's, on matrices of the body.
        gradient_clip: Largest norm of the gradient.
        precision: Of training.
        text_field: Field of the text in JSON lines and tables.
        max_bad_lines: How many lines of each text that hold none to go on after.
        dtype: Type of the saved checkpoint; None keeps the model's.
        seed: Of the order of the blocks, and of which held-out documents are scored.
    """

    model: str
    corpus: tuple[str, ...]
    english: tuple[str, ...] = ()
    english_share: float | None = None
    held_out: str | None = None
    english_held_out: str | None = None
    held_out_bytes: int = 64_000
    evaluations: int = 4
    steps: int = 100
    equal_compute_with: str | None = None
    batch_size: int = 8
    block_length: int = 512
    learning_rate: float = 1e-4
    embedding_learning_rate: float | None = None
    warmup_steps: int = 10
    schedule: Schedule = "cosine"
    body_after: int = 0
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    precision: Precision = "bfloat16"
    text_field: str = "text"
    max_bad_lines: int = MAXIMUM_BAD_LINES
    dtype: str | None = None
    seed: int = 0

    @property
    def share(self) -> float:
        """Share of the blocks that is English."""
        if not self.english:
            return 0.0
        return ENGLISH_SHARE if self.english_share is None else self.english_share

    def plan(self, steps: int | None = None) -> TrainingPlan:
        """Return the training.

        Args:
            steps: Its steps, where they are not `self.steps`.

        Returns:
            The plan; a warm-up is no longer than the training.
        """
        count = self.steps if steps is None else steps
        rate = self.embedding_learning_rate
        return TrainingPlan(
            steps=count,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            embedding_learning_rate=self.learning_rate if rate is None else rate,
            warmup_steps=min(self.warmup_steps, count),
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
            body_after=self.body_after,
            precision=self.precision,
            seed=self.seed,
        )

    def check(self, gradient_accumulation: int) -> None:
        """Refuse options that no run can have.

        Args:
            gradient_accumulation: Pieces that a process's share of a batch is computed in.

        Raises:
            ConfigError: What does not fit, with its value.
            TrainingError: Options of the training, or a batch that the processes cannot divide.
        """
        if not self.corpus:
            raise ConfigError("no --corpus", "text to train on", "give --corpus FILE")
        for name, least in (("held_out_bytes", 1), ("evaluations", 1)):
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise ConfigError(
                    f"--{option} {getattr(self, name)}", f"{least} or more", "give a larger number"
                )
        if self.english_share is not None and not self.english:
            raise ConfigError(
                f"--english-share {self.english_share:g} without --english",
                "English text to take it from",
                "give --english FILE too",
            )
        if not 0 <= self.share < 1:
            raise ConfigError(
                f"--english-share {self.share:g}",
                "a share from 0 (none) to below 1",
                "give another, such as 0.2",
            )
        self.plan().check_options()
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if gradient_accumulation < 1 or self.batch_size % (gradient_accumulation * processes):
            raise TrainingError(
                f"a batch of {self.batch_size} in {gradient_accumulation} pieces on {processes} processes",
                "a batch that divides evenly",
                f"give a batch_size that is a multiple of {max(1, gradient_accumulation) * processes}",
            )

    def texts(self) -> dict[str, tuple[str | None, ...]]:
        """Return the references of the texts that are read, by their role."""
        return {
            "corpus": self.corpus,
            "english": self.english if self.share else (),
            "held-out": (self.held_out,),
            "English held-out": (self.english_held_out,),
        }

    def command(self) -> dict[str, Any]:
        """Return what a run is known again by."""
        given: dict[str, Any] = {"verb": "pretrain", **asdict(self)}
        for name in TEXTS:
            value = getattr(self, name)
            content = text_contents((value,) if isinstance(value, str) else value or ())
            if content is not None:
                given[f"{CONTENT_OF}{name}"] = content
        other = with_contents({"model": self.equal_compute_with}).get(f"{CONTENT_OF}model")
        if other is not None:
            given[f"{CONTENT_OF}equal_compute_with"] = other
        return {**given, **with_contents({"model": self.model})}
