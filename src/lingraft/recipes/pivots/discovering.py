"""`pivots discover` as a recipe: samples of a corpus, the pivots of word pairs, the hubs, tables and a report."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.contents import with_contents
from lingraft.corpora.engine import map_corpus
from lingraft.corpora.partials import CorpusResult
from lingraft.corpora.shards import SHARD_BYTES, Shard, plan_shards
from lingraft.errors import ConfigError
from lingraft.files import open_run_directory, sha256_of
from lingraft.pivots.discovery import (
    DocumentFrequencies,
    PairPivots,
    document_frequencies,
    find_pivots,
    pivot_table,
)
from lingraft.pivots.discovery_report import discovery_sections
from lingraft.pivots.discovery_sample import SampleKernel
from lingraft.pivots.discovery_tokens import Tokens
from lingraft.pivots.hubs import find_hubs, hub_table
from lingraft.pivots.matching import Matching, list_words
from lingraft.pivots.semantic import filter_pivots
from lingraft.recipes.pivots.discovering_inputs import (
    DiscoverOptions,
    corpus_revision,
    load_filter,
    load_tokens,
    read_word_pairs,
    write_table,
)
from lingraft.reports.page import Section, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, write_recipe, write_result

PIVOTS, HUBS, SAMPLE_DIRECTORY = "pivots.parquet", "hubs.parquet", "sample"


def run_discovery(
    options: DiscoverOptions,
    *,
    out: Path,
    workers: int = 1,
    ray_address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> tuple[RunResult, pa.Table]:
    """Find the pivots of word pairs in a corpus; the same command goes on where it was stopped.

    Args:
        options: What is to be found, in what.
        out: Run directory, for pivots.parquet, hubs.parquet, result.json, recipe.yaml and report.html.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here.
        shard_bytes: Size of the parts that large plain files are cut into.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        The result, and the table of pivots.

    Raises:
        LingraftError: A bad option or input, no pair with a document, or a run directory that is taken.
    """
    options.check()
    matching = Matching()
    pairs = read_word_pairs(Path(options.pairs), matching)
    shards = plan_shards(options.corpus)
    tokens, revisions = load_tokens(options.tokenizer, trust_remote_code, accept_terms)
    donor = load_filter(options, trust_remote_code, accept_terms)
    words = list_words([word for pair in pairs for word in pair], _places(len(pairs)), matching)
    kernel = SampleKernel(words.words, tokens, matching, options.sample, options.background, options.seed)
    resolved = with_contents(asdict(options))
    open_run_directory(out, {"verb": "pivots discover", **resolved})
    corpus = map_corpus(
        options.corpus,
        kernel,
        out=out / SAMPLE_DIRECTORY,
        text_field=options.text_field,
        workers=workers,
        ray_address=ray_address,
        shard_bytes=shard_bytes,
        maximum_bad_lines=options.maximum_bad_lines,
        description="sampling documents",
    )
    frequencies = document_frequencies(corpus.partial)
    rows = [(source, target) for source, target in words.rows.reshape(-1, 2).tolist()]
    found = find_pivots(
        frequencies, pairs, rows, tokens=tokens, score=options.score, top=options.top, matching=matching
    )
    _require_documents(found, frequencies, rows, options, corpus.documents)
    similar, kept = _filtered(donor, found, frequencies, tokens, options.similarity_quantile)
    table = pivot_table(found, rows, frequencies, tokens=tokens, similarities=similar, kept=kept)
    hubs = find_hubs(frequencies, rows, tokens=tokens)
    hub_rows = hub_table(hubs, frequencies, tokens=tokens)
    for name, content in ((PIVOTS, table), (HUBS, hub_rows)):
        write_table(out / name, content, {"tokens": tokens.name(), "tokenizer": options.tokenizer or ""})
    listed = _pair_rows(found, frequencies, rows, kept)
    result = RunResult(
        kind="pivots discover",
        metrics={
            "pairs": listed,
            "hubs": hubs.tokens.size,
            "graph_edges": hubs.edges,
            "score": options.score,
            "filtered": donor is not None,
            "semantics": f"document frequencies in samples; tokens are {tokens.name()}; {matching}",
        },
        counts=_counts(corpus, frequencies, found),
        inputs=_inputs(options, shards, donor, revisions),
        seeds={"seed": options.seed},
        files={"pivots": PIVOTS, "hubs": HUBS, "report": "report.html"},
        provenance=collect_provenance(),
    )
    _write(out, result, asdict(options))
    return result, table


def kept_discovery_sections(directory: Path, result: RunResult) -> list[Section]:
    """Lay out the page of a discovery from what it left.

    Args:
        directory: The run directory, with its tables.
        result: Its result.

    Returns:
        The sections.
    """
    pivots, hubs = (pq.read_table(directory / name) for name in (PIVOTS, HUBS))
    metrics = result.metrics
    return discovery_sections(
        metrics["pairs"], pivots, hubs, score=metrics["score"], filtered=metrics["filtered"]
    )


def _filtered(
    donor: Any, found: Sequence[PairPivots], frequencies: DocumentFrequencies, tokens: Tokens, quantile: float
) -> tuple[dict[int, list[float]] | None, dict[int, list[bool]] | None]:
    if donor is None:
        return None, None
    embeddings = donor.embeddings.numpy()
    return filter_pivots(found, frequencies, embeddings, donor.tokenizer, tokens=tokens, quantile=quantile)


def _inputs(
    options: DiscoverOptions, shards: Sequence[Shard], donor: Any, revisions: Sequence[InputRevision]
) -> tuple[InputRevision, ...]:
    corpus, pairs = " ".join(options.corpus), options.pairs
    filtered = []
    if donor is not None:
        filtered.append(InputRevision(role="filter", reference=donor.reference, revision=donor.revision))
    return (
        InputRevision(role="corpus", reference=corpus, revision=corpus_revision(shards)),
        InputRevision(role="pairs", reference=pairs, revision=sha256_of(Path(pairs))),
        *revisions,
        *filtered,
    )


def _counts(
    corpus: CorpusResult, frequencies: DocumentFrequencies, found: Sequence[PairPivots]
) -> dict[str, dict[str, int]]:
    return {
        "documents": {
            "with text": corpus.documents,
            "sampled": len(corpus.partial["documents"]),
            "sampled as background": frequencies.background_documents,
        },
        "pairs": {
            "with pivots": sum(not item.why_none for item in found),
            "a word in no document": sum("no document" in item.why_none for item in found),
            "no token comes with both": sum("no token" in item.why_none for item in found),
        },
        "bad lines": dict(corpus.bad),
    }


def _write(out: Path, result: RunResult, recipe: dict[str, Any]) -> None:
    sections = kept_discovery_sections(out, result)
    write_recipe(out, recipe, provenance=result.provenance, inputs=result.inputs, seeds=result.seeds)
    write_page(
        out / "report.html", sections, title="Pivots of word pairs", summary=summary(result), result=result
    )
    write_result(out, result)


def summary(result: RunResult) -> str:
    """Say in a sentence what was found."""
    pairs, documents = result.counts["pairs"], result.counts["documents"]
    return (
        f"{pairs['with pivots']:,} of {sum(pairs.values()):,} pairs have pivots in {documents['with text']:,}"
        f" documents, {documents['sampled']:,} of which were looked at; {result.metrics['hubs']:,} tokens"
        " come with two or more words of each side."
    )


def _places(pairs: int) -> list[str]:
    return [f"pair {number}" for number in range(1, pairs + 1) for _ in range(2)]


def _require_documents(
    found: Sequence[PairPivots],
    frequencies: DocumentFrequencies,
    rows: Sequence[tuple[int, int]],
    options: DiscoverOptions,
    documents: int,
) -> None:
    if all(not frequencies.found[list(row)].all() for row in rows):
        first = found[0]
        raise ConfigError(
            f"no pair of {options.pairs} has both its words in the {documents:,} documents (the first:"
            f" {first.source_word} - {first.target_word}: {first.why_none})",
            "a pair of which both words occur",
            "give a corpus in both languages, or other pairs",
        )


def _pair_rows(
    found: Sequence[PairPivots],
    frequencies: DocumentFrequencies,
    rows: Sequence[tuple[int, int]],
    kept: dict[int, list[bool]] | None,
) -> list[dict[str, Any]]:
    return [
        {
            "source_word": item.source_word,
            "target_word": item.target_word,
            "source_documents": int(frequencies.found[row[0]]),
            "target_documents": int(frequencies.found[row[1]]),
            "pivots": len(item.tokens),
            "kept": len(item.tokens) if kept is None else sum(kept[pair]),
            "why_none": item.why_none,
        }
        for pair, (item, row) in enumerate(zip(found, rows, strict=True))
    ]
