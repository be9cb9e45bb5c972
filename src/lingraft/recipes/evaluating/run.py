"""Compare models side by side: each measured alone and kept, then differences, samples and the report."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.files import find_run, open_run_directory, replacing, sha256_of, write_text
from lingraft.recipes.evaluating.inputs import SIDES, EvaluationInputs, read_inputs
from lingraft.recipes.evaluating.measures import Measured, TextScore, measure_model
from lingraft.recipes.evaluating.options import EvaluationOptions
from lingraft.recipes.evaluating.report import SAMPLES_FILE, write_evaluation_report
from lingraft.recipes.evaluating.summary import measure_rows
from lingraft.recipes.pretraining.inputs import text_revisions
from lingraft.reports.intervals import mean_interval, ratio_interval, share_change_interval
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result

Say = Callable[[str], None]
MODELS, TABLE_FILE = "models", "comparison.parquet"


def run_evaluation(
    options: EvaluationOptions,
    *,
    out: Path,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
    say: Say = lambda _: None,
) -> RunResult:
    """Measure every model and compare; a killed run continues, a finished one is read.

    Args:
        options: What to measure.
        out: Run directory. It gets a directory for each model in `models`, samples.jsonl, comparison.parquet,
            result.json, pictures and report.html.
        device: Where the models are put, one at a time.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of catalogued models.
        say: Called with one line at each step of the work.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or a directory that holds something else.
    """
    options.check()
    command = options.command()
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    codes = {"trust_remote_code": trust_remote_code, "accept_terms": accept_terms}
    inputs = read_inputs(options, **codes)
    open_run_directory(out, command)
    measured = {}
    for name, reference in options.models.items():
        measured[name] = measure_model(
            reference,
            options,
            inputs,
            out=out / MODELS / name,
            device=device,
            say=lambda line, name=name: say(f"{name}: {line}"),  # type: ignore[misc]
            **codes,
        )
    result = _result(options, inputs, measured)
    _write_samples(out / SAMPLES_FILE, options, inputs, measured)
    with replacing(out / TABLE_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(measure_rows(result.metrics)), temporary)
    write_evaluation_report(out, result)
    write_result(out, result)
    return result


def _result(
    options: EvaluationOptions, inputs: EvaluationInputs, measured: Mapping[str, Measured]
) -> RunResult:
    first, *others = measured
    judged = next((one for one in inputs.asked if one.kind == "target" and one.judged), None)
    return RunResult(
        kind="eval compare",
        metrics={
            "models": {name: _model_metrics(one, options.seed) for name, one in measured.items()},
            "differences": {
                name: _differences(measured[name], measured[first], options.seed) for name in others
            },
            "baseline": first,
            "language": options.language,
            "template": inputs.template_name if options.prompts is not None else None,
            "max_new_tokens": options.max_new_tokens,
        },
        counts={
            "prompts": {one.kind: len(one.prompts) for one in inputs.asked}
            | {f"left out: {why}": number for why, number in inputs.left_out.items()},
            **(
                {}
                if judged is None
                else {
                    f"answers, {name}": {
                        "passed": int(np.nansum(one.fidelity["target"].line_pass)),
                        "a line in another language": int((one.fidelity["target"].line_pass == 0).sum()),
                        **{
                            f"skipped: {reason}": number
                            for reason, number in one.fidelity["target"].skipped.items()
                        },
                    }
                    for name, one in measured.items()
                }
            ),
        },
        inputs=_revisions(options, measured),
        seeds={"seed": options.seed},
        files={"samples": SAMPLES_FILE, "comparison": TABLE_FILE, "report": "report.html"},
        provenance=collect_provenance(device=measured[first].about["device"]),
    )


def _revisions(options: EvaluationOptions, measured: Mapping[str, Measured]) -> tuple[InputRevision, ...]:
    files = {"prompts": options.prompts, "words": options.words}
    return (
        *(
            InputRevision(role=f"model {name}", reference=one.reference, revision=one.about["revision"])
            for name, one in measured.items()
        ),
        *text_revisions({"held-out": (options.held_out,), "English held-out": (options.english_held_out,)}),
        *(
            InputRevision(role=role, reference=str(path), revision=sha256_of(path))
            for role, path in files.items()
            if path is not None
        ),
    )


def _model_metrics(one: Measured, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "reference": one.reference,
        "parameters": one.about["parameters"],
        "vocabulary": one.about["vocabulary"],
    }
    for side in SIDES:
        if side in one.texts:
            found[side] = _text_metrics(one.texts[side], seed)
    for side, fidelity in one.fidelity.items():
        found["fidelity" if side == "target" else "english_fidelity"] = fidelity.summary()
    if one.words is not None:
        found["words"] = one.words
    if one.tasks:
        found["tasks"] = one.tasks
    return found


def _text_metrics(score: TextScore, seed: int) -> dict[str, Any]:
    estimate = ratio_interval(score.bits, score.bytes, seed=seed)
    size = int(score.bytes.sum())
    return {
        "bits_per_byte": estimate.value,
        "interval": [estimate.low, estimate.high],
        "tokens": score.tokens,
        "bytes": size,
        "documents": len(score.bytes),
        "tokens_per_byte": score.tokens / size,
        "unknown_tokens": score.unknown_tokens,
        "charged_bytes": score.charged_bytes,
    }


def _differences(one: Measured, base: Measured, seed: int) -> dict[str, Any]:
    """Return a model less the first one, paired by document, prompt and word."""
    found = {}
    for side in one.texts:
        bits = one.texts[side].bits - base.texts[side].bits
        found[side] = ratio_interval(bits, one.texts[side].bytes, seed=seed).as_json()
    for side, fidelity in one.fidelity.items():
        change = fidelity.line_pass - base.fidelity[side].line_pass
        both = change[~np.isnan(change)]
        if len(both):
            name = "fidelity" if side == "target" else "english_fidelity"
            found[name] = share_change_interval(both).as_json()
    if one.word_scores is not None and base.word_scores is not None:
        found["words"] = mean_interval(one.word_scores - base.word_scores, seed=seed).as_json()
    return found


def _write_samples(
    path: Path, options: EvaluationOptions, inputs: EvaluationInputs, measured: Mapping[str, Measured]
) -> None:
    """Write what every model said to the same prompts, a JSON object a prompt."""
    lines = []
    for one in inputs.asked:
        for number in range(min(options.samples, len(one.prompts))):
            row = {
                "kind": one.kind,
                "id": one.ids[number],
                "language": one.language,
                "prompt": one.prompts[number],
                "answers": {name: found.answers[one.kind][number] for name, found in measured.items()},
            }
            if number < one.judged:
                row["judged"] = {name: _said(found, one.kind, number) for name, found in measured.items()}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def _said(found: Measured, kind: str, number: int) -> str:
    verdict = found.fidelity[kind].verdicts[number]
    if verdict.skipped:
        return f"not judged: {verdict.skipped}"
    return ", ".join(dict.fromkeys(verdict.languages))
