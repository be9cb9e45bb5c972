"""Stage `pretrain`: go on training the model on text of the language."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import NEWEST_MODEL, Reference, StageContext, StageKind, StageSettings
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

TRAINING = "train"
"""The run directory of the training; its `model` is the stage's output."""


class PretrainSettings(StageSettings):
    """What `pretrain` takes."""

    required = ("model", "corpus")
    goes_with: ClassVar[Mapping[str, str]] = {"english_share": "english"}

    model: Annotated[str | None, Reference("model", NEWEST_MODEL)] = Field(
        None, description="Model to train; by default the newest one."
    )
    corpus: Annotated[tuple[str, ...], Reference("text", "corpus")] = Field(
        (), description="Text in the target language: files, directories, glob patterns, or `hf:NAME`."
    )
    english: Annotated[tuple[str, ...], Reference("text", "english")] = Field(
        (), description="English text to mix in, so that English is kept."
    )
    english_share: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of the blocks that is English, spread evenly; 0 for none. Left out, 0.2 where there is"
        " English text.",
    )
    held_out: Annotated[str | None, Reference("text", "held_out")] = Field(
        None, description="Target-language text to measure on; documents in it are not trained on."
    )
    english_held_out: Annotated[str | None, Reference("text", "english_held_out")] = Field(
        None, description="English text to measure on; documents in it are not trained on."
    )
    held_out_bytes: int = Field(64_000, ge=1, description="UTF-8 bytes of each that are scored.")
    evaluations: int = Field(4, ge=1, description="Measurements after the first, evenly over the training.")
    steps: int = Field(100, ge=1, description="Optimiser steps.")
    equal_compute_with: Annotated[str | None, Reference("model")] = Field(
        None,
        description="Train for the compute that `steps` would take on this model: for a baseline that is as costly as"
        " another stage's model.",
    )
    batch_size: int = Field(8, ge=1, description="Blocks a step, over all processes.")
    block_length: int = Field(512, ge=2, description="Tokens a block.")
    gradient_accumulation: int = Field(
        1, ge=1, description="Pieces that a step is computed in: less memory, the same result."
    )
    learning_rate: float = Field(1e-4, ge=0, description="Peak rate. Small models bear 3e-4 and more.")
    embedding_learning_rate: float | None = Field(
        None, ge=0, description="Peak rate of the embeddings; left out, the same."
    )
    warmup_steps: int = Field(10, ge=0, description="Steps of linear warm-up.")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="After the warm-up.")
    body_after: int = Field(
        0, ge=0, description="First steps in which embeddings learn alone, as new vocabularies may need."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's, on matrices of the body.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    precision: Literal["float32", "bf16-autocast", "bfloat16"] = Field(
        "bfloat16", description="Of training; bfloat16 keeps float32 masters of the weights."
    )
    save_every: int | None = Field(
        None,
        ge=1,
        description="Steps between checkpoints: what a killed run loses at most. Left out, a tenth, at least 25.",
    )
    track: tuple[str, ...] = Field(
        (), description="Trackers that transformers knows: tensorboard, wandb, ..."
    )
    text_field: str = Field("text", description="Field of the text in JSON lines and tables.")
    max_bad_lines: int = Field(1000, ge=0, description="How many bad lines of each text to go on after.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type of the checkpoint; by default the model's."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} in {self.gradient_accumulation} pieces of gradient_accumulation:"
                f" make it a multiple of {self.gradient_accumulation}"
            )
        return self


def run(settings: PretrainSettings, context: StageContext) -> RunResult:
    """Train; see `StageKind.run`. All processes of `accelerate launch` may run it at once."""
    from lingraft.recipes.pretraining.options import PretrainingOptions
    from lingraft.recipes.pretraining.report import STEPS_FILE
    from lingraft.recipes.pretraining.run import run_pretraining

    others = {"use", "seed", "gradient_accumulation", "save_every", "track"}
    found = run_pretraining(
        PretrainingOptions(**settings.model_dump(exclude=others), seed=seed_of(settings, context)),
        out=context.out / TRAINING,
        device=context.device,
        gradient_accumulation=settings.gradient_accumulation,
        save_every=settings.save_every,
        trackers=settings.track,
        trust_remote_code=context.trust_remote_code,
        accept_terms=context.accept_terms,
        say=context.say,
    )
    names = {"model": "model", "steps": STEPS_FILE, "report": "report.html"}
    return adopt("pretrain", found, files={name: f"{TRAINING}/{path}" for name, path in names.items()})


def sections(settings: PretrainSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show what the training did to the language and to English; see `StageKind.sections`."""
    from lingraft.recipes.pretraining.report import pretraining_sections, summary_lines

    return [
        opening(" ".join(summary_lines(result))),
        *pretraining_sections(directory / TRAINING, result),
    ]


KIND = StageKind(
    about="train the model on text of the language",
    settings=PretrainSettings,
    run=run,
    sections=sections,
    outputs={"model": "model"},
    trains=True,
)
