"""The parts of a first look: each measures one thing in a directory of its own, and continues when it was killed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lingraft.corpora.language_id import COMMON_LANGUAGES
from lingraft.errors import ConfigError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.files import find_run, open_run_directory, write_json
from lingraft.models.loading import LoadedModel, load_model
from lingraft.patching.instances import write_instances
from lingraft.patching.map_files import read_maps
from lingraft.patching.maps import LayerMaps
from lingraft.patching.records import DONORS_FILE, MAP_FILE, VANILLA_FILE
from lingraft.patching.tasks import build_pairs
from lingraft.pivots.languages import find_language
from lingraft.pivots.partials import in_parts, join_traces
from lingraft.pivots.task_file import read_word_task
from lingraft.pivots.trace_filters import split_shared
from lingraft.pivots.trace_grid import choose_words, word_grid
from lingraft.pivots.trace_grid_report import grid_block
from lingraft.recipes.diagnosing.inputs import LEXICON_DIRECTORY, TASK_FILE, Material, write_prompts
from lingraft.recipes.diagnosing.options import FERTILITY, LIKELIHOOD, DiagnoseOptions
from lingraft.recipes.diagnosing.recommendation import byte_premium
from lingraft.recipes.evaluating.measuring_fidelity import FidelityOptions, run_fidelity
from lingraft.recipes.inputs import take_bytes, text_revision
from lingraft.recipes.patching.sweep_options import SHUFFLED, SweepOptions
from lingraft.recipes.patching.sweep_result import answer_texts
from lingraft.recipes.patching.sweeping import run_sweep
from lingraft.recipes.pivots.word_scoring import run_scoring
from lingraft.recipes.pivots.word_tracing import PART_WORDS, TraceOptions, run_tracing
from lingraft.reports.intervals import mean_interval, ratio_interval
from lingraft.reports.result import RunResult, collect_provenance, read_result, write_result
from lingraft.reports.tokengrid import TokenGrid
from lingraft.tokenizers.fertility import FertilityReport, measure_fertility

SCORE_DIRECTORY, TRACE_DIRECTORY, FIDELITY_DIRECTORY = "words", "trace", "fidelity"
SWEEP_DIRECTORY, CONTROL_DIRECTORY = "patching", "patching-shuffled"
PAIRS_FILE, TEXTS_FILE, GRIDS_FILE = "patching-pairs.jsonl", "patching-texts.json", "trace-grids.json"
SITE = "ffn"
"""Where transplants are tried: the paper's site for tasks that are answered freely."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part works with.

    Attributes:
        material: What there is to measure on.
        tokenizer: The model's.
        out: Run directory of the whole.
        reference: What `load_model` takes beside the model and its type: device, trust_remote_code, accept_terms.
        loaded: The model, if it is loaded already; the first part that needs it takes it out.
    """

    material: Material
    tokenizer: PreTrainedTokenizerBase
    out: Path
    reference: Mapping[str, Any]
    loaded: list[LoadedModel] = field(default_factory=list)

    @property
    def options(self) -> DiagnoseOptions:
        """The options, help pages filled in."""
        return self.material.given

    def take_model(self) -> LoadedModel:
        """Return the model, and keep no hold of it."""
        if self.loaded:
            return self.loaded.pop()
        return load_model(self.options.model, dtype=self.options.dtype, **self.reference)


def measure_tokens(bench: Bench) -> dict[str, Any]:
    """Count what the tokenizer makes of the texts.

    Args:
        bench: What to work with; it has text of the language.

    Returns:
        `target` and, where there is English text, `english`: tokens a word, bytes a token and the like; the language's
        bytes for a byte of English.
    """
    texts, english = bench.material.texts or [], bench.material.english

    def work() -> dict[str, Any]:
        found: dict[str, Any] = {
            "target": _fertility(measure_fertility(bench.tokenizer, texts)),
            "byte_premium": byte_premium("\n".join(texts)),
        }
        if english is not None:
            found["english"] = _fertility(measure_fertility(bench.tokenizer, english))
        return found

    return _kept(bench, FERTILITY, work)


def measure_likelihood(bench: Bench) -> dict[str, Any]:
    """Score the texts.

    Args:
        bench: What to work with; it has text of the language.

    Returns:
        `target` and, where there is English text, `english`: bits per byte with an interval over documents.
    """
    options = bench.options

    def work() -> dict[str, Any]:
        loaded = bench.take_model()
        found: dict[str, Any] = {"byte_premium": byte_premium("\n".join(bench.material.texts or []))}
        for name, texts in {"target": bench.material.texts, "english": bench.material.english}.items():
            if texts is not None:
                scored = take_bytes(texts, options.text_bytes, options.seed)
                likelihood = bits_per_byte(loaded.model, loaded.tokenizer, scored, progress=True)
                estimate = ratio_interval(
                    likelihood.document_bits, likelihood.document_bytes, seed=options.seed
                )
                found[name] = {**likelihood.summary(), "bits_per_byte": estimate.as_json()}
        return found

    return _kept(bench, LIKELIHOOD, work)


def score_word_task(bench: Bench) -> dict[str, Any]:
    """Score how the model translates the words; see `run_scoring`."""
    options = bench.options
    task = read_word_task(bench.out / TASK_FILE)
    found = run_scoring(
        options.model,
        bench.out / TASK_FILE,
        out=bench.out / SCORE_DIRECTORY,
        draws=min(options.draws, len(task.draws)),
        limit=options.word_count,
        seed=options.seed,
        dtype=options.dtype,
        **bench.reference,
    )
    return found.metrics


def trace_words_and_draw(bench: Bench) -> dict[str, Any]:
    """Trace the words, and keep some layer by token, as the page's blocks; see `run_tracing`."""
    options, words = bench.options, bench.out / TASK_FILE
    trace = TraceOptions(
        model=options.model,
        limit=options.word_count,
        grids=options.grids,
        seed=options.seed,
        dtype=options.dtype,
    )
    found = run_tracing(trace, words, out=bench.out / TRACE_DIRECTORY, **bench.reference)
    path = bench.out / GRIDS_FILE
    if not path.exists():
        task = read_word_task(words)
        kept, skipped = split_shared(bench.tokenizer, task.items[: options.word_count])
        parts = in_parts(bench.out / TRACE_DIRECTORY, len(kept), PART_WORDS, no_part)
        chosen = choose_words(join_traces(kept, skipped, parts), options.grids)
        loaded = bench.take_model()
        grids = [word_grid(loaded.model, loaded.tokenizer, task, item) for item in chosen]
        write_grids(path, [grid_block(grid) for grid in grids])
    return found.metrics


