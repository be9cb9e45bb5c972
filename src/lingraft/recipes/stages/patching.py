"""Stage `patching`: how much the model knows that it does not show in the language."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lingraft.errors import ConfigError
from lingraft.patching.instances import write_instances
from lingraft.patching.sites import PATCH_SITES, find_operator
from lingraft.patching.tasks import TASKS, build_pairs
from lingraft.recipes.pivots.paired_words import word_instances
from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import (
    NEWEST_MODEL,
    Reference,
    StageContext,
    StageKind,
    StageSettings,
    accepted_by,
)
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

if TYPE_CHECKING:
    from lingraft.recipes.patching.sweep_options import SweepOptions

PAIRS, SWEEP, CONTROL, CHOICE = "pairs.jsonl", "sweep", "control-", "choice"
"""What lies in the stage's directory: paired prompts, and run directories of the verbs."""


class PatchingSettings(StageSettings):
    """What `patch sweep` and `patch select` take; prompts come from `task`, else `pairs`, else `words`."""

    required = ("model",)
    one_of = (("pairs", "words", "task"),)

    model: Annotated[str | None, Reference("model", NEWEST_MODEL)] = Field(
        None, description="Model to look into; by default the newest one."
    )
    pairs: Annotated[str | None, Reference("file", "patch_pairs")] = Field(
        None,
        description="JSONL rows with id, donor, receiver (two prompts of the same meaning), and optionally options,"
        " answer, language, task.",
    )
    words: Annotated[str | None, Reference("file", "words")] = Field(
        None, description="Word task of `pivots words` from English, asked for in both languages."
    )
    task: Literal["xnli", "xcopa", "xquad", "globalopinionqa", "words"] | None = Field(
        None, description=f"A known task, read from `data`: {', '.join(TASKS)}."
    )
    data: Annotated[str | None, Reference("file")] = Field(
        None, description="Directory of the task's files, as for `lingraft patch pairs`."
    )
    languages: tuple[str, ...] = Field(
        (), description="Receiving languages of `task`; by default the recipe's language."
    )
    split: str = Field("test", description="Split of `task` (xcopa): test or val.")
    donor_file: Annotated[str | None, Reference("file")] = Field(
        None, description="The donor's file of `task`, where it lies elsewhere (xcopa)."
    )
    misaligned: Literal["refuse", "before", "all"] = Field(
        "refuse",
        description="Rows of `task` that do not belong together: refuse, keep those before, or keep all.",
    )
    limit: int | None = Field(
        100, ge=1, description="Only the first so many rows of each language; null takes all."
    )
    site: str = Field("ffn", description=f"What is transplanted: {', '.join(PATCH_SITES)}.")
    score: Literal["first-token", "options", "generate"] = Field(
        "first-token",
        description="Read the first token (fastest), the options' likelihoods, or a text by greedy decoding.",
    )
    operator: Annotated[str, accepted_by(find_operator)] = Field(
        "replace",
        description="How the donor's value meets the receiver's: replace, add, norm_match or lerp:W.",
    )
    donor_layers: tuple[int, ...] | None = Field(
        None, description="Only these donor layers, from 0: [0, 4, 8]; left out, all."
    )
    receiver_layers: tuple[int, ...] | None = Field(
        None, description="Only these receiver layers, from 0; left out, all."
    )
    new_tokens: int = Field(20, ge=1, description="Most tokens of a generated text.")
    mean_donors: bool = Field(False, description="Average the donor languages of a row into one donor.")
    controls: tuple[Literal["shuffled", "noise", "self"], ...] = Field(
        ("shuffled",),
        description="Chance controls for the upper bound, which is a union over many tries: shuffled (donors of other"
        " rows), noise (random directions of the donors' lengths), self (the receiving prompt).",
    )
    samples: int = Field(
        0, ge=0, description="Answers drawn from the unpatched model, as one control more (score: generate)."
    )
    temperature: float = Field(1.0, gt=0, description="Of these draws.")
    chat_template: bool = Field(False, description="Put every prompt into the tokenizer's chat template.")
    task_kind: Literal["understanding", "generation", "culture"] = Field(
        "understanding",
        description="Which coarse pair is the paper's: attn last to first, or ffn first to first.",
    )
    folds: int = Field(5, ge=2, description="Folds: pairs are chosen on other folds than they are scored on.")
    memory_mib: int | None = Field(
        None,
        ge=1,
        description="Memory that rows may take; left out, 2048, or half of what an accelerator has.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type to compute in; by default the checkpoint's."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.task is None) != (self.data is None):
            missing = "data" if self.data is None else "task"
            raise ValueError(f"task and data go together: add {missing}")
        if self.site not in PATCH_SITES:
            raise ValueError(f"site {self.site!r} is none of {', '.join(PATCH_SITES)}")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("a control stands twice: name each once")
        for name in ("donor_layers", "receiver_layers"):
            if any(layer < 0 for layer in getattr(self, name) or ()):
                raise ValueError(f"{name} count from 0: give no negative ones")
        return self


