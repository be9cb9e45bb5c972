"""Stage `diagnose`: a first look at the model in the language, before or after it is adapted."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lingraft.recipes.diagnosing.options import PARTS, PATCHING, TRACE, WORDS, DiagnoseOptions
from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import (
    NEWEST_MODEL,
    Reference,
    StageContext,
    StageKind,
    StageSettings,
)
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

LOOK = "look"
"""The verb's run directory, with a directory for every part."""
Part = Literal["fertility", "likelihood", "words", "trace", "fidelity", "patching"]


class DiagnoseSettings(StageSettings):
    """What `diagnose` takes."""

    required = ("model",)

    model: Annotated[str | None, Reference("model", NEWEST_MODEL)] = Field(
        None, description="Model to look at; by default the newest one."
    )
    held_out: Annotated[str | None, Reference("text", "held_out")] = Field(
        None, description="Text in the target language, for fertility and likelihood."
    )
    english_held_out: Annotated[str | None, Reference("text", "english_held_out")] = Field(
        None, description="English text of the same kind, to put beside it."
    )
    words: Annotated[str | None, Reference("file", "words")] = Field(
        None,
        description="Word task (of `pivots words`) for words, trace and patching; goes before a lexicon.",
    )
    lexicon: Annotated[str | None, Reference("lexicon", "lexicon")] = Field(
        None, description="Lexicon, English to the language, to draw words from; goes before aligned text."
    )
    aligned: Annotated[str | None, Reference("file", "aligned")] = Field(
        None, description="Parallel text to find words in: `libreoffice-help-LANG` or a pairs.tsv."
    )
    prompts: Annotated[str | None, Reference("pairs", "held_out_pairs")] = Field(
        None, description="Prompts in the language, or paired items, for fidelity."
    )
    help_pages: bool = Field(
        True, description="Take what is not given from the asset libreoffice-help-LANG, where there is one."
    )
    skip: tuple[Part, ...] = Field((), description=f"Parts to leave out, of {', '.join(PARTS)}.")
    word_count: int = Field(32, ge=1, description="Words to translate and to trace.")
    draws: int = Field(2, ge=1, description="Draws of example pairs before each word.")
    grids: int = Field(4, ge=0, description="Words drawn layer by token.")
    answers: int = Field(8, ge=1, description="Prompts answered.")
    answer_tokens: int = Field(48, ge=1, description="Most tokens of an answer.")
    instances: int = Field(
        12,
        ge=2,
        description="Words transplanted for, over all layer pairs, and once more from shuffled donors.",
    )
    text_bytes: int = Field(12_000, ge=1, description="UTF-8 bytes of each text that are scored.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type to compute in; by default the checkpoint's."
    )

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if set(self.skip) == set(PARTS):
            raise ValueError("every part is left out: leave one out of skip")
        return self


def run(settings: DiagnoseSettings, context: StageContext) -> RunResult:
    """Look at the model; see `StageKind.run`."""
    from lingraft.recipes.diagnosing.run import run_diagnosis

    given = settings.model_dump(exclude={"use", "seed", "words", "prompts", "lexicon", "aligned"})
    # A recipe's data may hold several sources of words; the most definite one counts.
    lexicon = settings.lexicon if settings.words is None else None
    aligned = settings.aligned if (settings.words, lexicon) == (None, None) else None
    options = DiagnoseOptions(
        **given,
        language=context.language,
        words=None if settings.words is None else Path(settings.words),
        prompts=None if settings.prompts is None else Path(settings.prompts),
        lexicon=lexicon,
        aligned=aligned,
        seed=seed_of(settings, context),
    )
    found = run_diagnosis(
        options,
        out=context.out / LOOK,
        device=context.device,
        trust_remote_code=context.trust_remote_code,
        accept_terms=context.accept_terms,
        say=context.say,
    )
    files = {name: f"{LOOK}/{place}" for name, place in found.files.items()}
    return adopt("diagnose", found, files=files)


def sections(settings: DiagnoseSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Say what the look found, and which recipe it speaks for; see `StageKind.sections`."""
    from lingraft.recipes.diagnosing.report import diagnosis_sections, diagnosis_sentence

    return [opening(diagnosis_sentence(result)), *diagnosis_sections(directory / LOOK, result)]


def offers(settings: DiagnoseSettings) -> Collection[str]:
    """The words are there unless all that needs them is left out."""
    return () if {WORDS, TRACE, PATCHING} <= set(settings.skip) else ("words",)


KIND = StageKind(
    about="a first look at the model in the language, and the recipe that it speaks for",
    settings=DiagnoseSettings,
    run=run,
    sections=sections,
    outputs={"words": "file"},
    offers=offers,
)
