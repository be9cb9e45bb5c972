"""Stage `evaluate`: measure the models before and after, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lingraft.recipes.evaluating.options import AUTO
from lingraft.recipes.evaluating.report import SAMPLES_FILE, evaluation_sections
from lingraft.recipes.evaluating.summary import evaluation_lines
from lingraft.recipes.evaluating.task_inputs import TaskOptions, is_task_file, task_command
from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import (
    NamesFiles,
    Reference,
    StageContext,
    StageKind,
    StageSettings,
    accepted_by,
)
from lingraft.recipes.stages.named_files import itself
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult
from lingraft.tokenizers.chat import CHAT, PLAIN, read_template

COMPARISON = "compare"
"""The run directory of the comparison."""


def _check_template(name: str) -> None:
    if name != AUTO:
        read_template(name)


def _files_of_tasks(tasks: Sequence[str]) -> Sequence[str]:
    """Return the YAML files among tasks, and the data and Python files that these name."""
    there = tuple(task for task in tasks if is_task_file(task) and Path(task).is_file())
    return sorted(task_command(TaskOptions(model="", tasks=there))["task_files"])


class EvaluateSettings(StageSettings):
    """What `eval compare` takes."""

    models: dict[str, Annotated[str, Reference("model")]] | None = Field(
        None,
        description="Name to model: first the one that the others are compared with, last the one that it is all about."
        " The run puts the last of them that a stage made into `model`. Left out, `before` is the recipe's model and"
        " `after` the newest one.",
    )
    held_out: Annotated[str | None, Reference("text", "held_out")] = Field(
        None, description="Text in the target language to score."
    )
    english_held_out: Annotated[str | None, Reference("text", "english_held_out")] = Field(
        None, description="English text to score: what has become of the English?"
    )
    held_out_bytes: int = Field(64_000, ge=1, description="UTF-8 bytes of each that are scored.")
    prompts: Annotated[str | None, Reference("pairs", "held_out_pairs")] = Field(
        None,
        description="Paired items, or JSON lines with a `prompt` each, to answer. Without them the samples carry on"
        " beginnings of held-out documents.",
    )
    fidelity_prompts: int = Field(
        32, ge=0, description="Prompts answered to judge in which language the answers are; 0 judges none."
    )
    english_prompts: int = Field(
        8, ge=0, description="English prompts of paired items that are answered, too."
    )
    samples: int = Field(8, ge=0, description="Answers of each kind that the report shows side by side.")
    max_new_tokens: int = Field(64, ge=1, description="Most tokens of an answer.")
    template: Annotated[str, accepted_by(_check_template), itself(AUTO, CHAT, PLAIN)] = Field(
        AUTO,
        description="How a prompt is put: chat, plain, a Jinja file, or auto (chat where all models have a template).",
    )
    batch_size: int = Field(8, ge=1, description="Prompts or full windows at once.")
    words: Annotated[str | None, Reference("file", "words")] = Field(
        None, description="Word task (of `pivots words`) whose translation is scored."
    )
    word_limit: int | None = Field(None, ge=1, description="Only its first so many words.")
    word_draws: int | None = Field(None, ge=1, description="Only its first so many draws of examples.")
    tasks: Annotated[tuple[str, ...], NamesFiles(_files_of_tasks)] = Field(
        (), description="Tasks of lm-eval, by name or as YAML files; they need `lingraft[eval]`."
    )
    task_limit: int | None = Field(None, ge=1, description="Only so many documents of each task.")
    text_field: str = Field("text", description="Field of the text in JSON lines and tables.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type to compute in; by default each checkpoint's."
    )


def run(settings: EvaluateSettings, context: StageContext) -> RunResult:
    """Measure and compare; see `StageKind.run`."""
    from lingraft.recipes.evaluating.options import EvaluationOptions
    from lingraft.recipes.evaluating.run import run_evaluation

    given = settings.model_dump(exclude={"use", "seed", "models", "prompts", "words"})
    prompts, words = settings.prompts, settings.words
    found = run_evaluation(
        EvaluationOptions(
            models=settings.models or {},
            language=context.language,
            seed=seed_of(settings, context),
            prompts=None if prompts is None else Path(prompts),
            words=None if words is None else Path(words),
            **given,
        ),
        out=context.out / COMPARISON,
        device=context.device,
        trust_remote_code=context.trust_remote_code,
        accept_terms=context.accept_terms,
        say=context.say,
    )
    files = {name: f"{COMPARISON}/{path}" for name, path in found.files.items()}
    return adopt("evaluate", found, files={"samples": f"{COMPARISON}/{SAMPLES_FILE}", **files})


def sections(settings: EvaluateSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show before and after, with intervals, and what the models write; see `StageKind.sections`."""
    # The last model is what the recipe came to; the tables have the others.
    last = list(result.metrics["models"])[-1]
    lines = " ".join(evaluation_lines(result.metrics, only=last))
    found = evaluation_sections(directory / COMPARISON, result)
    return [opening(lines), *found] if lines else found


KIND = StageKind(
    about="measure before and after, in the language and in English",
    settings=EvaluateSettings,
    run=run,
    sections=sections,
    outputs={"samples": "file"},
)
