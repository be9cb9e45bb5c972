"""Run a comparison of vocabulary methods from references, and write its page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.files import find_run, open_run_directory, write_text
from lingraft.models.embeddings import read_embeddings
from lingraft.recipes.inputs import (
    VocabularyInputs,
    auxiliary_space,
    load_inputs,
    read_corpus,
    read_lexicon,
    take_bytes,
)
from lingraft.reports.page import write_page
from lingraft.reports.result import RunResult, collect_provenance, read_result, write_result
from lingraft.vocabulary.building import AuxiliaryOptions, build_problem
from lingraft.vocabulary.compare import Contender, compare_methods, require_enough_text
from lingraft.vocabulary.comparison_report import (
    comparison_metrics,
    comparison_sections,
    markdown_table,
    write_runs_table,
)
from lingraft.vocabulary.comparison_summary import UNCHANGED, summarise
from lingraft.vocabulary.fasttext import WordVectors
from lingraft.vocabulary.final_states import measure_final_states
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.probe import ProbeRun, ProbeSettings
from lingraft.vocabulary.special_ids import adapted_to

LOADING = (
    "model",
    "donor",
    "corpus",
    "dtype",
    "trust_remote_code",
    "accept_terms",
    "new_tokens",
    "vocabulary_size",
)


def run_comparison(
    options: Mapping[str, Any], *, out: Path, device: str, settings: ProbeSettings, progress: bool = True
) -> tuple[RunResult, list[str]]:
    """Compare, and leave result.json, runs.parquet, table.md and report.html in `out`.

    Args:
        options: The verb's options: references, `methods`, `modes`, `seeds`, `held_out`, `english`, `held_out_bytes`,
            `auxiliary`, `lexicon`, `source_words`.
        out: Run directory; finished probes in it are kept, so a killed run continues, and more methods and seeds add
            to it.
        device: Where probes train.
        settings: The training of every probe.
        progress: Show bars.

    Returns:
        The result, and the tables as Markdown lines.

    Raises:
        LingraftError: A bad option or input.
    """
    methods, modes = (list(dict.fromkeys(options[name])) for name in ("methods", "modes"))
    _check_names(methods, modes)
    _check_settings(settings)
    settled = {name: value for name, value in options.items() if name not in {"methods", "seeds"}}
    command = with_contents({**settled, "settings": asdict(settings)})
    if find_run(out, command) and (out / "result.json").exists():
        finished = read_result(out)
        if _holds(finished, methods, modes, int(options["seeds"])):
            return finished, (out / "table.md").read_text(encoding="utf-8").splitlines()
    held_out = _held_out(options)
    inputs = {mode: _load(options, mode, device) for mode in modes}
    first = inputs[modes[0]]
    contenders = [_contender(inputs[mode], mode, options) for mode in modes]
    require_enough_text(first.model, contenders, first.corpus or [], settings)
    # Only now: bad input must not leave a directory that the corrected command would find taken.
    open_run_directory(out, command)
    runs = compare_methods(
        first.model,
        contenders,
        methods=methods,
        corpus=first.corpus or [],
        held_out=held_out,
        settings=settings,
        seeds=int(options["seeds"]),
        directory=out,
        progress=progress,
    )
    counts = {
        f"tokens, {contender.mode}": {
            "copied": len(contender.problem.match),
            "new": len(contender.problem.new_ids),
        }
        for contender in contenders
    }
    result = RunResult(
        kind="vocab compare",
        metrics=comparison_metrics(summarise(runs, settings)),
        counts=counts,
        inputs=tuple(first.revisions),
        seeds={"seeds": int(options["seeds"])},
        files={"runs": "runs.parquet", "report": "report.html", "table": "table.md"},
        provenance=collect_provenance(device=device),
    )
    return result, _write(out, result, runs, settings)


def _holds(result: RunResult, methods: Sequence[str], modes: Sequence[str], seeds: int) -> bool:
    """Say whether a finished run's tables have just these lines, over as many seeds."""
    wanted = {f"{mode}/{method}" for mode in modes for method in (*methods, UNCHANGED)}
    return result.metrics.keys() == wanted and result.seeds == {"seeds": seeds}


