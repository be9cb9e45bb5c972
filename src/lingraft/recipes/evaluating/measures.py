"""One model of a comparison: likelihoods, answers, words and tasks, each kept as soon as it is there."""

import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from lingraft.evaluation.fidelity import Fidelity, score_fidelity
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.files import write_json
from lingraft.models.loading import LoadedModel, load_model
from lingraft.recipes.evaluating.inputs import EvaluationInputs
from lingraft.recipes.evaluating.kept_answers import PART_FILE, answer_and_keep
from lingraft.recipes.evaluating.measuring_tasks import run_tasks, task_rows
from lingraft.recipes.evaluating.options import EvaluationOptions
from lingraft.recipes.pivots.word_scoring import run_scoring

ABOUT, ANSWERS, WORDS, TASKS = "about.json", "answers.json", "words", "tasks"
"""In a model's directory: what it is, its answers by kind, and the run directories of words and tasks."""
WORD_METRICS = ("score", "probability", "accuracy", "above_all_distractors", "median_first_rank", "words")


@dataclass(frozen=True, slots=True)
class TextScore:
    """Bits per byte of one text, by document.

    Attributes:
        bits: float64 `[documents]`.
        bytes: int64 `[documents]`.
        tokens: Tokens of the model's own tokenizer.
        unknown_tokens: Those that its tokenizer does not know.
        charged_bytes: Bytes that its tokenizer hides, unknown or normalised away, which are charged 8 bits each.
    """

    bits: NDArray[np.float64]
    bytes: NDArray[np.int64]
    tokens: int
    unknown_tokens: int
    charged_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of a model.

    Attributes:
        reference: What the user typed.
        about: Revision, device, parameters, vocabulary.
        texts: By `target` and `english`.
        answers: By kind.
        fidelity: By `target` and `english`, of the answers that are judged.
        words: Metrics of the word task, or None.
        word_scores: float64 `[words]`, the contrastive score of each word, or None.
        tasks: Task to metric to value with its bounds.
    """

    reference: str
    about: dict[str, Any]
    texts: dict[str, TextScore]
    answers: dict[str, list[str]]
    fidelity: dict[str, Fidelity]
    words: dict[str, Any] | None
    word_scores: NDArray[np.float64] | None
    tasks: dict[str, dict[str, Any]]


def measure_model(
    reference: str,
    options: EvaluationOptions,
    inputs: EvaluationInputs,
    *,
    out: Path,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Measure a model, or read what an earlier start found; at the end no model is in memory.

    Args:
        reference: The model.
        options: What to measure.
        inputs: What is put to it.
        out: Its own directory in the run directory.
        device: Where the model is put.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.
        say: Called with one line at each step of the work.

    Returns:
        What was found.

    Raises:
        LingraftError: The model cannot be loaded or measured.
    """
    out.mkdir(parents=True, exist_ok=True)
    where = {"device": device, "trust_remote_code": trust_remote_code, "accept_terms": accept_terms}
    scores = {side: out / f"{side}.json" for side in inputs.texts}
    wanted = [out / ABOUT, *scores.values(), *([out / ANSWERS] if inputs.asked else [])]
    if not all(file.exists() for file in wanted):
        _measure_loaded(load_model(reference, dtype=options.dtype, **where), options, inputs, out, say)  # type: ignore[arg-type]
        _forget()
    words = word_scores = None
    if options.words is not None:
        say("words")
        words, word_scores = _words(reference, options, out / WORDS, where)
    tasks: dict[str, dict[str, Any]] = {}
    if options.tasks:
        say("tasks")
        tasks = _tasks(reference, options, out / TASKS, where)
    answers: dict[str, list[str]] = _read(out / ANSWERS) if inputs.asked else {}
    return Measured(
        reference=reference,
        about=_read(out / ABOUT),
        texts={side: _read_score(file) for side, file in scores.items()},
        answers=answers,
        fidelity=_fidelity(inputs, answers),
        words=words,
        word_scores=word_scores,
        tasks=tasks,
    )


def _measure_loaded(
    loaded: LoadedModel,
    options: EvaluationOptions,
    inputs: EvaluationInputs,
    out: Path,
    say: Callable[[str], None],
) -> None:
    for side, documents in inputs.texts.items():
        if not (out / f"{side}.json").exists():
            say(f"bits per byte, {side}")
            found = bits_per_byte(
                loaded.model, loaded.tokenizer, documents, batch_size=options.batch_size, progress=True
            )
            score = {
                "bits": found.document_bits.tolist(),
                "bytes": found.document_bytes.tolist(),
                "tokens": found.tokens,
                "unknown_tokens": found.unknown_tokens,
                "charged_bytes": found.unknown_bytes + found.altered_bytes,
            }
            write_json(out / f"{side}.json", score)
    if inputs.asked and not (out / ANSWERS).exists():
        say("answers")
        answers = {
            one.kind: answer_and_keep(
                loaded,
                inputs.format(one.kind, loaded.tokenizer),
                one.prompts,
                file=out / PART_FILE,
                kind=one.kind,
                max_new_tokens=options.max_new_tokens,
                batch_size=options.batch_size,
            )
            for one in inputs.asked
        }
        write_json(out / ANSWERS, answers)
        (out / PART_FILE).unlink(missing_ok=True)
    about = {
        "revision": loaded.revision,
        "device": str(next(loaded.model.parameters()).device),
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "vocabulary": len(loaded.tokenizer),
    }
    write_json(out / ABOUT, about)


def _forget() -> None:
    """Give a model's memory back before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _words(
    reference: str, options: EvaluationOptions, out: Path, where: dict[str, Any]
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    assert options.words is not None
    found = run_scoring(
        reference,
        options.words,
        out=out,
        limit=options.word_limit,
        draws=options.word_draws,
        batch_size=8 * options.batch_size,
        seed=options.seed,
        dtype=options.dtype,
        **where,
    )
    _forget()
    scores = pq.read_table(out / "scores.parquet", columns=["score"])["score"].to_numpy()
    metrics = {name: found.metrics[name] for name in WORD_METRICS if name in found.metrics}
    return metrics, np.asarray(scores, dtype=np.float64)


def _tasks(reference: str, options: EvaluationOptions, out: Path, where: dict[str, Any]) -> dict[str, Any]:
    found = run_tasks(options.task_options(reference), out=out, **where)
    _forget()
    tasks: dict[str, dict[str, Any]] = {}
    for task, metric, value in task_rows(found.metrics):
        tasks.setdefault(task, {})[metric] = {"value": value.value, "low": value.low, "high": value.high}
    return tasks


def _fidelity(inputs: EvaluationInputs, answers: dict[str, list[str]]) -> dict[str, Fidelity]:
    if inputs.identifier is None:
        return {}
    return {
        one.kind: score_fidelity(
            answers[one.kind][: one.judged],
            one.language,
            inputs.identifier,
            prompts=one.prompts[: one.judged],
        )
        for one in inputs.asked
        if one.judged
    }


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _read_score(file: Path) -> TextScore:
    found = _read(file)
    return TextScore(
        np.array(found["bits"], dtype=np.float64),
        np.array(found["bytes"], dtype=np.int64),
        int(found["tokens"]),
        int(found["unknown_tokens"]),
        # Not in what an older version left.
        int(found.get("charged_bytes", 0)),
    )
