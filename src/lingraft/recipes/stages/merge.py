"""Stage `merge`: combine checkpoints without training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lingraft.recipes.stages.adopting import adopt, opening
from lingraft.recipes.stages.contract import Reference, StageContext, StageKind, StageSettings
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

MODEL = "model"
INPUTS: Mapping[str, tuple[str, ...]] = {
    "interpolate": ("base", "tuned"),
    "layer-swap": ("language_model", "task_model"),
    "chat-vector": ("target", "chat", "base"),
}
"""The models that each method needs."""
NUMBERS: Mapping[str, tuple[str, ...]] = {
    "interpolate": ("weight",),
    "layer-swap": ("bottom", "top", "bottom_transition", "top_transition", "share", "outside"),
    "chat-vector": ("scale", "embeddings"),
}
"""The other fields of each method."""
TOKENIZERS: Mapping[str, tuple[str, ...]] = {
    "interpolate": ("tuned", "base"),
    "layer-swap": ("language", "task"),
    "chat-vector": ("target", "chat"),
}
_MODEL = "hub id, directory, asset, LoRA adapter, `recipe:model` or `stage:NAME`."


class MergeSettings(StageSettings):
    """What `merge interpolate`, `merge layer-swap` and `merge chat-vector` take, by `method`."""

    method: Literal["interpolate", "layer-swap", "chat-vector"] = Field(
        "interpolate",
        description="interpolate: between a base and its tuned version. layer-swap: outer layers of a language expert"
        " around the inner ones of a task expert. chat-vector: add what tuning did to one model to another.",
    )
    base: Annotated[str | None, Reference("model")] = Field(
        None, description=f"interpolate, chat-vector: the model before tuning: {_MODEL}"
    )
    tuned: Annotated[str | None, Reference("model")] = Field(
        None, description=f"interpolate: the model after tuning: {_MODEL}"
    )
    weight: float | None = Field(
        None, ge=0, le=1, description="interpolate: share of `tuned`, 0 all base, 1 all tuned; left out, 0.5."
    )
    language_model: Annotated[str | None, Reference("model")] = Field(
        None, description=f"layer-swap: expert of the language: {_MODEL}"
    )
    task_model: Annotated[str | None, Reference("model")] = Field(
        None, description=f"layer-swap: expert of the task, tuned from the same base: {_MODEL}"
    )
    bottom: int | None = Field(
        None, ge=0, description="layer-swap: first layers taken from the language expert."
    )
    top: int | None = Field(None, ge=0, description="layer-swap: last layers taken from the language expert.")
    bottom_transition: int | None = Field(
        None,
        ge=0,
        description="layer-swap: layers above the bottom ones that are a mean of both; left out, 0.",
    )
    top_transition: int | None = Field(
        None, ge=0, description="layer-swap: layers below the top ones that are a mean of both; left out, 0."
    )
    share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="layer-swap: weight of the language expert in these means; left out, 0.5.",
    )
    outside: Literal["language", "task"] | None = Field(
        None,
        description="layer-swap: whose embeddings, final norm and head; left out, the language expert's.",
    )
    target: Annotated[str | None, Reference("model")] = Field(
        None, description=f"chat-vector: the model of the language: {_MODEL}"
    )
    chat: Annotated[str | None, Reference("model")] = Field(
        None, description=f"chat-vector: the tuned model whose behaviour is wanted: {_MODEL}"
    )
    scale: float | None = Field(
        None, description="chat-vector: of the difference `chat - base`; left out, 1."
    )
    embeddings: Literal["auto", "add", "skip"] | None = Field(
        None,
        description="chat-vector: whether the difference is added to embeddings and head; left out, auto: where the"
        " vocabularies are the same.",
    )
    tokenizer_from: Literal["tuned", "base", "language", "task", "target", "chat"] | None = Field(
        None,
        description="Whose tokenizer, chat template and generation config: tuned or base (interpolate), language or"
        " task (layer-swap), target or chat (chat-vector).",
    )
    dtype: Literal["float64", "float32", "bfloat16", "float16"] | None = Field(
        None, description="Type of the checkpoint; by default that of the input whose config is taken."
    )

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        wanted, own = INPUTS[self.method], NUMBERS[self.method]
        needed = (*wanted, *(("bottom", "top") if self.method == "layer-swap" else ()))
        if missing := [name for name in needed if getattr(self, name) is None]:
            example = f" (for instance `{missing[0]}: stage:NAME`)" if missing[0] in wanted else ""
            raise ValueError(
                f"method {self.method} needs {', '.join(needed)}: add {', '.join(missing)}{example}"
            )
        every = {name for names in (*INPUTS.values(), *NUMBERS.values()) for name in names}
        others = sorted(name for name in every - {*wanted, *own} if getattr(self, name) is not None)
        if others:
            raise ValueError(
                f"method {self.method} has no {', '.join(others)}: it takes {', '.join((*wanted, *own))}; remove"
                " them or name another method"
            )
        if self.tokenizer_from is not None and self.tokenizer_from not in TOKENIZERS[self.method]:
            raise ValueError(
                f"tokenizer_from of {self.method} is {' or '.join(TOKENIZERS[self.method])},"
                f" not {self.tokenizer_from}"
            )
        return self


def run(settings: MergeSettings, context: StageContext) -> RunResult:
    """Merge; see `StageKind.run`."""
    from lingraft.recipes.merging.verbs import run_chat_vector, run_interpolation, run_layer_swap

    names = (*INPUTS[settings.method], *NUMBERS[settings.method], "tokenizer_from")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(settings, name)) is not None}
    given |= {
        "out": context.out / MODEL,
        "dtype": settings.dtype,
        "accept_terms": context.accept_terms,
    }
    context.say(f"merging by {settings.method}")
    if settings.method == "interpolate":
        found = run_interpolation(**given)
    elif settings.method == "chat-vector":
        found = run_chat_vector(**given)
    else:
        experts = {"language": given.pop("language_model"), "task": given.pop("task_model")}
        found = run_layer_swap(**experts, **given)
    return adopt("merge", found, files={"model": MODEL, "report": f"{MODEL}/report.html"})


def sections(settings: MergeSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show where every layer's weights come from; see `StageKind.sections`."""
    from lingraft.recipes.merging.report import merge_lines, merge_sections, merge_summary

    text = f"Merged by {settings.method}, without training: {merge_lines(result)[0]}; {merge_summary(result)}"
    return [opening(text), *merge_sections(result)]


KIND = StageKind(
    about="combine checkpoints without training",
    settings=MergeSettings,
    run=run,
    sections=sections,
    outputs={"model": "model"},
)
