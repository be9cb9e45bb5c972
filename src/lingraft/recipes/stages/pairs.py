"""Stage `pairs`: paired items from what there is in two languages."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lingraft.preference.instructions import check_format
from lingraft.preference.translation_filters import FilterLimits
from lingraft.recipes.preference.pairing import run_pairing
from lingraft.recipes.preference.pairing_report import HELD_OUT, PAIRS, kept_pairing_sections
from lingraft.recipes.preference.pairing_sources import PairOptions
from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import Reference, StageContext, StageKind, StageSettings, accepted_by
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

ITEMS = "items"
"""The run directory of the verb."""


class PairsSettings(StageSettings):
    """What `clo pairs` takes; one source is read: `instructions`, else `parallel`, else `aligned`."""

    one_of = (("instructions", "parallel", "aligned"),)

    instructions: Annotated[str | None, Reference("file")] = Field(
        None,
        description="English instruction data (Alpaca, OpenAssistant, ShareGPT, chat messages, or prompt and"
        " response), with `translations`.",
    )
    translations: Annotated[str | None, Reference("file")] = Field(
        None,
        description="Its translation: the same ids, or the same order. After a stage `translate`:"
        " `instructions: stage:translate/instructions` and `translations: stage:translate`.",
    )
    parallel: Annotated[tuple[str, str] | None, Reference("file")] = Field(
        None,
        description="English file and target file of the same lines: the prompt is a line, the answer the next one."
        " They teach no following of instructions.",
    )
    aligned: Annotated[str | None, Reference("file", "aligned")] = Field(
        None,
        description="Documents in both languages: libreoffice-help-LANG, a .tsv of document, id, English and target,"
        " or a directory with pairs.tsv. The prompt is a heading, the answer the text under it.",
    )
    format: Annotated[str, accepted_by(check_format)] = Field(
        "auto", description="Of `instructions`: auto, alpaca, openassistant, sharegpt, messages or plain."
    )
    translations_format: Annotated[str, accepted_by(check_format)] = Field(
        "auto", description="Of `translations`, as `format`."
    )
    target_language: str | None = Field(
        None, description="ISO 639-1 code of the target language; by default the recipe's."
    )
    english_wording: str = Field(
        "{prompt}",
        description="English prompt around {prompt}, for documents and lines: 'Explain: {prompt}'.",
    )
    target_wording: str = Field("{prompt}", description="The same in the target language.")
    minimum_characters: int = Field(20, ge=1, description="Of an answer; documents and lines only.")
    maximum_characters: int = Field(
        600, ge=1, description="Of an answer of documents; of any text of instructions and lines."
    )
    length_ratio: float = Field(
        2.5, ge=1, description="How many times longer or shorter than its English a text may be."
    )
    identifier: Literal["lingua", "none"] = Field(
        "lingua", description="Language identification; none judges no text by its language."
    )
    held_out: int = Field(
        100,
        ge=0,
        description="Items to hold out, from documents of their own, to measure on; 0 holds none out.",
    )
    limit: int | None = Field(None, ge=1, description="Items to train on at most.")
    max_bad_lines: int = Field(1000, ge=0, description="How many bad lines to go on after.")

    @model_validator(mode="after")
    def _has_both_sides(self) -> Self:
        if (self.instructions is None) != (self.translations is None):
            missing = "translations" if self.translations is None else "instructions"
            raise ValueError(f"instructions and translations go together: add {missing}")
        if self.instructions is not None and self.parallel is not None:
            raise ValueError(
                "instructions and parallel are two sources: keep one, or make two stages of them"
            )
        return self


def run(settings: PairsSettings, context: StageContext) -> RunResult:
    """Make the items; see `StageKind.run`."""
    same = (
        *("format", "translations_format", "english_wording", "target_wording", "minimum_characters"),
        *("maximum_characters", "identifier", "held_out", "limit"),
    )
    options = PairOptions(
        **{name: getattr(settings, name) for name in same},
        **_source(settings),
        target_language=settings.target_language or context.language,
        limits=FilterLimits(longest=settings.length_ratio),
        seed=seed_of(settings, context),
        maximum_bad_lines=settings.max_bad_lines,
    )
    context.say("making paired items")
    found = run_pairing(options, out=context.out / ITEMS)
    names = {"pairs": PAIRS, "rejects": found.files["rejects"], "report": "report.html"}
    if settings.held_out:
        names["heldout"] = HELD_OUT
    return adopt("pairs", found, files={name: f"{ITEMS}/{path}" for name, path in names.items()})


def _source(settings: PairsSettings) -> dict[str, Any]:
    """Return the one source that is read: the others may stand there by the recipe's defaults."""
    if settings.instructions is not None and settings.translations is not None:
        return {
            "instructions": Path(settings.instructions),
            "translations": Path(settings.translations),
        }
    if settings.parallel is not None:
        return {"parallel": (Path(settings.parallel[0]), Path(settings.parallel[1]))}
    return {"aligned": settings.aligned}


def sections(settings: PairsSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show the items and what was left out; see `StageKind.sections`."""
    metrics = result.metrics
    text = (
        f"{metrics['items']:,} paired items to train on and {metrics['held_out']:,} held out, in English and"
        f" {metrics['target_language']}."
    )
    return [opening(text), *kept_pairing_sections(directory / ITEMS, result)]


def offers(settings: PairsSettings) -> Collection[str]:
    """Return the outputs: held-out items only where some are asked for."""
    return ("pairs", "heldout") if settings.held_out else ("pairs",)


KIND = StageKind(
    about="make paired items in English and the language",
    settings=PairsSettings,
    run=run,
    sections=sections,
    outputs={"pairs": "pairs", "heldout": "pairs"},
    offers=offers,
)
