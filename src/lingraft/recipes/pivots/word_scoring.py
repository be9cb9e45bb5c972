"""Score the words of a task on a model: parts that a killed run keeps, tables, pictures and the report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.errors import ConfigError
from lingraft.files import find_run, open_run_directory
from lingraft.pivots.partials import in_parts, join_scores, scores_to_part
from lingraft.pivots.scoring import WordScores, score_words
from lingraft.pivots.wordtask import WordTask
from lingraft.progress import progress_task
from lingraft.recipes.pivots.word_inputs import inputs_of, load_checked, read_words, run_command, shown_words
from lingraft.recipes.pivots.word_score_report import score_sections, score_sentence
from lingraft.reports.page import write_page
from lingraft.reports.result import RunResult, collect_provenance, read_result, write_result

PART_WORDS = 32
"""Words between two savings."""


def run_scoring(
    model: str,
    words: Path,
    *,
    out: Path,
    draws: int | None = None,
    limit: int | None = None,
    generate: bool = True,
    batch_size: int = 64,
    seed: int = 0,
    dtype: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> RunResult:
    """Score every word; a killed run continues, a finished one is read.

    Args:
        model: Reference of the model.
        words: The word task.
        out: Run directory, for scores.parquet, result.json and report.html.
        draws: How many of the task's draws of examples; None for all.
        limit: Only the first so many words.
        generate: Say by greedy decoding whether the model gets a word right.
        batch_size: Rows at a time.
        seed: Of the bootstrap.
        dtype: Type to compute in; None keeps the checkpoint's.
        device: Where the model is put.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, or a directory that holds something else.
    """
    task = read_words(words, limit)
    count = len(task.draws) if draws is None else draws
    if not 1 <= count <= len(task.draws):
        raise ConfigError(
            f"--draws {count}", f"1 to {len(task.draws)}, what {words} holds", "give another number"
        )
    options = {
        "model": model,
        "draws": draws,
        "limit": limit,
        "generate": generate,
        "seed": seed,
        "dtype": dtype,
    }
    command = run_command("pivots score", words, options)
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    loaded = load_checked(
        task,
        range(count),
        model=model,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        accept_terms=accept_terms,
    )
    open_run_directory(out, command)

    def work(begin: int, end: int) -> dict[str, Any]:
        some = dataclasses.replace(task, items=task.items[begin:end])
        found = score_words(
            loaded.model, loaded.tokenizer, some, draws=draws, batch_size=batch_size, generate=generate
        )
        advance(len(some.items))
        return scores_to_part(found)

    with progress_task("scoring words", len(task.items)) as advance:
        scores = join_scores(task.items, in_parts(out, len(task.items), PART_WORDS, work))
    result = RunResult(
        kind="pivots score",
        metrics=score_metrics(task, scores, seed),
        counts=score_counts(scores),
        inputs=inputs_of(loaded, words),
        seeds={"seed": seed},
        files={"scores": "scores.parquet", "report": "report.html"},
        provenance=collect_provenance(device=loaded.model.device),
    )
    scores.write(out / "scores.parquet")
    write_page(
        out / "report.html",
        score_sections(task, scores, seed=seed),
        title=f"Word translation, {task.source_language.name} to {task.target_language.name}",
        summary=score_sentence(task, scores, seed=seed),
        result=result,
    )
    write_result(out, result)
    return result


def score_metrics(task: WordTask, scores: WordScores, seed: int) -> dict[str, Any]:
    """Return what result.json says: means with 95% intervals over words, and the same for every draw of examples.

    Args:
        task: The words.
        scores: Their scores.
        seed: Of the bootstrap.

    Returns:
        A JSON-able mapping.
    """
    by_draw = []
    for draw in range(scores.probability.shape[1]):
        line = {"score": float((scores.probability - scores.distractor)[:, draw].mean())}
        if scores.correct is not None:
            line["accuracy"] = float(scores.correct[:, draw].mean())
        by_draw.append(line)
    return {
        "source_language": task.source_language.name,
        "target_language": task.target_language.name,
        "words": len(scores.items),
        "draws": int(scores.probability.shape[1]),
        **{name: asdict(estimate) for name, estimate in scores.summary(seed=seed).items()},
        "median_first_rank": float(np.median(scores.first_rank)),
        "by_draw": by_draw,
        "sharing_tokens": [
            f"{item.source_word} / {item.target_word}"
            for item, shared in zip(scores.items, scores.shares_tokens, strict=True)
            if shared
        ],
    }


def score_counts(scores: WordScores) -> dict[str, dict[str, int]]:
    """Count words by what matters to how their scores are read."""
    tokens = scores.target_tokens
    return {
        "words": {
            "scored": len(scores.items),
            "source and target share tokens": int(scores.shares_tokens.sum()),
        },
        "tokens of the target": {str(n): int((tokens == n).sum()) for n in sorted(set(tokens.tolist()))},
    }


def score_lines(result: RunResult, out: Path) -> list[str]:
    """Say what came out, for a person."""
    metrics = result.metrics
    names = {
        "score": "contrastive score",
        "probability": "probability after the word",
        "distractor_probability": "probability after distractors",
        "above_all_distractors": "likelier than after every distractor",
        "accuracy": "right first line",
    }
    lines = [
        f"{metrics['words']:,} words, {metrics['source_language']} to {metrics['target_language']},"
        f" {metrics['draws']} draws of examples"
    ]
    lines += [f"  {name:<38}{_interval(metrics[key])}" for key, name in names.items() if key in metrics]
    lines.append(f"  {'median rank of the first token':<38}{metrics['median_first_rank']:g}")
    shared: Sequence[str] = metrics["sharing_tokens"]
    if shared:
        lines.append(f"  {len(shared):,} pairs share tokens: {shown_words(shared)}")
    return [*lines, f"report: {out / 'report.html'}"]


def _interval(estimate: dict[str, Any]) -> str:
    shown = f"{estimate['value']:.4f}"
    if estimate["low"] is None:
        return shown
    return f"{shown} ({estimate['low']:.4f} to {estimate['high']:.4f})"