def write_grids(path: Path, grids: Sequence[TokenGrid]) -> None:
    """Keep words drawn layer by token, for pages that are made later; `read_grids` reads them."""
    write_json(path, [{**asdict(grid), "marked": list(grid.marked)} for grid in grids])


def measure_answers(bench: Bench) -> dict[str, Any]:
    """Ask the prompts and judge the answers' language; see `run_fidelity`."""
    options = bench.options
    language = options.language.lower()
    template = "chat" if bench.tokenizer.chat_template else "plain"
    fidelity = FidelityOptions(
        model=options.model,
        prompts=write_prompts(bench.material, bench.out),
        language=language,
        template=template,
        max_new_tokens=options.answer_tokens,
        limit=options.answers,
        among=tuple(sorted(COMMON_LANGUAGES | {language})),
        dtype=options.dtype,
    )
    found = run_fidelity(fidelity, out=bench.out / FIDELITY_DIRECTORY, **bench.reference)
    return {name: value for name, value in found.metrics.items() if name != "seconds"}


def measure_headroom(bench: Bench) -> dict[str, Any]:
    """Transplant from English prompts, and from shuffled ones, into prompts in the language; see `run_sweep`."""
    options = bench.options
    source = read_word_task(bench.out / TASK_FILE).source_language.name
    if source != "English":
        raise ConfigError(f"words from {source}", "words from English, the donor's language", "give others")
    instances = build_pairs(
        "words",
        bench.out / LEXICON_DIRECTORY,
        receivers=[options.language.lower()],
        limit=options.instances,
        seed=options.seed,
    )
    pairs = bench.out / PAIRS_FILE
    write_instances(pairs, instances)
    reference = dict(bench.reference)
    device = str(reference.pop("device"))
    accuracy: dict[str, Any] = {}
    for directory, control in ((SWEEP_DIRECTORY, "none"), (CONTROL_DIRECTORY, SHUFFLED)):
        sweep = SweepOptions(
            model=options.model,
            pairs=str(pairs),
            sites=(SITE,),
            control=control,
            seed=options.seed,
            dtype=options.dtype,
            **reference,
        )
        found = run_sweep(sweep, out=bench.out / directory, device=device)
        if control == "none" and found is not None:
            accuracy = found.metrics["accuracy"][SITE]["donor 0"]
    tables = [bench.out / SWEEP_DIRECTORY / name for name in (MAP_FILE, VANILLA_FILE, DONORS_FILE)]
    write_json(bench.out / TEXTS_FILE, answer_texts(tables, instances, bench.tokenizer))
    real, shuffled = (read_maps(path / MAP_FILE) for path in _sweeps(bench.out))
    told = {name: _any_right(maps) for name, maps in (("upper_bound", real), ("shuffled", shuffled))}
    return {
        "task": f"English words into {find_language(options.language).name}, first token",
        "site": SITE,
        "instances": len(real.instances),
        "pairs": real.pairs,
        **{name: mean_interval(right, seed=options.seed).as_json() for name, right in told.items()},
        "headroom": mean_interval(told["upper_bound"] - told["shuffled"], seed=options.seed).as_json(),
        "accuracy": accuracy,
    }