def run(settings: PatchingSettings, context: StageContext) -> RunResult:
    """Sweep, sweep the controls, and choose; see `StageKind.run`."""
    from lingraft.patching.records import MAP_FILE
    from lingraft.recipes.patching.pair_choice import run_selection
    from lingraft.recipes.patching.sweeping import run_sweep

    seed = seed_of(settings, context)
    pairs = _pairs(settings, context, seed)
    accuracy: Mapping[str, Any] = {}
    swept = None
    for control in ("none", *settings.controls):
        context.say(f"sweep of {settings.site}" + (f", control {control}" if control != "none" else ""))
        found = run_sweep(
            _options(settings, context, pairs, control, seed),
            out=context.out / _directory(control),
            device=context.device,
            memory_mib=settings.memory_mib,
            workers=context.scale.workers,
            ray_address=context.scale.ray,
        )
        assert found is not None
        if control == "none":
            swept, accuracy = found, found.metrics["accuracy"]
    assert swept is not None
    files = {"map": f"{SWEEP}/{MAP_FILE}", "sweep report": f"{SWEEP}/report.html"}
    metrics: dict[str, Any] = {"site": settings.site, "score": settings.score, "accuracy": accuracy}
    if accuracy:
        context.say("choosing a layer pair")
        choice, _ = run_selection(
            context.out / SWEEP,
            out=context.out / CHOICE,
            controls=_controls(settings, context.out),
            donor=-1 if settings.mean_donors else 0,
            task_kind=settings.task_kind,
            folds=settings.folds,
            seed=seed,
        )
        metrics |= _bound(choice.metrics["bound"])
        metrics |= {name: choice.metrics[name] for name in ("verdict", "methods", "settings")}
        files |= {"selection": f"{CHOICE}/selection.parquet", "choice report": f"{CHOICE}/report.html"}
    return adopt("patching", swept, files=files, metrics=metrics)


def _bound(bound: Mapping[str, Any]) -> dict[str, Any]:
    """Return the upper bound, the same union over each control, and the unpatched share."""
    return {
        "unpatched": bound["vanilla"],
        "upper_bound": bound["bound"],
        "controls": {
            line["name"]: {
                "tries": line["tries"],
                "upper_bound": line["control"],
                "difference": line["difference"],
            }
            for line in bound["controls"]
        },
    }


def _pairs(settings: PatchingSettings, context: StageContext, seed: int) -> str:
    """Return the file of paired prompts, written where they are made here."""
    if settings.task is not None and settings.data is not None:
        instances = build_pairs(
            settings.task,
            Path(settings.data),
            receivers=settings.languages or (context.language,),
            limit=settings.limit,
            misaligned=settings.misaligned,
            donor_file=None if settings.donor_file is None else Path(settings.donor_file),
            split=settings.split,
            seed=seed,
        )
    elif settings.pairs is not None:
        return settings.pairs
    elif settings.words is not None:
        instances = word_instances(Path(settings.words), limit=settings.limit)
    else:
        raise ConfigError(
            f"stage {context.name} without prompts",
            "paired prompts, a word task, or a task with its data",
            "name `pairs`, `words`, or `task` and `data` in it",
        )
    write_instances(context.out / PAIRS, instances)
    return str(context.out / PAIRS)


def _options(
    settings: PatchingSettings, context: StageContext, pairs: str, control: str, seed: int
) -> "SweepOptions":
    from lingraft.recipes.patching.sweep_options import SweepOptions

    same = (
        *("score", "operator", "donor_layers", "receiver_layers", "new_tokens", "mean_donors"),
        *("temperature", "chat_template", "limit", "dtype"),
    )
    return SweepOptions(
        **{name: getattr(settings, name) for name in same},
        model=str(settings.model),
        pairs=pairs,
        sites=(settings.site,),
        control=control,
        samples=settings.samples if control == "none" else 0,
        seed=seed,
        trust_remote_code=context.trust_remote_code,
        accept_terms=context.accept_terms,
    )


def _directory(control: str) -> str:
    return SWEEP if control == "none" else f"{CONTROL}{control}"


def _controls(settings: PatchingSettings, out: Path) -> dict[str, Path]:
    return {control: out / _directory(control) for control in settings.controls}


def sections(settings: PatchingSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show the map cell by cell, and the choices beside their controls; see `StageKind.sections`."""
    from lingraft.recipes.patching.pair_choice import kept_choice_sections
    from lingraft.recipes.patching.sweep_result import kept_sweep_sections

    judged = (directory / CHOICE / "result.json").exists()
    found = kept_sweep_sections(directory / SWEEP, compared=judged and bool(settings.controls))
    if judged:
        found += kept_choice_sections(directory / CHOICE, directory / SWEEP, _controls(settings, directory))
    return [opening(summary(result)), *found]


def summary(result: RunResult) -> str:
    """Say in a sentence or two what the model knows and does not show."""
    from lingraft.recipes.patching.pair_choice import SAMPLES_CONTROL

    metrics = result.metrics
    if "upper_bound" not in metrics:
        return "No right answers are known, so that the map shows only where answers change."
    own, bound = metrics["unpatched"], metrics["upper_bound"]
    text = (
        f"{_percent(own)} of the prompts are answered right as they are, {_percent(bound)} with some pair of layers"
        " transplanted"
    )
    controls = metrics["controls"]
    if not controls:
        return f"{text}; without a control nobody knows how much of that is trying often."
    told = ", ".join(
        f"{_percent(line['upper_bound'])} by {'draws' if name == SAMPLES_CONTROL else name}"
        for name, line in controls.items()
    )
    return f"{text}; by chance alone {told}. {metrics['verdict']}"


def _percent(estimate: Mapping[str, Any]) -> str:
    return f"{100 * estimate['value']:.1f} %"


KIND = StageKind(
    about="transplant activations from English prompts, to see what the model knows and does not show",
    settings=PatchingSettings,
    run=run,
    sections=sections,
    outputs={"map": "file"},
)
