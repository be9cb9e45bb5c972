"""`pivots select` as a recipe: the passes over the corpus that choose documents, and what they leave."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.corpora.engine import map_corpus
from lingraft.corpora.language_id import LinguaIdentifier
from lingraft.corpora.partials import Partial
from lingraft.corpora.shards import SHARD_BYTES
from lingraft.files import CONTENT_OF, fingerprint, open_run_directory, sha256_of
from lingraft.pivots.controls import frequency_matched
from lingraft.pivots.discovery import document_frequencies
from lingraft.pivots.discovery_sample import SampleKernel
from lingraft.pivots.leakage import guarded_tokens
from lingraft.pivots.matching import Matching
from lingraft.pivots.selection import (
    SELECTED,
    Chosen,
    available,
    first_channels,
    fitting_share,
    matched_channels,
    require_full,
    settle,
)
from lingraft.pivots.selection_passes import Reading, ShardPlace, map_records
from lingraft.pivots.selection_ranking import Channel, Eligibility, RankKernel
from lingraft.pivots.selection_writing import (
    PARTS,
    WritingJob,
    assemble,
    parts_name,
    write_parts,
    write_selection_table,
)
from lingraft.recipes.pivots.selecting_inputs import SelectOptions
from lingraft.recipes.pivots.selecting_result import Outcome, write_outcome
from lingraft.recipes.pivots.selecting_setting import Setting, prepare
from lingraft.reports.result import RunResult

PASSES, TABLE = "passes", "selection.parquet"
CORPUS, PARALLEL = "corpus", "parallel corpus"
BACKGROUND = 4000
"""Documents in which the frequency of tokens is looked up, for the control of frequency-matched tokens."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How passes are run.

    Attributes:
        out: Run directory.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here.
        shard_bytes: Size of the parts that large plain files are cut into.
    """

    out: Path
    workers: int = 1
    ray_address: str | None = None
    shard_bytes: int = SHARD_BYTES

    def options(self) -> dict[str, Any]:
        """Return what `map_corpus` and `map_records` take."""
        return {"workers": self.workers, "ray_address": self.ray_address, "shard_bytes": self.shard_bytes}

    def place(self, name: str, kernel: Any) -> Path:
        """Return the directory of a pass; another kernel has another."""
        return self.out / PASSES / f"{name}-{fingerprint(kernel.describe())}"


def run_selecting(
    options: SelectOptions,
    *,
    out: Path,
    shrink_to_fit: bool = False,
    workers: int = 1,
    ray_address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> RunResult:
    """Choose documents and controls; the same command goes on where it was stopped.

    Args:
        options: What is to be chosen, by what.
        out: Run directory, for selected/, controls/NAME/, selection.parquet, result.json, recipe.yaml and report.html.
        shrink_to_fit: Make all sets as small as the smallest, where the corpus does not fill them.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here.
        shard_bytes: Size of the parts that large plain files are cut into.
        trust_remote_code: Run Python code that a tokenizer carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, an empty pivot set, a budget that the corpus does not fill, or a run
            directory that is taken.
    """
    setting = prepare(options, trust_remote_code=trust_remote_code, accept_terms=accept_terms)
    open_run_directory(out, _command(options))
    engine = Engine(out, workers, ray_address, shard_bytes)
    kernel = _kernel(setting, _matched_tokens(setting, engine))
    reading = Reading(options.text_field, None, options.maximum_bad_lines)
    corpus, places = map_records(
        options.corpus,
        kernel,
        out=engine.place("ranking", kernel),
        reading=reading,
        description="ranking documents",
        **engine.options(),
    )
    parts: dict[str, tuple[Partial, tuple[Channel, ...]]] = {CORPUS: (corpus.partial, kernel.channels)}
    where = {CORPUS: (places, reading)}
    if options.parallel_corpus and "parallel" in options.controls:
        parts[PARALLEL], where[PARALLEL] = _rank_parallel(setting, engine)
    share = _share(parts, options, setting.unit, shrink_to_fit)
    sets = {corpus_name: settle(found, channels, share) for corpus_name, (found, channels) in parts.items()}
    if "matched" in options.controls:
        sets[CORPUS] |= _rank_matched(setting, engine, sets[CORPUS][SELECTED], reading)
    shards: dict[str, int] = {}
    for name, chosen in sets.items():
        shards |= _write(setting, engine, chosen, *where[name])
    names = [SELECTED, *options.controls]
    write_selection_table(out / TABLE, [_directory(out, name) for name in names])
    outcome = Outcome(
        chosen={name: chosen for found in sets.values() for name, chosen in found.items()},
        names=tuple(names),
        shards=shards,
        corpus=corpus,
        share=share,
        matched=kernel.matched,
        from_other_corpus=("parallel",) if PARALLEL in sets else (),
    )
    result = write_outcome(out, options, setting, outcome)
    _remove_parts(out)
    return result


def _remove_parts(out: Path) -> None:
    """Remove what the sets were joined from; they hold it now."""
    for directory in (out / PASSES).glob(f"{PARTS}*"):
        shutil.rmtree(directory)


def _command(options: SelectOptions) -> dict[str, Any]:
    command = with_contents(asdict(options))
    command[f"{CONTENT_OF}pivots"] = sha256_of(Path(options.pivots))
    command[f"{CONTENT_OF}test_words"] = [sha256_of(Path(path)) for path in options.test_words]
    return {"verb": "pivots select", **command}


def _kernel(
    setting: Setting, matched: frozenset[str], channels: Sequence[Channel] | None = None
) -> RankKernel:
    options = setting.options
    quotas = dict(options.quotas)
    return RankKernel(
        channels=tuple(channels)
        if channels is not None
        else first_channels(
            options.controls, options.tokens, quotas, parallel_here=not options.parallel_corpus
        ),
        tokens=setting.tokens,
        pivots=setting.pivots,
        matched=matched,
        counter=setting.counter,
        eligibility=Eligibility(
            options.least_length,
            setting.test_words.pairs if options.keep_out_test_pairs else (),
            tuple(quotas),
        ),
        identifier=partial(LinguaIdentifier, options.languages) if options.languages else None,
        identified=options.languages,
        seed=options.seed,
    )


def _matched_tokens(setting: Setting, engine: Engine) -> frozenset[str]:
    """Draw the tokens of the control by frequency, from a sample of the corpus."""
    options = setting.options
    if "frequency" not in options.controls:
        return frozenset()
    kernel = SampleKernel((), setting.tokens, Matching(), 1, BACKGROUND, options.seed)
    sampled = map_corpus(
        options.corpus,
        kernel,
        out=engine.place("background", kernel),
        text_field=options.text_field,
        maximum_bad_lines=options.maximum_bad_lines,
        description="sampling documents",
        **engine.options(),
    )
    frequencies = document_frequencies(sampled.partial)
    return frequency_matched(
        setting.pivots,
        frequencies,
        tokens=setting.tokens,
        forbidden=guarded_tokens(frequencies.tokens, setting.test_words, tokens=setting.tokens),
        seed=options.seed,
    )


def _rank_parallel(
    setting: Setting, engine: Engine
) -> tuple[tuple[Partial, tuple[Channel, ...]], tuple[list[ShardPlace], Reading]]:
    """Draw documents of a corpus that is parallel as a whole."""
    options = setting.options
    fields = options.parallel_fields or (options.text_field, None)
    reading = Reading(fields[0] or options.text_field, fields[1], options.maximum_bad_lines)
    channels = (Channel("parallel", "random", options.tokens, "parallel"),)
    kernel = _kernel(setting, frozenset(), channels)
    found, places = map_records(
        options.parallel_corpus,
        kernel,
        out=engine.place("parallel", kernel),
        reading=reading,
        description="reading the parallel corpus",
        **engine.options(),
    )
    return (found.partial, channels), (places, reading)


def _rank_matched(setting: Setting, engine: Engine, selected: Chosen, reading: Reading) -> dict[str, Chosen]:
    """Draw documents with the languages and lengths of the selection."""
    channels = matched_channels(selected)
    kernel = _kernel(setting, frozenset(), channels)
    found, _ = map_records(
        setting.options.corpus,
        kernel,
        out=engine.place("matched", kernel),
        reading=reading,
        description="matching languages and lengths",
        **engine.options(),
    )
    return settle(found.partial, channels)


def _share(
    parts: Mapping[str, tuple[Partial, tuple[Channel, ...]]], options: SelectOptions, unit: str, shrink: bool
) -> float:
    """Return which share of the budget all sets can have; refuse less than all of it, unless they may shrink."""
    found: dict[str, int] = {}
    channels: list[Channel] = []
    for partial_, members in parts.values():
        found |= available(partial_, members)
        channels += members
    share = fitting_share(found, channels)
    if not shrink or int(share * options.tokens) < 1:
        require_full(found, channels, options.tokens, unit)
    return share


def _write(
    setting: Setting,
    engine: Engine,
    sets: Mapping[str, Chosen],
    places: Sequence[ShardPlace],
    reading: Reading,
) -> dict[str, int]:
    """Write sets of one corpus; return how many shards each has."""
    job = WritingJob(
        parts=engine.out / PASSES / parts_name(sets),
        reading=reading,
        tokens=setting.tokens,
        counter=setting.counter or setting.tokens,
        pivots=setting.pivots,
        sets=dict(sets),
    )
    write_parts(job, places, workers=engine.workers, ray_address=engine.ray_address)
    return {name: assemble(job, places, name, _directory(engine.out, name)) for name in sets}


def _directory(out: Path, name: str) -> Path:
    return out / SELECTED if name == SELECTED else out / "controls" / name
