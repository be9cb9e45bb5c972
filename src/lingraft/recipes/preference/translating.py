"""`clo translate` as a recipe: English instruction data, an engine's name, and out come paired items."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lingraft.corpora.language_id import LanguageIdentifier, LinguaIdentifier
from lingraft.corpora.named_datasets import rows_revision
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.errors import CorpusError
from lingraft.files import CONTENT_OF, open_run_directory
from lingraft.preference.instructions import InstructionFile, read_instructions
from lingraft.preference.items import PairedItem, write_items
from lingraft.preference.translation import CachedEngine, Engine, TranslationPlan, translate_texts
from lingraft.preference.translation_cache import TranslationCache
from lingraft.preference.translation_filters import FilterLimits
from lingraft.recipes.preference.translating_rejects import (
    REJECTS,
    Rejected,
    drop_english,
    drop_translations,
    write_rejects,
)
from lingraft.recipes.preference.translating_report import PAIRS, SHOWN, translation_sections
from lingraft.recipes.preference.translation_engines import EngineOptions, open_engine
from lingraft.reports.page import write_page
from lingraft.reports.result import (
    InputRevision,
    Provenance,
    RunResult,
    collect_provenance,
    write_recipe,
    write_result,
)

CACHE, BAD_LINES = "translations.sqlite", "bad_lines.jsonl"


@dataclass(frozen=True, slots=True)
class TranslateOptions:
    """What `clo translate` is told.

    Attributes:
        instructions: File of English instruction data.
        engine: Name of the engine, `KIND:WHAT`.
        target_language: ISO 639-1 code.
        engine_options: The engine's own options.
        limits: What the filters let pass.
        identifier: `lingua`, or `none`: then no text is judged by its language.
        segment: One sentence at a time, or whole texts; None is as suits the engine.
        limit: Only the first so many instructions.
        format: Of the file; `auto` tells it by itself.
        maximum_bad_lines: How many bad lines to go on after.
    """

    instructions: Path
    engine: str
    target_language: str
    engine_options: EngineOptions = field(default_factory=EngineOptions)
    limits: FilterLimits = field(default_factory=FilterLimits)
    identifier: str = "lingua"
    segment: bool | None = None
    limit: int | None = None
    format: str = "auto"
    maximum_bad_lines: int = MAXIMUM_BAD_LINES


def run_translation(options: TranslateOptions, *, out: Path, cache: Path | None = None) -> RunResult:
    """Translate instruction data into paired items; the same command goes on where it was stopped.

    Leaves pairs.jsonl, rejects.jsonl (each refused item with its reason), translations.sqlite (unless `cache` is
    given), result.json, recipe.yaml and report.html.

    Args:
        options: What is to be translated, and how.
        out: Run directory.
        cache: File of translations to share between runs.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, an engine that cannot be opened or dies (what it has done is kept), no
            item left, or a run directory that is taken.
    """
    started = time.monotonic()
    read = _read(options)
    identifier = None if options.identifier == "none" else LinguaIdentifier()
    _require_identifiable(options, identifier)
    engine, plan = open_engine(options.engine, options.target_language, options.engine_options)
    if options.segment is not None:
        plan = TranslationPlan(options.segment, plan.protect, plan.mask, plan.batch_size)
    open_run_directory(out, _command(options, engine))
    if read.refused:
        # Read before, when there was no run directory yet to keep the bad lines in.
        _read(options, rejects=out / BAD_LINES)
    rejected: list[Rejected] = []
    wanted = drop_english(read.instructions[: options.limit], identifier, options.limits, rejected)
    languages = (engine.source_language, engine.target_language)
    file = cache or out / CACHE
    with TranslationCache(file, engine=engine.name, version=engine.version, languages=languages) as kept:
        cached = CachedEngine(engine, kept, plan.batch_size)
        texts = [text for one in wanted for text in (one.prompt, one.response)]
        translations, ways = translate_texts(texts, cached, plan, language=engine.source_language)
    items, short = drop_translations(
        wanted, translations, identifier, options.target_language, options.limits, rejected
    )
    result = RunResult(
        kind="clo translate",
        metrics=_metrics(options, engine, cached, items, short, time.monotonic() - started),
        counts={
            "lines refused": dict(read.refused),
            "items": {"kept": len(items), **Counter(one.reason for one in rejected)},
            "sentences": dict(cached.counts),
            "distinct sentences": dict(ways),
        },
        inputs=(
            InputRevision(
                role="instructions",
                reference=str(options.instructions),
                revision=rows_revision(options.instructions),
            ),
            InputRevision(role="engine", reference=engine.name, revision=engine.version),
        ),
        files={"pairs": PAIRS, "rejects": REJECTS, "report": "report.html"}
        | ({"bad lines": BAD_LINES} if read.refused else {}),
        provenance=collect_provenance(),
    )
    _write(out, result, options, items, rejected)
    return result


def _read(options: TranslateOptions, rejects: Path | None = None) -> InstructionFile:
    return read_instructions(
        options.instructions,
        format=options.format,
        language=options.engine_options.source_language,
        rejects=rejects,
        maximum_bad_lines=options.maximum_bad_lines,
    )


def _require_identifiable(options: TranslateOptions, identifier: LanguageIdentifier | None) -> None:
    """Refuse a target language that the identifier would never find, since it would refuse every translation."""
    if isinstance(identifier, LinguaIdentifier) and options.target_language not in identifier.languages:
        raise CorpusError(
            f"--target-language {options.target_language!r}, which lingua does not identify",
            f"one of {', '.join(sorted(identifier.languages))}",
            "correct it, or give --identifier none to judge no text by its language",
        )


def _command(options: TranslateOptions, engine: Engine) -> dict[str, Any]:
    """Return what makes one run differ from another: the engine's version too, batch sizes and the like not."""
    plain = asdict(options)
    for name in ("batch_size", "device", "endpoint"):
        del plain["engine_options"][name]
    return {
        "verb": "clo translate",
        **plain,
        "engine_version": engine.version,
        f"{CONTENT_OF}instructions": rows_revision(options.instructions),
    }


