"""`lingraft diagnose`: a first look at a model and a language, part by part, and the recipe that it speaks for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lingraft.errors import ArchitectureError, ConfigError, LingraftError, ModelError, OutputError
from lingraft.files import find_run, open_run_directory
from lingraft.models.devices import choose_device
from lingraft.models.loading import load_model, load_tokenizer
from lingraft.recipes.diagnosing.inputs import (
    TASK_FILE,
    Material,
    check_words,
    find_material,
    prepare_words,
)
from lingraft.recipes.diagnosing.options import (
    FERTILITY,
    FIDELITY,
    LIKELIHOOD,
    PARTS,
    PATCHING,
    TRACE,
    WORDS,
    DiagnoseOptions,
    check_options,
)
from lingraft.recipes.diagnosing.parts import (
    Bench,
    measure_answers,
    measure_headroom,
    measure_likelihood,
    measure_tokens,
    score_word_task,
    trace_words_and_draw,
)
from lingraft.recipes.diagnosing.recommendation import Findings, recommend
from lingraft.recipes.diagnosing.report import (
    NEEDS_CORPUS,
    diagnosis_sections,
    diagnosis_sentence,
    needs_corpus,
)
from lingraft.recipes.inputs import text_revision
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import write_page
from lingraft.reports.result import (
    InputRevision,
    RunResult,
    collect_provenance,
    read_result,
    write_result,
)

LEFT_OUT = "left out (--skip)"
_PARTS = {
    FERTILITY: (measure_tokens, "text"),
    LIKELIHOOD: (measure_likelihood, "text"),
    WORDS: (score_word_task, "words"),
    TRACE: (trace_words_and_draw, "words"),
    FIDELITY: (measure_answers, "prompts"),
    PATCHING: (measure_headroom, "words"),
}
"""Every part: what measures it, and the material that it cannot do without."""


def run_diagnosis(
    options: DiagnoseOptions,
    *,
    out: Path,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Measure every part that there is material for; a killed run continues, a finished one is read.

    Args:
        options: What to look at.
        out: Run directory: a directory below it for every part, words.jsonl, result.json and report.html.
        device: Where the model is put.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.
        say: Told each step in a line.

    Returns:
        The result; a part that could not be measured has its reason there.

    Raises:
        LingraftError: A bad option, nothing to measure, something given that cannot be read, or a directory that
            holds something else.
    """
    check_options(options)
    command = options.as_command()
    continued = find_run(out, command)
    if continued and (out / "result.json").exists():
        return read_result(out)
    material = find_material(options)
    _require_material(options, material.missing)
    if options.wants(WORDS, TRACE, PATCHING):
        check_words(material)
    reference: dict[str, Any] = {
        "device": device,
        "trust_remote_code": trust_remote_code,
        "accept_terms": accept_terms,
    }
    loaded = []
    if not continued:
        # A model that cannot be loaded must not leave a directory that the corrected command would find taken.
        loaded = [load_model(options.model, dtype=options.dtype, **reference)]
    tokenizer = load_tokenizer(options.model, trust_remote_code=trust_remote_code, accept_terms=accept_terms)
    open_run_directory(out, command)
    bench = Bench(material, tokenizer, out, reference, loaded)
    metrics, skipped = _measure(bench, say)
    result = _result(bench, metrics, skipped)
    write_page(
        out / "report.html",
        diagnosis_sections(out, result),
        title=f"A first look: {options.model} and {options.language}",
        summary=diagnosis_sentence(result),
        result=result,
    )
    write_result(out, result)
    return read_result(out)


def _require_material(options: DiagnoseOptions, missing: Mapping[str, str]) -> None:
    """Refuse a first look that has nothing to look at."""
    wanted = [part for part in PARTS if part not in options.skip]
    if all(_PARTS[part][1] in missing for part in wanted):
        reasons = dict.fromkeys(missing[_PARTS[part][1]] for part in wanted)
        raise ConfigError(
            f"nothing to measure {', '.join(wanted)} on: {'; '.join(reasons)}",
            "text, words or prompts in the language",
            "give --held-out, --words or --prompts",
        )


def findings_of(metrics: Mapping[str, Any], *, chat_template: bool | None = None) -> Findings:
    """Return what the recommendation rests on.

    Args:
        metrics: Of a diagnosis, by part; parts may be missing.
        chat_template: Whether the tokenizer brings one.

    Returns:
        The findings.
    """
    tokens, text = metrics.get(FERTILITY, {}), metrics.get(LIKELIHOOD, {})
    answers = metrics.get(FIDELITY, {})
    rate = answers.get("line_pass_rate")
    score = metrics.get(WORDS, {}).get("score")
    headroom = metrics.get(PATCHING, {}).get("headroom")
    return Findings(
        bytes_per_token=tokens.get("target", {}).get("bytes_per_token"),
        english_bytes_per_token=tokens.get("english", {}).get("bytes_per_token"),
        bits_per_byte=text.get("target", {}).get("bits_per_byte", {}).get("value"),
        english_bits_per_byte=text.get("english", {}).get("bits_per_byte", {}).get("value"),
        byte_premium=text.get("byte_premium", tokens.get("byte_premium", 1.0)),
        word_score=None if score is None else Estimate(**score),
        answered_in_language=None if rate is None else rate["value"],
        judged_answers=answers.get("judged", 0),
        chat_template=chat_template,
        headroom=None if headroom is None else Estimate(**headroom),
    )