def _sweeps(out: Path) -> tuple[Path, Path]:
    return out / SWEEP_DIRECTORY, out / CONTROL_DIRECTORY


def _any_right(maps: LayerMaps) -> NDArray[np.float64]:
    """Whether any pair is right, by the instances' names in order."""
    order = np.argsort(np.array(maps.instances))
    return np.asarray(maps.correct.any(axis=1), dtype=np.float64)[order]


def _fertility(report: FertilityReport) -> dict[str, Any]:
    return {
        "tokens_per_word": report.tokens_per_word,
        "bytes_per_token": report.bytes_per_token,
        "whole_words": report.whole_words,
        "unknown_rate": report.unknown_rate,
        "round_trip": report.round_trip,
        "digits": str(report.digits),
        "texts": report.texts,
        "utf8_bytes": report.utf8_bytes,
    }


def _kept(bench: Bench, part: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a part that is quick, or read what an earlier start left."""
    texts = {"texts": bench.material.texts, "english": bench.material.english}
    command = {
        "verb": f"diagnose {part}",
        "model": bench.options.model,
        "dtype": bench.options.dtype,
        "text_bytes": bench.options.text_bytes,
        "seed": bench.options.seed,
        **{name: None if given is None else text_revision(given) for name, given in texts.items()},
    }
    directory = bench.out / part
    if find_run(directory, command) and (directory / "result.json").exists():
        return read_result(directory).metrics
    metrics = work()
    open_run_directory(directory, command)
    result = RunResult(kind=f"diagnose {part}", metrics=metrics, provenance=collect_provenance())
    write_result(directory, result)
    # As JSON gives it back, so that a continued run says the same to the last bit.
    return read_result(directory).metrics


def no_part(begin: int, end: int) -> Any:
    """Stand for work on a part of a finished run, where all parts are there."""
    raise AssertionError(f"words {begin} to {end} are not done")
