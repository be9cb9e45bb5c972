"""`compare_methods`: every method from the same overlap, data order and budget, beside the unchanged model."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.claims import shared_tasks
from lingraft.errors import TransferError
from lingraft.files import fingerprint, write_json
from lingraft.models.embeddings import EmbeddingMatrices, read_embeddings, write_embeddings
from lingraft.models.loading import LoadedModel
from lingraft.progress import track
from lingraft.reports.intervals import Estimate, ratio_interval, seeds_interval
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.probe import (
    ProbeRun,
    ProbeSettings,
    enough_blocks,
    equal_compute_steps,
    run_probe,
)
from lingraft.vocabulary.problem import Rule, TransferProblem
from lingraft.vocabulary.special_ids import carry_special_ids
from lingraft.vocabulary.transfer import make_matrices, problem_for

UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to give the model a vocabulary: a mode, its tokenizer, and the problem it poses.

    Attributes:
        mode: `replace` or `extend`.
        tokenizer: The adapted target tokenizer.
        problem: What the initialisers are given.
    """

    mode: Any
    tokenizer: PreTrainedTokenizerBase
    problem: TransferProblem


@dataclass(frozen=True, slots=True)
class ComparedMethod:
    """One line of the table.

    Attributes:
        method: The initialiser, or `unchanged`.
        mode: `replace`, `extend`, or `unchanged`.
        scores: Text name to step to bits per byte over seeds. For `unchanged` the step names the adapted runs'
            step that its compute equals.
        versus_unchanged: Text name to step to the difference to the unchanged model at equal compute, with a
            bootstrap interval over documents (negative: better).
        runs: Seeds behind the line.
    """

    method: str
    mode: str
    scores: Mapping[str, Mapping[int, Estimate]]
    versus_unchanged: Mapping[str, Mapping[int, Estimate]]
    runs: int


def compare_methods(
    model: LoadedModel,
    contenders: Sequence[Contender],
    *,
    methods: Sequence[str],
    corpus: Sequence[str],
    held_out: Mapping[str, Sequence[str]],
    settings: ProbeSettings,
    seeds: int,
    directory: Path,
    progress: bool = True,
) -> list[ProbeRun]:
    """Probe every method in every mode for every seed, and the unchanged model at equal compute.

    Each finished probe is a file in `directory/probes`, so a killed comparison continues with the next one, and several
    processes share what is to be done.

    Args:
        model: The source model; not changed.
        contenders: One a mode.
        methods: Names of initialisers.
        corpus: Training documents.
        held_out: Text name to documents that no training document resembles.
        settings: The training all get.
        seeds: Number of seeds; seed s shuffles the documents and seeds the draws.
        directory: Where the probes' files go.
        progress: Show a bar.

    Returns:
        All runs, those of earlier starts included.

    Raises:
        CorpusError: The corpus is too small for the longest probe.
        TransferError: No seed, no method, or no contender.
    """
    if not contenders or not methods or seeds < 1:
        needed = "at least one method, one mode and one seed"
        raise TransferError("nothing to compare", needed, "give --methods, --modes and --seeds")
    # A method named twice would count as another seed and make intervals too narrow.
    methods = list(dict.fromkeys(methods))
    matrices = read_embeddings(model.model)
    plan: list[tuple[Contender | None, str, int]] = [
        (contender, method, seed)
        for seed in range(seeds)
        for contender in [None, *contenders]
        for method in ([UNCHANGED] if contender is None else methods)
    ]
    probes = {(_mode(contender), method, seed): contender for contender, method, seed in plan}

    def file_of(probe: tuple[str, str, int]) -> Path:
        mode, method, seed = probe
        return directory / "probes" / f"{mode}-{method.replace(':', '.')}-{seed}.json"

    keys = {probe: _key(settings, *probe) for probe in probes}
    for probe in probes:
        # Not one that another process is just done with.
        if file_of(probe).exists() and _read_run(file_of(probe), keys[probe]) is None:
            file_of(probe).unlink(missing_ok=True)
    missing = [probe for probe in probes if not file_of(probe).exists()]
    mine = shared_tasks(missing, file_of)
    for probe in track(mine, description="probes", total=len(missing)) if progress else mine:
        contender, (_, method, seed) = probes[probe], probe
        if contender is None:
            run = _probe_unchanged(model, matrices, contenders, corpus, held_out, settings, seed)
        else:
            run = _probe_method(model, matrices, contender, method, corpus, held_out, settings, seed)
        write_json(file_of(probe), {"fingerprint": keys[probe], "run": run.as_json()})
    runs = [_read_run(file_of(probe), keys[probe]) for probe in probes]
    return [run for run in runs if run is not None]


