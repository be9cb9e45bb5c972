"""Measure a model on lm-eval's tasks or on one's own: a stage a task, so that a killed run continues."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.errors import TokenizerError
from lingraft.evaluation.fidelity import pass_rate
from lingraft.evaluation.harness import evaluate_tasks, harness_lm
from lingraft.evaluation.harness_results import HarnessResult
from lingraft.files import find_run, open_run_directory, sha256_of, write_json, write_text
from lingraft.models.loading import LoadedModel, load_model
from lingraft.progress import track
from lingraft.recipes.evaluating.task_inputs import TaskOptions, check_options, is_task_file, task_command
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Cell, Paragraph, Section, Table, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result

PARTS = "tasks"
"""Directory of a run with a file for each of `--tasks` that is done, and its documents beside it."""
SHOWN = 5
"""Documents of each task on the page."""


def run_tasks(
    options: TaskOptions,
    *,
    out: Path,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> RunResult:
    """Run tasks; a killed run continues with the task that it was in, a finished one is read.

    Args:
        options: What to measure.
        out: Run directory, for the documents, result.json and report.html.
        device: Where the model is put.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option, model or task, lm-eval is missing, or a directory that holds something else.
    """
    check_options(options)
    command = task_command(options)
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    started = time.monotonic()
    loaded = load_model(
        options.model,
        dtype=options.dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        accept_terms=accept_terms,
    )
    if options.chat_template and not getattr(loaded.tokenizer, "chat_template", None):
        raise TokenizerError(
            "a tokenizer without a chat template", "one, for --chat-template", "leave the option out"
        )
    lm = harness_lm(loaded, batch_size=options.batch_size, progress=False)
    open_run_directory(out, command)
    parts = [
        _part(lm, options, number, out) for number in track(range(len(options.tasks)), description="tasks")
    ]
    result = _result(options, loaded, parts, round(time.monotonic() - started, 3))
    _report(out, parts, result)
    write_result(out, result)
    return result


def _result(
    options: TaskOptions, loaded: LoadedModel, parts: Sequence[Mapping[str, Any]], seconds: float
) -> RunResult:
    return RunResult(
        kind="eval tasks",
        metrics={
            "tasks": _joined(parts, "metrics"),
            "intervals": _joined(parts, "intervals"),
            "limit": options.limit,
            "shots": options.shots,
            "shots_used": _joined(parts, "shots"),
            "chat_template": options.chat_template,
            "seconds": seconds,
        },
        counts={
            "documents": _joined(parts, "documents"),
            "on the way": dict(sum((Counter(part["counts"]) for part in parts), Counter())),
        },
        inputs=(
            InputRevision(role="model", reference=loaded.reference, revision=loaded.revision),
            *(
                InputRevision(
                    role="task",
                    reference=task,
                    revision=sha256_of(Path(task)) if is_task_file(task) else "lm-eval",
                )
                for task in options.tasks
            ),
        ),
        seeds={"seed": options.seed},
        files={
            "report": "report.html",
            **{f"documents of {task}": _samples_file(number) for number, task in enumerate(options.tasks)},
        },
        provenance=collect_provenance(device=next(loaded.model.parameters()).device),
    )


def task_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, Estimate]]:
    """Return a result's table.

    Args:
        metrics: Of the result: `tasks`, task to metric to value, standard errors among them, and `intervals`.

    Returns:
        Task, metric, and the value with its interval, or with 1.96 standard errors on both sides.
    """
    rows = []
    for task, values in metrics["tasks"].items():
        for name, value in values.items():
            metric, comma, kind = name.partition(",")
            if metric.endswith("_stderr"):
                continue
            error = values.get(f"{metric}_stderr{comma}{kind}")
            bounds = (None, None) if error is None else (value - 1.96 * error, value + 1.96 * error)
            low, high = metrics["intervals"].get(task, {}).get(name, bounds)
            rows.append((task, name, Estimate(value, low, high)))
    return rows


def task_notes(result: RunResult) -> list[str]:
    """Say what changed the numbers without being asked for.

    Args:
        result: Of `run_tasks`.

    Returns:
        A sentence each: tasks that took other examples than were asked for, and requests that were too long.
    """
    notes = []
    shots, used = result.metrics["shots"], result.metrics.get("shots_used", {})
    others = sorted(task for task, number in used.items() if shots is not None and number != shots)
    if others:
        shown = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" if others[SHOWN:] else "")
        notes.append(
            f"no examples in front of {shown}, whatever --shots says: a task that says num_fewshot: 0 keeps it, and"
            " whole texts have nothing in front."
        )
    truncated = result.counts["on the way"].get("truncated", 0)
    if truncated:
        notes.append(
            f"requests that did not fit into the model's context and lost their beginning: {truncated:,}."
        )
    return notes


def _samples_file(number: int) -> str:
    return f"{PARTS}/{number:04d}.jsonl"


def _part(lm: Any, options: TaskOptions, number: int, out: Path) -> dict[str, Any]:
    """Run one of `--tasks`, or read what an earlier start found."""
    file = out / PARTS / f"{number:04d}.json"
    if not file.exists():
        found = evaluate_tasks(
            lm,
            [options.tasks[number]],
            limit=options.limit,
            num_fewshot=options.shots,
            include_path=options.include,
            chat_template=options.chat_template,
            seed=options.seed,
        )
        file.parent.mkdir(exist_ok=True)
        write_text(out / _samples_file(number), _samples(found))
        write_json(
            file,
            {
                "metrics": found.metrics,
                "documents": found.documents,
                "shots": found.shots,
                "counts": found.counts,
                "intervals": _intervals(found),
                "shown": {task: _shown(rows[:SHOWN]) for task, rows in found.samples.items()},
            },
        )
    part: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return part


def _intervals(found: HarnessResult) -> dict[str, dict[str, list[float]]]:
    """Wilson's intervals of what is a share of documents: its standard error is nothing where all are right."""
    intervals: dict[str, dict[str, list[float]]] = {}
    for task, metrics in found.metrics.items():
        for name, value in metrics.items():
            metric, _, kind = name.partition(",")
            given = [
                row[metric]
                for row in found.samples.get(task, [])
                if metric in row and row["filter"] == (kind or "none")
            ]
            if not given or not all(isinstance(one, bool | int | float) and one in (0, 1) for one in given):
                continue
            rate = pass_rate(np.array(given, dtype=np.float64))
            if rate is not None and abs(rate["value"] - value) < 1e-9:
                intervals.setdefault(task, {})[name] = [rate["low"], rate["high"]]
    return intervals