def _write(out: Path, result: RunResult, runs: Sequence[ProbeRun], settings: ProbeSettings) -> list[str]:
    """Write the run's files, result.json last, since it says that the run is finished; return the tables."""
    lines = summarise(runs, settings)
    tables = _markdown(lines, settings)
    write_runs_table(out / "runs.parquet", runs)
    write_text(out / "table.md", "\n".join(tables) + "\n")
    write_page(
        out / "report.html",
        comparison_sections(lines, runs, settings),
        title="Vocabulary methods compared",
        summary=_summary(lines, settings),
        result=result,
    )
    write_result(out, result)
    return tables


def _check_names(methods: Sequence[str], modes: Sequence[str]) -> None:
    if not methods:
        raise ConfigError("no --methods", "at least one", "name them with a comma between")
    for method in methods:
        find_initializer(method)
    if not set(modes) <= {"replace", "extend"} or not modes:
        raise ConfigError(
            f"--modes {','.join(modes)}", "replace, extend, or both", "name them with a comma between"
        )


def _check_settings(settings: ProbeSettings) -> None:
    """A rate below zero climbs the loss, a share above one averages steps that never were; nothing below objects."""
    rates = {
        "--learning-rate": settings.learning_rate,
        "--embedding-learning-rate": settings.embedding_learning_rate,
    }
    for option, rate in rates.items():
        if rate is not None and not 0 < rate < math.inf:
            raise ConfigError(f"{option} {rate:g}", "a positive number", "for instance 3e-4")
    share = settings.averaged_share
    if not 0 <= share <= 1:
        raise ConfigError(f"--averaged-share {share:g}", "a share from 0 to 1", "for instance 0.2")


def _held_out(options: Mapping[str, Any]) -> dict[str, list[str]]:
    most = int(options["held_out_bytes"])
    held_out = {"target": take_bytes(read_corpus(Path(options["held_out"])), most)}
    if options["english"] is not None:
        held_out["english"] = take_bytes(read_corpus(Path(options["english"])), most // 2)
    return held_out


def _load(options: Mapping[str, Any], mode: str, device: str) -> VocabularyInputs:
    loading = {name: options[name] for name in LOADING}
    loading["corpus"] = Path(loading["corpus"])
    tokenizer = options["tokenizer"] if mode == "replace" else None
    return load_inputs(**loading, tokenizer=tokenizer, mode=mode, device=device)


def _contender(inputs: VocabularyInputs, mode: Any, options: Mapping[str, Any]) -> Contender:
    tokenizer = inputs.tokenizer if mode == "extend" else adapted_to(inputs.tokenizer, inputs.model)
    auxiliary = auxiliary_space(options["auxiliary"])
    words = options["source_words"]
    problem = build_problem(
        read_embeddings(inputs.model.model).input.float().cpu(),
        inputs.model.tokenizer,
        tokenizer,
        mode=mode,
        donor=inputs.donor,
        corpus=inputs.corpus,
        final_states=measure_final_states(inputs.model.model, inputs.model.tokenizer, inputs.corpus or []),
        auxiliary=AuxiliaryOptions(
            kind="words" if isinstance(auxiliary, WordVectors) else auxiliary,
            words=auxiliary if isinstance(auxiliary, WordVectors) else None,
            source_words=None if words is None else auxiliary_space(f"words:{words}"),
        ),
        lexicon=read_lexicon(None if options["lexicon"] is None else Path(options["lexicon"])),
    )
    return Contender(mode, tokenizer, problem)


def _markdown(lines: Sequence[Any], settings: ProbeSettings) -> list[str]:
    out: list[str] = []
    for mode in dict.fromkeys(line.mode for line in lines):
        members = [line for line in lines if line.mode == mode]
        for text in members[0].scores:
            out += [
                f"**{mode}, {text} text, bits per byte**",
                "",
                *markdown_table(members, text, settings),
                "",
            ]
    return out


def _summary(lines: Sequence[Any], settings: ProbeSettings) -> str:
    """The best line of each mode beside the unchanged model."""
    last, parts = settings.steps[-1], []
    for mode in dict.fromkeys(line.mode for line in lines):
        members = [line for line in lines if line.mode == mode]
        best = min(members, key=lambda line: line.scores["target"][last].value)
        unchanged = next(line for line in members if line.method == "unchanged")
        parts.append(
            f"{mode}: {best.method} {best.scores['target'][last].value:.3f} bits per byte after {last} steps"
            f" (unchanged tokenizer at equal compute {unchanged.scores['target'][last].value:.3f})"
        )
    return "; ".join(parts) + "."