def _mode(contender: Contender | None) -> str:
    return UNCHANGED if contender is None else contender.mode


def _key(settings: ProbeSettings, mode: str, method: str, seed: int) -> str:
    return fingerprint({"settings": asdict(settings), "mode": mode, "method": method, "seed": seed})


def require_enough_text(
    model: LoadedModel, contenders: Sequence[Contender], corpus: Sequence[str], settings: ProbeSettings
) -> None:
    """Refuse, before anything is trained or written, a corpus that some probe would use up.

    Args:
        model: The source model; not changed.
        contenders: One a mode.
        corpus: Training documents.
        settings: The training all get.

    Raises:
        CorpusError: The corpus is too small for the longest probe.
    """
    places = _places(model, read_embeddings(model.model), contenders, settings)
    for contender in contenders:
        enough_blocks(corpus, contender.tokenizer, settings, settings.steps[-1], 0)
    most = max(step for by_step in places.values() for step in by_step.values())
    enough_blocks(corpus, model.tokenizer, settings, most, 0)


def summarise(runs: Sequence[ProbeRun], settings: ProbeSettings) -> list[ComparedMethod]:
    """Mean bits per byte over seeds, and the difference to the unchanged model at equal compute.

    Args:
        runs: What `compare_methods` returned.
        settings: Its settings.

    Returns:
        One line a method and mode: for each mode the unchanged model at that mode's compute, then the methods
        by their score at the last step.
    """
    steps = (0, *settings.steps)
    lines = []
    unchanged = [run for run in runs if run.method == UNCHANGED]
    for mode in dict.fromkeys(run.mode for run in runs if run.method != UNCHANGED):
        place = {step: _unchanged_step(unchanged, mode, step) for step in steps}
        lines.append(_line(UNCHANGED, mode, unchanged, unchanged, steps, place, place))
        own = {step: step for step in steps}
        members = [run for run in runs if run.mode == mode]
        methods = [
            _line(
                method, mode, [run for run in members if run.method == method], unchanged, steps, own, place
            )
            for method in dict.fromkeys(run.method for run in members)
        ]
        lines += sorted(methods, key=lambda line: _final_score(line, steps[-1]))
    return lines


def _final_score(line: ComparedMethod, step: int) -> float:
    first_text = next(iter(line.scores.values()))
    return first_text[step].value


def _line(
    method: str,
    mode: str,
    runs: Sequence[ProbeRun],
    unchanged: Sequence[ProbeRun],
    steps: Sequence[int],
    own: Mapping[int, int],
    place: Mapping[int, int],
) -> ComparedMethod:
    texts = list(runs[0].scores[own[0]])
    scores = {
        text: {step: seeds_interval([run.scores[own[step]][text] for run in runs]) for step in steps}
        for text in texts
    }
    versus = {
        text: {step: _difference(runs, unchanged, text, own[step], place[step]) for step in steps}
        for text in texts
    }
    return ComparedMethod(method, mode, scores, versus, len(runs))