def _samples(found: HarnessResult) -> str:
    rows = [{"task": task, **row} for task, rows in found.samples.items() for row in rows]
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Context, answer and right answer of a few documents, as the page shows them."""
    shown = []
    for row in rows:
        arguments = row["arguments"]
        context = str(next(iter(arguments))[0]) if arguments else ""
        shown.append([context[-400:], str(row["responses"])[:400], str(row["target"])[:200]])
    return shown


def _joined(parts: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    # What a killed run of an older version left may lack one.
    return {task: values for part in parts for task, values in part.get(name, {}).items()}


def _report(out: Path, parts: Sequence[Mapping[str, Any]], result: RunResult) -> None:
    rows: list[tuple[Cell, ...]] = list(task_rows(result.metrics))
    sections = [
        Section(
            "Metrics",
            [
                Table(
                    "95 %: shares by Wilson, others by lm-eval's errors",
                    ("task", "metric", "value"),
                    rows,
                ),
                Paragraph(
                    "Likelihoods are of lm-eval's own tokens. Small samples tell little: see the intervals."
                ),
                *map(Paragraph, task_notes(result)),
            ],
        )
    ]
    for task, shown in _joined(parts, "shown").items():
        caption = f"The first {len(shown)} documents; all are in {PARTS}/"
        columns = ("end of the context", "answer or likelihoods", "right")
        sections.append(Section(task, [Table(caption, columns, shown)]))
    documents = sum(result.counts["documents"].values())
    summary = f"{len(rows)} metrics of {len(result.counts['documents'])} tasks, {documents:,} documents."
    write_page(out / "report.html", sections, title="Tasks", summary=summary, result=result)