def _metrics(
    options: TranslateOptions,
    engine: Engine,
    cached: CachedEngine,
    items: Sequence[PairedItem],
    short: int,
    seconds: float,
) -> dict[str, Any]:
    return {
        "engine": engine.name,
        "engine_version": engine.version,
        "engine_licence": engine.licence,
        "source_language": engine.source_language,
        "target_language": engine.target_language,
        "items": len(items),
        "language_identifier": options.identifier,
        "texts_too_short_to_identify": short,
        "words_translated_now": cached.words,
        "words_a_second": round(cached.words / cached.seconds, 1) if cached.seconds else None,
        "seconds": round(seconds, 3),
    }


def _write(
    out: Path,
    result: RunResult,
    options: TranslateOptions,
    items: Sequence[PairedItem],
    rejected: Sequence[Rejected],
) -> None:
    """Write the run directory; the result comes last, so that it says that the rest is there."""
    write_rejects(out / REJECTS, rejected)
    if not items:
        listed = ", ".join(
            f"{number} {reason}" for reason, number in result.counts["items"].items() if number
        )
        raise CorpusError(
            f"no translated item is left ({listed})",
            "at least one that passes the filters",
            f"look at {out / REJECTS}, and give another engine or other limits",
        )
    write_items(out / PAIRS, items)
    provenance: Provenance = result.provenance
    write_recipe(out, asdict(options), provenance=provenance, inputs=result.inputs)
    summary = (
        f"{len(items):,} of {len(items) + len(rejected):,} items translated from "
        f"{result.metrics['source_language']} to {result.metrics['target_language']} by {result.metrics['engine']}."
    )
    sections = translation_sections(result, items[:SHOWN], rejected)
    write_page(out / "report.html", sections, title="Translated instructions", summary=summary, result=result)
    write_result(out, result)