def diagnosis_lines(result: RunResult, out: Path) -> list[str]:
    """Say what came out, for a person."""
    metrics = result.metrics
    lines = [diagnosis_sentence(result)]
    lines += [f"  {part}: not measured: {reason}" for part, reason in metrics["skipped"].items()]
    lines.append(f"recommended recipe: {metrics['recommendation']['recipe']}")
    lines += [f"  {reason}" for reason in metrics["recommendation"]["reasons"]]
    lines.append(f"start it: {metrics['recommendation']['command']}")
    if needs_corpus(result):
        lines.append(f"  {NEEDS_CORPUS}")
    return [*lines, f"report: {out / 'report.html'}"]


def _measure(bench: Bench, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what every part found, and why some found nothing."""
    options, missing = bench.options, dict(bench.material.missing)
    if options.wants(WORDS, TRACE, PATCHING):
        why = prepare_words(bench.material, bench.out)
        missing |= {"words": why} if why else {}
    metrics: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for part in PARTS:
        work, needed = _PARTS[part]
        if part in options.skip:
            skipped[part] = LEFT_OUT
        elif needed in missing:
            skipped[part] = missing[needed]
        else:
            say(f"diagnose: {part}")
            try:
                metrics[part] = work(bench)
            except LingraftError as error:
                if isinstance(error, OutputError | ModelError) and not isinstance(error, ArchitectureError):
                    raise
                # A first look goes on: an unknown architecture has a likelihood, if no layers to look at.
                skipped[part] = str(error)
        if part == LIKELIHOOD:
            # The verbs of the other parts load their own: two at once would take twice the memory.
            bench.loaded.clear()
    return metrics, skipped


def _result(bench: Bench, metrics: Mapping[str, Any], skipped: Mapping[str, str]) -> RunResult:
    options, material = bench.options, bench.material
    found = recommend(findings_of(metrics, chat_template=bool(bench.tokenizer.chat_template)))
    data = start_data(material)
    advice = {
        "recipe": found.recipe,
        "reasons": list(found.reasons),
        "changes": dict(found.changes),
        "command": found.command(model=options.model, language=options.language, data=data),
    }
    reports = {f"{part} report": f"{part}/report.html" for part in metrics}
    reports = {name: file for name, file in reports.items() if (bench.out / file).exists()}
    words = {"words": TASK_FILE} if (bench.out / TASK_FILE).exists() else {}
    return RunResult(
        kind="diagnose",
        metrics={
            "model": options.model,
            "language": options.language,
            "help_pages": material.asset,
            "recommendation": advice,
            "skipped": dict(skipped),
            **metrics,
        },
        counts={"parts": {"measured": len(metrics), "not measured": len(skipped)}},
        inputs=_inputs(bench, metrics),
        seeds={"seed": options.seed},
        files={**words, **reports, "report": "report.html"},
        provenance=collect_provenance(device=choose_device(str(bench.reference["device"]))),
    )


def start_data(material: Material) -> dict[str, str]:
    """Return what the recommended recipe should read beside its own defaults, which are the help pages.

    Args:
        material: What there was to measure on.

    Returns:
        Field of a recipe's `data` to what was given for it.
    """
    names = ("held_out", "english_held_out", "lexicon", "aligned", "words")
    given = {name: getattr(material.given, name) for name in names}
    return {
        name: str(value)
        for name, value in given.items()
        if value is not None and not _from_help_pages(str(value), material.asset)
    }


def _from_help_pages(reference: str, asset: str | None) -> bool:
    """Whether a reference is the asset, or a file in its directory."""
    return asset is not None and asset in {reference, Path(reference).parent.parent.name}


def _inputs(bench: Bench, metrics: Mapping[str, Any]) -> tuple[InputRevision, ...]:
    """Return what pins the run's inputs: the model by what a part found it to be, texts by what they say."""
    material = bench.material
    found: dict[str, InputRevision] = {}
    for part in metrics:
        directory = bench.out / part
        for item in read_result(directory).inputs if (directory / "result.json").exists() else ():
            if item.role == "model":
                found[item.role] = item
    for role, texts in (("held_out", material.texts), ("english_held_out", material.english)):
        reference = str(getattr(material.given, role))
        if texts is not None:
            if _from_help_pages(reference, material.asset):
                reference = f"asset:{material.asset}/{Path(reference).name}"
            found[role] = InputRevision(role=role, reference=reference, revision=text_revision(texts))
    return tuple(found.values())
