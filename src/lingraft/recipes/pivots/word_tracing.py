"""Trace the words of a task through a model's layers: parts that a killed run keeps, tables, pictures, the report."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, find_run, open_run_directory, replacing, sha256_of
from lingraft.models.loading import LoadedModel
from lingraft.pivots.behaviour import (
    THRESHOLDS,
    behaviour_shares,
    mass_by_layer,
    threshold_sweep,
    write_traces,
)
from lingraft.pivots.partials import in_parts, join_traces, traces_to_part
from lingraft.pivots.pivot_sets import read_pivots
from lingraft.pivots.trace_figures import mass_figure, threshold_figure
from lingraft.pivots.trace_filters import filters, split_shared
from lingraft.pivots.trace_grid import WordGrid, choose_words, word_grid
from lingraft.pivots.trace_grid_report import grid_picture
from lingraft.pivots.trace_report import TraceReport, trace_sections, trace_sentence
from lingraft.pivots.tracing import Traces, trace_words
from lingraft.pivots.wordtask import WordItem, WordTask
from lingraft.progress import progress_task
from lingraft.recipes.pivots.word_inputs import inputs_of, load_checked, read_words, run_command, shown_words
from lingraft.reports.page import write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result

PART_WORDS = 128
"""Words between two savings."""
Pivots = Mapping[tuple[str, str], frozenset[int]]


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Everything that changes what a trace finds.

    Attributes:
        model: Reference of the model.
        draw: Number of the draw of examples.
        top: Likeliest tokens kept of every layer.
        every_token: Trace the place of every target token, not only of the first.
        threshold: Lowest top-1 probability that counts in the threshold variant.
        limit: Only the first so many words; None for all.
        grids: Words to draw layer by token.
        grid_words: Source words to draw instead.
        pivots: File of pivots whose mass is followed, or None.
        seed: Of the bootstrap.
        dtype: Type to compute in; None keeps the checkpoint's.
    """

    model: str
    draw: int = 0
    top: int = 5
    every_token: bool = False
    threshold: float = 0.1
    limit: int | None = None
    grids: int = 6
    grid_words: tuple[str, ...] = ()
    pivots: Path | None = None
    seed: int = 0
    dtype: str | None = None


