"""Stage `preference`: tune the model to answer in the prompt's language."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lingraft.errors import ConfigError
from lingraft.preference.losses import OBJECTIVES
from lingraft.preference.policies import POLICIES, LoraOptions, check_policy
from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import (
    NEWEST_MODEL,
    Reference,
    StageContext,
    StageKind,
    StageSettings,
    accepted_by,
)
from lingraft.recipes.stages.named_files import itself
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult, read_result
from lingraft.tokenizers.chat import CHAT, PLAIN, read_template

if TYPE_CHECKING:
    from lingraft.recipes.preference.training import PreferenceOptions

TRAINING = "train"
"""The run directory of the training; its `model` is the stage's output."""


def _check_objective(name: str) -> None:
    if name not in OBJECTIVES:
        raise ConfigError(name, f"one of {', '.join(OBJECTIVES)}", "name one of them")


class PreferenceSettings(StageSettings):
    """What `clo train` takes."""

    required = ("model", "pairs")

    model: Annotated[str | None, Reference("model", NEWEST_MODEL)] = Field(
        None, description="Model to tune; by default the newest one. It should be able to write the language."
    )
    pairs: Annotated[str | None, Reference("pairs", "pairs")] = Field(
        None,
        description="Paired items (JSON lines with english_prompt, english_response, target_prompt,"
        " target_response, target_language): what a stage `pairs` or `translate` makes.",
    )
    held_out: Annotated[str | None, Reference("pairs", "held_out_pairs")] = Field(
        None,
        description="Paired items to measure on, before, during and after. Without them nothing is measured, and"
        " `keep: best` has nothing to go by.",
    )
    objective: Annotated[str, accepted_by(_check_objective)] = Field(
        "clo",
        description=f"What is minimised: {', '.join(OBJECTIVES)}. clo prefers the answer in the prompt's language both"
        " ways, and learns target answers; sft-both learns the answers of both languages.",
    )
    parameters: Annotated[str, accepted_by(check_policy)] = Field(
        "attention",
        description=f"What learns: {', '.join(POLICIES)}. attention is the paper's; for languages that the model"
        " hardly knows, full does better.",
    )
    steps: int | None = Field(None, ge=1, description="Steps; left out, once through the items.")
    batch_size: int = Field(
        16, ge=1, description="Items a step, each in both directions, over all processes."
    )
    gradient_accumulation: int = Field(
        1, ge=1, description="Pieces that a step is computed in: less memory, the same result."
    )
    tokens_together: int | None = Field(
        None, ge=1, description="Tokens of one forward pass: less memory, the same result."
    )
    learning_rate: float = Field(1e-5, gt=0, description="Peak rate. Small models bear 1e-4 and more.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up.")
    schedule: Literal["constant", "cosine", "linear"] = Field("linear", description="After the warm-up.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    share: float | None = Field(
        None, ge=0, le=1, description="Weight of the likelihood term (lambda); left out, the objective's own."
    )
    beta: float | None = Field(None, gt=0, description="Scale of the margins; left out, the objective's own.")
    max_length: int | None = Field(
        None,
        ge=2,
        description="Tokens of a prompt with its answer; longer items are passed over and counted.",
    )
    precision: Literal["float32", "bf16-autocast", "bfloat16"] = Field(
        "bfloat16", description="Of training; bfloat16 keeps float32 masters of what learns."
    )
    lora_rank: int = Field(16, ge=1, description="Rank of `parameters: lora`.")
    lora_alpha: float = Field(32.0, gt=0, description="Scale of `parameters: lora`.")
    template: Annotated[str, accepted_by(read_template), itself(CHAT, PLAIN)] = Field(
        "chat",
        description="chat (the tokenizer's own template), plain (prompt, new line, answer) or a Jinja file.",
    )
    evaluations: int = Field(4, ge=1, description="Measurements after the first, evenly over the training.")
    fidelity_prompts: int = Field(
        32, ge=0, description="Held-out prompts answered at each, to see in which language; 0 answers none."
    )
    max_new_tokens: int = Field(48, ge=1, description="Most tokens of such an answer.")
    keep: Literal["best", "last"] = Field(
        "best",
        description="Which measured weights are kept: the best in the language that keep English, or the last.",
    )
    limit: int | None = Field(None, ge=1, description="Only the first so many items.")
    save_every: int | None = Field(
        None,
        ge=1,
        description="Steps between checkpoints: what a killed run loses at most. Left out, a tenth, at least 5.",
    )
    track: tuple[str, ...] = Field(
        (), description="Trackers that transformers knows: tensorboard, wandb, ..."
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type of the checkpoint; by default the model's."
    )


def run(settings: PreferenceSettings, context: StageContext) -> RunResult:
    """Train; see `StageKind.run`. All processes of `accelerate launch` may run it at once."""
    from lingraft.recipes.preference.training import run_preference

    assert settings.model is not None
    assert settings.pairs is not None
    found = run_preference(
        _options(settings, seed_of(settings, context)),
        out=context.out / TRAINING,
        device=context.device,
        gradient_accumulation=settings.gradient_accumulation,
        tokens_together=settings.tokens_together,
        save_every=settings.save_every,
        trackers=settings.track,
        trust_remote_code=context.trust_remote_code,
        accept_terms=context.accept_terms,
        say=context.say,
    )
    names = {"model": "model", "steps": found.files["steps"], "report": "report.html"}
    return adopt("preference", found, files={name: f"{TRAINING}/{path}" for name, path in names.items()})


def _options(settings: PreferenceSettings, seed: int) -> "PreferenceOptions":
    from lingraft.preference.monitor import MonitorOptions
    from lingraft.preference.plan import PreferencePlan
    from lingraft.recipes.preference.training import PreferenceOptions

    same = (
        *("objective", "parameters", "steps", "batch_size", "learning_rate", "warmup_steps", "schedule"),
        *("weight_decay", "gradient_clip", "share", "beta", "precision"),
    )
    plan = PreferencePlan(
        **{name: getattr(settings, name) for name in same},
        longest=settings.max_length,
        seed=seed,
        lora=LoraOptions(rank=settings.lora_rank, alpha=settings.lora_alpha),
    )
    return PreferenceOptions(
        model=str(settings.model),
        pairs=Path(str(settings.pairs)),
        held_out=None if settings.held_out is None else Path(settings.held_out),
        plan=plan,
        template=settings.template,
        evaluations=settings.evaluations,
        monitor=MonitorOptions(
            fidelity_prompts=settings.fidelity_prompts, max_new_tokens=settings.max_new_tokens
        ),
        keep=settings.keep,
        limit=settings.limit,
        dtype=settings.dtype,
    )


def sections(settings: PreferenceSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show both languages before and after, the way there, and answers; see `StageKind.sections`."""
    from lingraft.recipes.preference.training_report import kept_preference_sections, summary_lines

    # The verb's own result has the times too.
    metrics = read_result(directory / TRAINING).metrics
    warnings = [] if metrics["evaluations"] else ["Nothing was measured: there were no held-out items."]
    return [
        opening(" ".join(summary_lines(metrics)), warnings=warnings),
        *kept_preference_sections(directory / TRAINING, metrics),
    ]


KIND = StageKind(
    about="tune the model to answer in the prompt's language",
    settings=PreferenceSettings,
    run=run,
    sections=sections,
    outputs={"model": "model"},
    trains=True,
)
