"""`compare_methods`: every method from the same overlap, data order and budget, beside the unchanged model."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.claims import shared_tasks
from lingraft.errors import TransferError
from lingraft.files import fingerprint, write_json
from lingraft.models.embeddings import EmbeddingMatrices, read_embeddings, write_embeddings
from lingraft.models.loading import LoadedModel
from lingraft.progress import track
from lingraft.vocabulary.comparison_summary import UNCHANGED
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
class _Probe:
    """One training of the comparison, and the file that holds it when it is finished."""

    contender: Contender | None
    method: str
    seed: int
    settings: ProbeSettings
    directory: Path

    @property
    def mode(self) -> str:
        return UNCHANGED if self.contender is None else self.contender.mode

    @property
    def file(self) -> Path:
        return self.directory / f"{self.mode}-{self.method.replace(':', '.')}-{self.seed}.json"

    @property
    def key(self) -> str:
        settings = asdict(self.settings)
        return fingerprint(
            {"settings": settings, "mode": self.mode, "method": self.method, "seed": self.seed}
        )

    def read(self) -> ProbeRun | None:
        """Return the finished run; None where there is none, or one of other settings."""
        if not self.file.exists():
            return None
        stored = json.loads(self.file.read_text(encoding="utf-8"))
        return ProbeRun.from_json(stored["run"]) if stored["fingerprint"] == self.key else None


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
    matrices = read_embeddings(model.model)
    probes = _plan(contenders, methods, seeds, settings, directory / "probes")
    for probe in probes:
        # Not one that another process is just done with.
        if probe.file.exists() and probe.read() is None:
            probe.file.unlink(missing_ok=True)
    missing = [probe for probe in probes if not probe.file.exists()]
    mine = shared_tasks(missing, lambda probe: probe.file)
    for probe in track(mine, description="probes", total=len(missing)) if progress else mine:
        contender, method, seed = probe.contender, probe.method, probe.seed
        if contender is None:
            run = _probe_unchanged(model, matrices, contenders, corpus, held_out, settings, seed)
        else:
            run = _probe_method(model, matrices, contender, method, corpus, held_out, settings, seed)
        write_json(probe.file, {"fingerprint": probe.key, "run": run.as_json()})
    return [run for run in (probe.read() for probe in probes) if run is not None]


def _plan(
    contenders: Sequence[Contender],
    methods: Sequence[str],
    seeds: int,
    settings: ProbeSettings,
    directory: Path,
) -> list[_Probe]:
    """Every probe, seed by seed, so that a comparison cut short holds whole seeds."""
    planned = []
    for seed in range(seeds):
        planned.append(_Probe(None, UNCHANGED, seed, settings, directory))
        for contender in contenders:
            # A method named twice would count as another seed and make intervals too narrow.
            names = dict.fromkeys(methods)
            planned += [_Probe(contender, method, seed, settings, directory) for method in names]
    return planned


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
