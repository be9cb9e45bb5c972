"""Stage `translate`: English instruction data, translated."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lingraft.files import write_text
from lingraft.preference.instructions import check_format
from lingraft.preference.items import PairedItem, read_items
from lingraft.preference.translation_filters import FilterLimits
from lingraft.recipes.preference.translating import TranslateOptions, run_translation
from lingraft.recipes.preference.translating_report import PAIRS, kept_translation_sections
from lingraft.recipes.preference.translation_endpoint import EndpointOptions
from lingraft.recipes.preference.translation_engines import EngineOptions, split_engine
from lingraft.recipes.stages.adopting import adopt, opening
from lingraft.recipes.stages.contract import Reference, StageContext, StageKind, StageSettings, accepted_by
from lingraft.recipes.stages.named_files import behind, itself
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

ITEMS = "items"
"""The run directory of the verb, with its cache."""
ENGLISH, TRANSLATED = "instructions.jsonl", "translations.jsonl"


class TranslateSettings(StageSettings):
    """What `clo translate` takes."""

    required = ("instructions",)

    instructions: Annotated[str | None, Reference("file")] = Field(
        None,
        description="English instruction data: Alpaca, OpenAssistant, ShareGPT, chat messages, or prompt and response"
        " (JSON or JSON lines, compressed or not).",
    )
    engine: Annotated[str, accepted_by(split_engine), behind("seq2seq", "ctranslate2", "parallel")] = Field(
        description="KIND:WHAT: apertium:eng-spa, seq2seq:MODEL, ctranslate2:DIR, endpoint:URL#MODEL (an"
        " OpenAI-compatible one) or parallel:FILE (your own translations)."
    )
    target_language: str | None = Field(
        None, description="ISO 639-1 code of the target language; by default the recipe's."
    )
    format: Annotated[str, accepted_by(check_format)] = Field(
        "auto", description="auto, alpaca, openassistant, sharegpt, messages or plain."
    )
    limit: int | None = Field(None, ge=1, description="Only the first so many instructions.")
    max_bad_lines: int = Field(1000, ge=0, description="How many bad lines to go on after.")
    sentences: bool | None = Field(
        None,
        description="Give the engine sentences, or whole texts; left out, whole texts for endpoints and parallel data.",
    )
    batch_size: int | None = Field(
        None, ge=1, description="Sentences translated together; left out, the engine's own."
    )
    identifier: Literal["lingua", "none"] = Field(
        "lingua", description="Language identification; none judges no text by its language."
    )
    letters: int = Field(20, ge=1, description="Texts with fewer letters are not judged by their language.")
    confidence: float = Field(
        0.6, ge=0, le=1, description="Refuse a text that is so surely in another language."
    )
    length_ratio: float = Field(
        2.5, ge=1, description="How many times longer or shorter than its English a text may be."
    )
    repetition: float = Field(
        0.25, ge=0, le=1, description="How much more of a text's triples of words may repeat than in English."
    )
    engine_licence: str | None = Field(
        None, description="The engine's licence, where it does not state it; kept in the result."
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type that a model computes in; by default the checkpoint's."
    )
    beams: int | None = Field(None, ge=1, description="Width of a model's beam search.")
    max_new_tokens: int = Field(256, ge=1, description="Most tokens of a translation.")
    source_code: str | None = Field(None, description="A model's own code of English.")
    target_code: str | None = Field(
        None, description="A model's own code of the target language, such as zho_Hant."
    )
    prefix: str = Field("", description="Put before each sentence, such as 'translate English to German: '.")
    tokenizer: Annotated[str | None, itself()] = Field(
        None, description="Tokenizer of a model that has none beside it."
    )
    api_key_variable: str = Field(
        "OPENAI_API_KEY",
        description="Environment variable with an endpoint's API key; the key is kept nowhere.",
    )
    requests: int = Field(4, ge=1, description="Requests to an endpoint at a time.")
    attempts: int = Field(5, ge=1, description="Requests for one text before giving up.")
    timeout: float = Field(120.0, ge=0.1, description="Seconds to wait for an endpoint.")


def run(settings: TranslateSettings, context: StageContext) -> RunResult:
    """Translate; see `StageKind.run`."""
    context.say(f"translating by {settings.engine}")
    found = run_translation(_options(settings, context), out=context.out / ITEMS)
    items, _ = read_items(context.out / ITEMS / PAIRS)
    _write_sides(context.out, items)
    return adopt(
        "translate",
        found,
        files={
            "translations": TRANSLATED,
            "instructions": ENGLISH,
            "pairs": f"{ITEMS}/{PAIRS}",
            "rejects": f"{ITEMS}/{found.files['rejects']}",
            "report": f"{ITEMS}/report.html",
        },
        # What came from the cache depends on how often the stage was killed.
        counts={name: found.counts[name] for name in ("items", "lines refused", "distinct sentences")},
    )


def _options(settings: TranslateSettings, context: StageContext) -> TranslateOptions:
    endpoint = EndpointOptions(
        key_variable=settings.api_key_variable,
        attempts=settings.attempts,
        timeout=settings.timeout,
        workers=settings.requests,
        max_tokens=max(settings.max_new_tokens, 1024),
    )
    same = (
        "batch_size",
        "dtype",
        "beams",
        "max_new_tokens",
        "source_code",
        "target_code",
        "prefix",
        "tokenizer",
    )
    return TranslateOptions(
        instructions=Path(str(settings.instructions)),
        engine=settings.engine,
        target_language=settings.target_language or context.language,
        engine_options=EngineOptions(
            **{name: getattr(settings, name) for name in same},
            device=context.device,
            licence=settings.engine_licence,
            endpoint=endpoint,
        ),
        limits=FilterLimits(
            letters=settings.letters,
            confidence=settings.confidence,
            longest=settings.length_ratio,
            repetition=settings.repetition,
        ),
        identifier=settings.identifier,
        segment=settings.sentences,
        limit=settings.limit,
        format=settings.format,
        maximum_bad_lines=settings.max_bad_lines,
    )


def _write_sides(out: Path, items: Iterable[PairedItem]) -> None:
    """Write both sides with their ids, as a stage `pairs` takes them."""
    english: list[str] = []
    translated: list[str] = []
    for item in items:
        for rows, prompt, response in (
            (english, item.english_prompt, item.english_response),
            (translated, item.target_prompt, item.target_response),
        ):
            row = {"id": item.id, "prompt": prompt, "response": response}
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(out / ENGLISH, "".join(english))
    write_text(out / TRANSLATED, "".join(translated))


def sections(settings: TranslateSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show who translated, what it looks like, and what was refused; see `StageKind.sections`."""
    metrics = result.metrics
    given = sum(result.counts["items"].values())
    text = (
        f"{metrics['items']:,} of {given:,} instructions translated from {metrics['source_language']} to"
        f" {metrics['target_language']} by {metrics['engine']}."
    )
    return [opening(text), *kept_translation_sections(directory / ITEMS)]


KIND = StageKind(
    about="translate English instruction data",
    settings=TranslateSettings,
    run=run,
    sections=sections,
    outputs={"translations": "file", "instructions": "file", "pairs": "pairs"},
)
