"""`clo pairs` as a recipe: from what there is in two languages to paired items, some of them held out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.corpora.language_id import COMMON_LANGUAGES, LinguaIdentifier
from lingraft.errors import ConfigError, CorpusError
from lingraft.files import CONTENT_OF, find_run, open_run_directory
from lingraft.preference.aligned import Candidate
from lingraft.preference.items import TEXTS, PairedItem, write_items
from lingraft.preference.pairs import PairSplit, filter_candidates, split_candidates
from lingraft.recipes.preference.pairing_report import HELD_OUT, PAIRS, pairing_sections
from lingraft.recipes.preference.pairing_sources import (
    PairOptions,
    Source,
    check_options,
    file_revisions,
    read_source,
)
from lingraft.recipes.preference.translating_rejects import REJECTS, Rejected, write_rejects
from lingraft.reports.page import write_page
from lingraft.reports.result import (
    RunResult,
    collect_provenance,
    read_result,
    write_recipe,
    write_result,
)


def run_pairing(options: PairOptions, *, out: Path) -> RunResult:
    """Make paired items; leaves pairs.jsonl, heldout.jsonl, rejects.jsonl, result.json, recipe.yaml, report.html.

    Args:
        options: Where from, and how many.
        out: Run directory: missing, empty, or an earlier run of the same command, whose result is read.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, too few items, or a directory that holds something else.
    """
    language = check_options(options)
    identifier = _identifier(options, language)
    command = _command(options)
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    # Once without keeping bad lines: there is no run directory for an input that is refused.
    source = read_source(options, None)
    counts: Counter[str] = Counter()
    # Of documents and lines the length is settled where items are made: their prompts are headings and lines.
    longest = options.maximum_characters if source.instructions else None
    kept, dropped = filter_candidates(
        source.candidates,
        counts=counts,
        identifier=identifier,
        limits=options.limits,
        maximum_characters=longest,
        instructions=source.instructions,
    )
    if not kept:
        raise CorpusError(
            f"no paired item is left of {len(source.candidates):,} ({_listed(source.counts + counts)})",
            f"at least one in English and {language}",
            "check the files, their order and the target language",
        )
    split = split_candidates(
        kept,
        counts=counts,
        held_out=options.held_out,
        limit=options.limit,
        seed=options.seed,
        is_held_out=source.is_held_out,
    )
    open_run_directory(out, command)
    if source.bad:
        read_source(options, out)
    result = _result(options, source, split, counts)
    _write(out, options, result, split, source, dropped)
    return result


def _identifier(options: PairOptions, language: str) -> LinguaIdentifier | None:
    """Return what identifies languages, or None where none is wanted."""
    if options.identifier == "none":
        return None
    try:
        return LinguaIdentifier(COMMON_LANGUAGES | {language})
    except CorpusError as error:
        raise ConfigError(
            f"--target-language {language}, which lingua does not identify",
            error.expected.removeprefix("two or more of "),
            "correct it, or give --identifier none to judge no text by its language",
        ) from error


def _command(options: PairOptions) -> dict[str, Any]:
    """Return what makes one run differ from another."""
    contents = {f"{CONTENT_OF}{entry.role}": entry.revision for entry in file_revisions(options)}
    return {"verb": "clo pairs", **asdict(options), **contents}


def _result(options: PairOptions, source: Source, split: PairSplit, counts: Counter[str]) -> RunResult:
    items = [*split.training, *split.held_out]
    lengths = {field: float(np.median([len(getattr(item, field)) for item in items])) for field in TEXTS}
    files = {"pairs": PAIRS, "rejects": REJECTS, "report": "report.html"}
    if split.held_out:
        files["held out"] = HELD_OUT
    made = {"source": dict(source.counts), "items": {name: n for name, n in counts.items() if n}}
    return RunResult(
        kind="clo pairs",
        metrics={
            "target_language": source.target_language,
            "what": source.what,
            "items": len(split.training),
            "held_out": len(split.held_out),
            "held_out_documents": "the corpus's own" if source.is_held_out else "drawn",
            "median_characters": lengths,
            "language_identifier": options.identifier,
        },
        counts=made | ({"bad lines": source.bad} if source.bad else {}),
        inputs=source.inputs,
        seeds={"seed": options.seed},
        files=files,
        provenance=collect_provenance(),
    )


def _write(
    out: Path,
    options: PairOptions,
    result: RunResult,
    split: PairSplit,
    source: Source,
    dropped: Sequence[tuple[str, Candidate]],
) -> None:
    """Write the run directory; the result comes last, so that it says that the rest is there."""
    write_items(out / PAIRS, split.training)
    if split.held_out:
        write_items(out / HELD_OUT, split.held_out)
    rejected = [Rejected(name, "no target_response", *texts) for name, *texts in source.missing]
    rejected += [_rejected(reason, candidate.item) for reason, candidate in dropped]
    write_rejects(out / REJECTS, rejected)
    pinned = replace(options, target_language=source.target_language)
    write_recipe(
        out, asdict(pinned), provenance=result.provenance, inputs=result.inputs, seeds=dict(result.seeds)
    )
    summary = (
        f"{len(split.training):,} items to train on and {len(split.held_out):,} held out, "
        f"in English and {source.target_language}."
    )
    sections = pairing_sections(result, split.training, split.held_out, rejected)
    write_page(out / "report.html", sections, title="Paired items", summary=summary, result=result)
    write_result(out, result)


def _rejected(reason: str, item: PairedItem) -> Rejected:
    texts = item.english_prompt, item.english_response, item.target_prompt, item.target_response
    return Rejected(item.id, reason, *texts)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.most_common()) or "nothing found"
