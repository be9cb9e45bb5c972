"""Measure response-language fidelity: answers that a killed run keeps, rates, the report."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.contents import with_contents
from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.corpora.named_datasets import rows_revision
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.rejects import Rejects
from lingraft.errors import ConfigError
from lingraft.evaluation.answers import check_prompts
from lingraft.evaluation.fidelity import (
    ENGLISH_REQUEST,
    Fidelity,
    ask_for_english,
    score_fidelity,
)
from lingraft.files import CONTENT_OF, find_run, open_run_directory, sha256_of, write_text
from lingraft.models.loading import LoadedModel, load_model
from lingraft.recipes.evaluating.fidelity_inputs import Prompts, find_identifier, read_prompts, read_words
from lingraft.recipes.evaluating.fidelity_report import Measured, write_fidelity_report
from lingraft.recipes.evaluating.kept_answers import PART_FILE, answer_and_keep
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result
from lingraft.tokenizers.chat import PromptFormat, prompt_format, read_template

ANSWERS_FILE, REJECTS_FILE = "answers.jsonl", "rejects.jsonl"
PLAIN, ASKED = "as given", "English asked for"
"""The two kinds of answers."""


@dataclass(frozen=True, slots=True)
class FidelityOptions:
    """Everything that changes what is measured.

    Attributes:
        model: Reference of the model.
        prompts: JSON lines with the prompts.
        language: ISO 639-1 code of what the answers should be in.
        field: Where the prompt is; None to find it.
        template: `chat`, `plain` or the path of a Jinja template.
        max_new_tokens: Most tokens of an answer.
        batch_size: Prompts at once.
        limit: Only the first so many prompts.
        answer_in_english: Ask every prompt a second time with a request for English.
        english_request: That request.
        accept: More codes that count as the language, of languages that a line may be in.
        among: Languages that a line may be in besides; all of lingua's if empty.
        allow: File of words that are never foreign.
        english_words: File of English words, for the paper's word rule.
        dtype: Type to compute in; None keeps the checkpoint's.
    """

    model: str
    prompts: Path
    language: str
    field: str | None = None
    template: str = "chat"
    max_new_tokens: int = 128
    batch_size: int = 8
    limit: int | None = None
    answer_in_english: bool = False
    english_request: str = ENGLISH_REQUEST
    accept: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    allow: Path | None = None
    english_words: Path | None = None
    dtype: str | None = None


def run_fidelity(
    options: FidelityOptions,
    *,
    out: Path,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> RunResult:
    """Answer prompts and judge the answers; a killed run continues, a finished one is read.

    Args:
        options: What to measure.
        out: Run directory, for answers.jsonl, result.json, a picture and report.html.
        device: Where the model is put.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.

    Returns:
        The result.

    Raises:
        LingraftError: A bad option or input, or a directory that holds something else.
    """
    language = options.language.lower()
    # Text first: a wrong path should not wait for a model to load.
    prompts = read_prompts(options.prompts, language=language, field=options.field, limit=options.limit)
    _check(options, language)
    command = _command(options)
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    among = {*options.among, *(["en"] if options.among and options.answer_in_english else [])}
    identifier = find_identifier(language, among)
    _check_accepted(options.accept, identifier)
    template = read_template(options.template)
    started = time.monotonic()
    loaded = load_model(
        options.model,
        dtype=options.dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        accept_terms=accept_terms,
    )
    wrapped = prompt_format(loaded.tokenizer, template)
    asked = ask_for_english(prompts.texts, options.english_request) if options.answer_in_english else []
    check_prompts(loaded.model, wrapped, [*prompts.texts, *asked], options.max_new_tokens)
    open_run_directory(out, command)
    _keep_rejects(prompts, options.prompts, out)
    answers = _answer(options, loaded, wrapped, {PLAIN: prompts.texts, ASKED: asked}, out)
    measured = _measure(options, language, prompts, answers, identifier)
    seconds = round(time.monotonic() - started, 3)
    return _write(options, loaded, prompts, asked, measured, seconds, out)


def _answer(
    options: FidelityOptions,
    loaded: LoadedModel,
    wrapped: PromptFormat,
    prompts: dict[str, list[str]],
    out: Path,
) -> dict[str, list[str]]:
    return {
        kind: answer_and_keep(
            loaded,
            wrapped,
            texts,
            file=out / PART_FILE,
            kind=kind,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
        )
        for kind, texts in prompts.items()
        if texts
    }


def _check(options: FidelityOptions, language: str) -> None:
    if options.answer_in_english and language == "en":
        raise ConfigError(
            "--answer-in-english with --language en", "another language", "leave one of the two out"
        )
    if options.max_new_tokens < 1 or options.batch_size < 1:
        raise ConfigError(
            f"--max-new-tokens {options.max_new_tokens} --batch-size {options.batch_size}",
            "at least 1 of each",
            "give larger numbers",
        )
    read_words(options.allow, "--allow")
    read_words(options.english_words, "--english-words")


def _check_accepted(accept: tuple[str, ...], identifier: LanguageIdentifier) -> None:
    """Refuse a code that no line could ever be found to be in."""
    # An identifier of another kind need not say what it knows.
    known = getattr(identifier, "languages", None)
    for code in accept:
        if known is not None and code.lower() not in known:
            raise ConfigError(
                f"--accept {code}",
                f"one of {', '.join(sorted(known))}",
                "give the ISO 639-1 code of a language that a line may be in (see --among)",
            )


def _command(options: FidelityOptions) -> dict[str, Any]:
    """What a run is known again by."""
    given = {**asdict(options), "prompts": str(options.prompts)}
    given[f"{CONTENT_OF}prompts"] = rows_revision(options.prompts)
    for name in ("allow", "english_words", "template"):
        value = getattr(options, name)
        if value is not None and Path(value).is_file():
            given |= {name: str(value), f"{CONTENT_OF}{name}": sha256_of(Path(value))}
    return with_contents({"verb": "eval fidelity", **given})


def _measure(
    options: FidelityOptions,
    language: str,
    prompts: Prompts,
    answers: dict[str, list[str]],
    identifier: LanguageIdentifier,
) -> Measured:
    english = read_words(options.english_words, "--english-words")

    def score(kind: str, code: str) -> Fidelity:
        return score_fidelity(
            answers[kind],
            code,
            identifier,
            prompts=prompts.texts,
            allowed=read_words(options.allow, "--allow") or (),
            accepted=[one.lower() for one in options.accept] if code == language else (),
            english_words=None if english is None else frozenset(english),
        )

    return Measured(
        answers=answers[PLAIN],
        fidelity=score(PLAIN, language),
        asked_answers=answers.get(ASKED),
        asked=score(ASKED, "en") if ASKED in answers else None,
        unasked=score(PLAIN, "en") if ASKED in answers else None,
    )


def _identified(options: FidelityOptions) -> str:
    known = {options.language.lower(), *(code.lower() for code in options.among)}
    return f"lingua among {', '.join(sorted(known)) if options.among else 'all its languages'}"


def _keep_rejects(prompts: Prompts, path: Path, out: Path) -> None:
    with Rejects(out / REJECTS_FILE, MAXIMUM_BAD_LINES) as rejects:
        for record in prompts.bad:
            rejects.add(str(path), record)


def _write(
    options: FidelityOptions,
    loaded: LoadedModel,
    prompts: Prompts,
    asked: list[str],
    measured: Measured,
    seconds: float,
    out: Path,
) -> RunResult:
    rows = _rows(PLAIN, prompts.ids, prompts.texts, measured.answers, measured.fidelity)
    if measured.asked is not None and measured.asked_answers is not None:
        rows += _rows(ASKED, prompts.ids, asked, measured.asked_answers, measured.asked)
    write_text(out / ANSWERS_FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    files = {"answers": ANSWERS_FILE, "picture": "fidelity.png", "report": "report.html"}
    if prompts.bad:
        files["rejects"] = REJECTS_FILE
    result = RunResult(
        kind="eval fidelity",
        metrics={
            **measured.metrics(options.english_request),
            "field": prompts.field,
            "template": options.template,
            "max_new_tokens": options.max_new_tokens,
            "identifier": _identified(options),
            "seconds": seconds,
        },
        counts=measured.counts() | {"prompts": {"answered": len(prompts.texts), **prompts.left_out}},
        inputs=(
            InputRevision(role="model", reference=loaded.reference, revision=loaded.revision),
            InputRevision(
                role="prompts", reference=str(options.prompts), revision=rows_revision(options.prompts)
            ),
        ),
        files=files,
        provenance=collect_provenance(device=next(loaded.model.parameters()).device),
    )
    write_fidelity_report(out, prompts, measured, result)
    write_result(out, result)
    (out / PART_FILE).unlink(missing_ok=True)
    return result


def _rows(
    kind: str, ids: list[str], prompts: list[str], answers: list[str], scored: Fidelity
) -> list[dict[str, Any]]:
    return [
        {
            "id": ids[number],
            "kind": kind,
            "prompt": prompts[number],
            "answer": answers[number],
            "language": scored.language,
            "lines": list(verdict.languages),
            "line_pass": _flag(scored.line_pass[number]),
            "word_pass": _flag(scored.word_pass[number]),
            "foreign": list(verdict.foreign),
            "skipped": verdict.skipped,
            "echo": verdict.echo,
        }
        for number, verdict in enumerate(scored.verdicts)
    ]


def _flag(value: np.float64) -> bool | None:
    return None if np.isnan(value) else bool(value)