def run_tracing(
    options: TraceOptions,
    words: Path,
    *,
    out: Path,
    batch_size: int = 64,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> RunResult:
    """Trace every word; a killed run continues, a finished one is read.

    Args:
        options: What to trace.
        words: The word task.
        out: Run directory, for traces.parquet, trace_layers.parquet, PNGs, result.json and report.html.
        batch_size: Words at a time.
        device: Where the model is put.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, no word that can be traced, or a directory that holds something else.
    """
    task = read_words(words, options.limit)
    _check(options, task, words)
    given = asdict(options)
    if options.pivots is not None:
        if not options.pivots.is_file():
            raise ConfigError(f"{options.pivots} is not there", "a file of pivots", "check the path")
        given |= {"pivots": str(options.pivots), f"{CONTENT_OF}pivots": sha256_of(options.pivots)}
    command = run_command("pivots trace", words, given)
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    loaded = load_checked(
        task,
        [options.draw],
        model=options.model,
        dtype=options.dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        accept_terms=accept_terms,
    )
    pivots = None if options.pivots is None else read_pivots(options.pivots, loaded.tokenizer, task.items)
    kept, skipped = split_shared(loaded.tokenizer, task.items)
    if not kept:
        raise ConfigError(
            f"{len(skipped)} words whose source and target share tokens",
            "a word to trace",
            "give other words, or a model whose tokenizer keeps them apart",
        )
    open_run_directory(out, command)
    traces = _trace(loaded, task, kept, skipped, pivots, options, out, batch_size)
    chosen = choose_words(traces, options.grids, options.grid_words)
    grids = [word_grid(loaded.model, loaded.tokenizer, task, item, draw=options.draw) for item in chosen]
    return _write(loaded, words, task, traces, grids, pivots or {}, options, out)


def trace_metrics(task: WordTask, traces: Traces, threshold: float, seed: int) -> dict[str, Any]:
    """Return what result.json says.

    Args:
        task: The words.
        traces: Their traces.
        threshold: Of the threshold variant.
        seed: Of the bootstrap.

    Returns:
        Shares of behaviours and of pivots by threshold for every filter, mass by layer, and the skipped words.
    """
    shares: dict[str, Any] = {}
    sweeps: dict[str, Any] = {}
    for name, (filtered, words_only) in filters(traces).items():
        found = behaviour_shares(filtered, words_only=words_only, seed=seed)
        shares[name] = {label: asdict(share) for label, share in found.items()}
        limits = sorted({*THRESHOLDS, threshold})
        sweep = threshold_sweep(filtered, limits, words_only=words_only, seed=seed)
        sweeps[name] = {f"{limit:g}": asdict(share) for limit, share in sweep}
    return {
        "source_language": task.source_language.name,
        "target_language": task.target_language.name,
        "words": len(traces.items),
        "layers": int(traces.top_ids.shape[1]),
        "behaviours": shares,
        "threshold": threshold,
        "pivot_by_threshold": sweeps,
        "mass_by_layer": {
            name: [asdict(estimate) for estimate in layers]
            for name, layers in mass_by_layer(traces, seed=seed).items()
        },
        "skipped": [f"{item.source_word} / {item.target_word}" for item in traces.skipped],
    }


def trace_lines(result: RunResult, out: Path) -> list[str]:
    """Say what came out, for a person."""
    metrics = result.metrics
    threshold = f"{metrics['threshold']:g}"
    lines = [
        f"{metrics['words']:,} words traced through {metrics['layers']} layers,"
        f" {metrics['source_language']} to {metrics['target_language']}"
    ]
    for name, shares in metrics["behaviours"].items():
        told = ", ".join(f"{label} {100 * share['value']:.1f} %" for label, share in shares.items())
        pivot = metrics["pivot_by_threshold"][name][threshold]["value"]
        lines.append(f"  {name}: {told}; a pivot at {threshold} or more: {100 * pivot:.1f} %")
    skipped: Sequence[str] = metrics["skipped"]
    if skipped:
        lines.append(f"  {len(skipped):,} pairs share tokens and were skipped: {shown_words(skipped)}")
    return [*lines, f"report: {out / 'report.html'}"]


def _check(options: TraceOptions, task: WordTask, words: Path) -> None:
    if not 0 <= options.draw < len(task.draws):
        raise ConfigError(
            f"--draw {options.draw}", f"0 to {len(task.draws) - 1}, what {words} holds", "give another number"
        )
    if not 0 <= options.threshold <= 1:
        raise ConfigError(
            f"--threshold {options.threshold:g}", "a probability, 0 to 1", "give another number"
        )
    known = {item.source_word for item in task.items}
    strange = next((word for word in options.grid_words if word not in known), None)
    if strange is not None:
        raise ConfigError(f"--grid-word {strange!r}", f"a word of {words}", "name another word")


def _trace(
    loaded: LoadedModel,
    task: WordTask,
    kept: Sequence[WordItem],
    skipped: Sequence[WordItem],
    pivots: Pivots | None,
    options: TraceOptions,
    out: Path,
    batch_size: int,
) -> Traces:
    def work(begin: int, end: int) -> dict[str, Any]:
        some = dataclasses.replace(task, items=tuple(kept[begin:end]))
        found = trace_words(
            loaded.model,
            loaded.tokenizer,
            some,
            draw=options.draw,
            top=options.top,
            pivots=pivots,
            every_token=options.every_token,
            batch_size=batch_size,
        )
        advance(len(some.items))
        return traces_to_part(found)

    with progress_task("tracing words", len(kept)) as advance:
        return join_traces(kept, skipped, in_parts(out, len(kept), PART_WORDS, work))


def _write(
    loaded: LoadedModel,
    words: Path,
    task: WordTask,
    traces: Traces,
    grids: Sequence[WordGrid],
    pivots: Pivots,
    options: TraceOptions,
    out: Path,
) -> RunResult:
    mass, thresholds = mass_figure(traces), threshold_figure(traces)
    pictures = {"mass_by_layer": mass.light, "pivots_by_threshold": thresholds.light}
    for number, grid in enumerate(grids, 1):
        tokens = pivots.get((grid.item.source_word, grid.item.target_word), frozenset())
        pictures[f"word_{number:02d}"] = grid_picture(grid, pivots=tokens)
    files = write_traces(out, traces, loaded.tokenizer)
    for name, picture in pictures.items():
        files[name] = f"{name}.png"
        with replacing(out / files[name]) as temporary:
            temporary.write_bytes(picture)
    inputs = inputs_of(loaded, words)
    if options.pivots is not None:
        revision = sha256_of(options.pivots)
        inputs += (InputRevision(role="pivots", reference=str(options.pivots), revision=revision),)
    result = RunResult(
        kind="pivots trace",
        metrics=trace_metrics(task, traces, options.threshold, options.seed),
        counts={
            "words": {
                "traced": len(traces.items),
                "skipped: source and target share tokens": len(traces.skipped),
            }
        },
        inputs=inputs,
        seeds={"seed": options.seed},
        files={**files, "report": "report.html"},
        provenance=collect_provenance(device=loaded.model.device),
    )
    report = TraceReport(
        task, traces, loaded.tokenizer, options.threshold, options.draw, mass, thresholds, grids, pivots
    )
    write_page(
        out / "report.html",
        trace_sections(report, seed=options.seed),
        title=f"How {task.source_language.name} words become {task.target_language.name}, layer by layer",
        summary=trace_sentence(traces, options.threshold),
        result=result,
    )
    write_result(out, result)
    return result