def _difference(
    runs: Sequence[ProbeRun], unchanged: Sequence[ProbeRun], text: str, step: int, unchanged_step: int
) -> Estimate:
    """Bits per byte against the unchanged model: seeds averaged, documents resampled in pairs."""
    ours = np.mean([np.array(run.bits[step][text])[:, 0] for run in runs], axis=0)
    theirs = np.mean([np.array(run.bits[unchanged_step][text])[:, 0] for run in unchanged], axis=0)
    sizes = np.array(runs[0].bits[step][text])[:, 1]
    return ratio_interval(ours - theirs, sizes)


def _unchanged_step(unchanged: Sequence[ProbeRun], mode: str, step: int) -> int:
    """The unchanged model's step of equal compute, as its run noted it."""
    return 0 if step == 0 else int(unchanged[0].notes["equal_compute_steps"][mode][str(step)])


def _read_run(file: Path, key: str) -> ProbeRun | None:
    if not file.exists():
        return None
    stored = json.loads(file.read_text(encoding="utf-8"))
    return ProbeRun.from_json(stored["run"]) if stored["fingerprint"] == key else None


def _probe_method(
    model: LoadedModel,
    matrices: EmbeddingMatrices,
    contender: Contender,
    method: str,
    corpus: Sequence[str],
    held_out: Mapping[str, Sequence[str]],
    settings: ProbeSettings,
    seed: int,
) -> ProbeRun:
    """Initialise by the method and train."""
    problem = problem_for(method, replace(contender.problem, seed=seed), contender.mode)
    rule = find_initializer(method)(problem)
    adapted = _adapted(model.model, matrices, contender, problem, rule)
    blocks = enough_blocks(corpus, contender.tokenizer, settings, settings.steps[-1], seed)
    measured = run_probe(
        adapted, contender.tokenizer, blocks, held_out, settings, steps=settings.steps, seed=seed
    )
    return ProbeRun(method=method, mode=contender.mode, seed=seed, notes=dict(rule.notes), **measured)


def _probe_unchanged(
    model: LoadedModel,
    matrices: EmbeddingMatrices,
    contenders: Sequence[Contender],
    corpus: Sequence[str],
    held_out: Mapping[str, Sequence[str]],
    settings: ProbeSettings,
    seed: int,
) -> ProbeRun:
    """Train the model as it is, and score it wherever its compute equals an adapted model's."""
    places = _places(model, matrices, contenders, settings)
    wanted = sorted({step for by_step in places.values() for step in by_step.values()})
    blocks = enough_blocks(corpus, model.tokenizer, settings, wanted[-1], seed)
    measured = run_probe(model.model, model.tokenizer, blocks, held_out, settings, steps=wanted, seed=seed)
    notes = {"equal_compute_steps": places}
    return ProbeRun(method=UNCHANGED, mode=UNCHANGED, seed=seed, notes=notes, **measured)


def _places(
    model: LoadedModel,
    matrices: EmbeddingMatrices,
    contenders: Sequence[Contender],
    settings: ProbeSettings,
) -> dict[str, dict[str, int]]:
    """Mode to an adapted model's step to the unchanged model's step of equal compute."""
    places: dict[str, dict[str, int]] = {}
    for contender in contenders:
        blank = find_initializer("mean")(contender.problem)
        adapted = _adapted(model.model, matrices, contender, contender.problem, blank)
        steps = equal_compute_steps(model.model, adapted, settings.steps)
        places[contender.mode] = {
            str(ours): theirs for ours, theirs in zip(settings.steps, steps, strict=True)
        }
    return places


def _adapted(
    model: PreTrainedModel,
    matrices: EmbeddingMatrices,
    contender: Contender,
    problem: TransferProblem,
    rule: Rule,
) -> PreTrainedModel:
    """A copy of the model with the rule's rows."""
    adapted = copy.deepcopy(model)
    write_embeddings(adapted, make_matrices(matrices, problem, rule, contender.mode))
    carry_special_ids(adapted, contender.tokenizer, problem)
    return adapted
