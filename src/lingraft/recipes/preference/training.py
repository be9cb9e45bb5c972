"""Train on paired items: read, train, keep the checkpoint and what was seen on the way, write the report."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lingraft.corpora.language_id import COMMON_LANGUAGES
from lingraft.corpora.named_datasets import is_dataset, rows_revision
from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, find_run, open_run_directory
from lingraft.models.loading import LoadedModel, load_model
from lingraft.models.saving import save_checkpoint
from lingraft.preference.items import PairedItem, read_items
from lingraft.preference.losses import OBJECTIVES
from lingraft.preference.monitor import Monitor, MonitorOptions
from lingraft.preference.plan import PreferencePlan
from lingraft.preference.policies import check_policy, low_resource_warning
from lingraft.preference.training import PreferenceResult, check_training, train_preference
from lingraft.recipes.evaluating.fidelity_inputs import find_identifier
from lingraft.recipes.preference.training_report import STEPS, write_preference_report
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result
from lingraft.tokenizers.chat import PromptFormat, prompt_format, read_template
from lingraft.training.processes import is_main_process

Say = Callable[[str], None]

FEWEST_STEPS = 5
"""Steps between checkpoints at least, where the user names none: writing one takes as long as a step or two."""


@dataclass(frozen=True, slots=True)
class PreferenceOptions:
    """Everything that changes the result.

    Attributes:
        model: Reference of the model.
        pairs: JSON lines of paired items.
        held_out: JSON lines of paired items to measure on; None measures nothing during training.
        plan: The training.
        template: `chat`, `plain` or the path of a Jinja template.
        evaluations: How many times to measure after the first, evenly over the training.
        monitor: How much is measured each time.
        keep: `best` or `last`.
        limit: Only the first so many items.
        dtype: Type of the saved checkpoint; None keeps the model's.
    """

    model: str
    pairs: Path
    held_out: Path | None = None
    plan: PreferencePlan = field(default_factory=PreferencePlan)
    template: str = "chat"
    evaluations: int = 4
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    keep: str = "best"
    limit: int | None = None
    dtype: str | None = None

    def command(self) -> dict[str, Any]:
        """Return what a run is known again by."""
        given = {"verb": "clo train", **asdict(self)}
        for name in ("pairs", "held_out", "template"):
            value = getattr(self, name)
            if value is not None:
                given[name] = str(value)
                if is_dataset(value) or Path(value).is_file():
                    given[f"{CONTENT_OF}{name}"] = rows_revision(value)
        return given


def run_preference(
    options: PreferenceOptions,
    *,
    out: Path,
    device: str = "auto",
    gradient_accumulation: int = 1,
    tokens_together: int | None = None,
    save_every: int | None = None,
    trackers: tuple[str, ...] = (),
    trust_remote_code: bool = False,
    accept_terms: bool = False,
    say: Say = lambda _: None,
) -> RunResult:
    """Train and write; a killed run continues, a finished one is read.

    Args:
        options: What to do.
        out: Run directory. It gets `model` (a checkpoint that plain transformers loads), `steps.parquet`, rejected
            lines, result.json, a picture and report.html.
        device: Where to train.
        gradient_accumulation: Pieces that a step is computed in; changes memory, not the result.
        tokens_together: Tokens of one forward pass; changes memory, not the result.
        save_every: Steps between checkpoints; None takes a tenth of the training, `FEWEST_STEPS` at least.
        trackers: Trackers that Trainer knows.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.
        say: Called with one line at each stage.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or a directory that holds something else.
    """
    options.plan.resolved_objective()
    check_policy(options.plan.parameters)
    template = read_template(options.template)
    items, language = _read(options.pairs, options.limit)
    held_out = None if options.held_out is None else _read(options.held_out, None, language)[0]
    identifier = (
        find_identifier(language, COMMON_LANGUAGES) if held_out and options.monitor.fidelity_prompts else None
    )
    command = options.command()
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    started = time.monotonic()
    loaded = load_model(
        options.model, device=device, trust_remote_code=trust_remote_code, accept_terms=accept_terms
    )
    dtype = options.dtype or loaded.model.dtype
    form = prompt_format(loaded.tokenizer, template)
    longest = options.plan.longest_for(loaded.model)
    monitor = (
        None
        if held_out is None
        else Monitor(held_out, form, language, identifier, longest=longest, options=options.monitor)
    )
    steps = check_training(loaded.model, items, form, options.plan, trackers=trackers)
    # Only now: bad input must not leave a directory that the corrected command would find taken.
    if is_main_process():
        open_run_directory(out, command)
    _, refused = read_items(options.pairs, rejects=out / "rejects.jsonl" if is_main_process() else None)
    trained = _train(
        loaded,
        items,
        form,
        options,
        monitor,
        out,
        steps=steps,
        gradient_accumulation=gradient_accumulation,
        tokens_together=tokens_together,
        save_every=save_every,
        trackers=trackers,
        say=say,
    )
    if is_main_process() and not (out / "model").exists():
        _save(loaded, form, trained, options, out, dtype)
    result = _result(options, loaded, trained, items, refused, language, time.monotonic() - started)
    if not is_main_process():
        return result
    measured = None if monitor is None or not options.monitor.fidelity_prompts else monitor.items
    write_preference_report(out, trained, measured, result)
    write_result(out, result)
    return result


def _read(path: Path, limit: int | None, language: str | None = None) -> tuple[list[PairedItem], str]:
    """Read items of one target language."""
    items, _ = read_items(path)
    languages = sorted({item.target_language for item in items})
    if len(languages) > 1 or (language is not None and languages != [language]):
        raise ConfigError(
            f"{path} with items in {', '.join(languages)}",
            f"items in {language}" if language else "items in one target language",
            "give a file of one language, or train one language after another",
        )
    return items[:limit], languages[0]


def _train(
    loaded: LoadedModel,
    items: list[PairedItem],
    form: PromptFormat,
    options: PreferenceOptions,
    monitor: Monitor | None,
    out: Path,
    *,
    steps: int,
    gradient_accumulation: int,
    tokens_together: int | None,
    save_every: int | None,
    trackers: tuple[str, ...],
    say: Say,
) -> PreferenceResult:
    say(
        f"{steps} steps of {options.plan.batch_size} items, {options.plan.objective} on {options.plan.parameters}"
    )
    times = max(1, options.evaluations)
    return train_preference(
        loaded.model,
        items,
        form,
        options.plan,
        output_dir=out / "training",
        gradient_accumulation=gradient_accumulation,
        tokens_together=tokens_together,
        save_every=save_every or max(FEWEST_STEPS, steps // 10),
        evaluate_at=() if monitor is None else sorted({steps * part // times for part in range(times + 1)}),
        evaluate=monitor,
        keep="last" if monitor is None else options.keep,
        trackers=trackers,
        progress=True,
    )


def _save(
    loaded: LoadedModel,
    form: PromptFormat,
    trained: PreferenceResult,
    options: PreferenceOptions,
    out: Path,
    dtype: Any,
) -> None:
    import torch

    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    for parameter in trained.model.parameters():
        parameter.data = parameter.data.to(wanted)
    recipe = _plain(options.command())
    save_checkpoint(out / "model", trained.model, loaded.tokenizer, recipe=recipe, end_ids=form.end_ids)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _warning(options: PreferenceOptions, trained: PreferenceResult) -> str | None:
    if 0 not in trained.evaluations:
        return None
    bits = [float(trained.evaluations[0][f"{side}_bits_per_byte"]) for side in ("english", "target")]
    return low_resource_warning(options.plan.parameters, *bits)


def _result(
    options: PreferenceOptions,
    loaded: LoadedModel,
    trained: PreferenceResult,
    items: list[PairedItem],
    refused: Mapping[str, int],
    language: str,
    seconds: float,
) -> RunResult:
    objective = OBJECTIVES[options.plan.objective]
    _, share, beta = options.plan.resolved_objective()
    short = ("bits_per_byte", "interval", "fidelity", "fidelity_interval", "skipped", "preferred")
    evaluations = {
        str(step): {n: v for n, v in found.items() if n.partition("_")[2] in short}
        for step, found in trained.evaluations.items()
    }
    inputs = [
        InputRevision(role="model", reference=loaded.reference, revision=loaded.revision),
        InputRevision(role="pairs", reference=str(options.pairs), revision=rows_revision(options.pairs)),
    ]
    if options.held_out is not None:
        held_out = options.held_out
        inputs.append(
            InputRevision(role="held-out", reference=str(held_out), revision=rows_revision(held_out))
        )
    return RunResult(
        kind="clo train",
        metrics={
            "objective": options.plan.objective,
            "about": objective.about,
            "parameters": options.plan.parameters,
            "numbers that learn": trained.learning,
            "target_language": language,
            "share": share,
            "beta": beta if objective.preference is not None else None,
            "steps": trained.steps,
            "step_kept": trained.step,
            "answer_tokens": trained.answer_tokens,
            "computed_tokens": trained.computed_tokens,
            "training_seconds": round(trained.seconds, 3),
            "seconds": round(seconds, 3),
            "loss": {"first": float(trained.losses[0]), "last": float(trained.losses[-1])},
            "evaluations": evaluations,
            "warning": _warning(options, trained),
        },
        counts={
            "items": {
                "read": len(items),
                "trained on": len(items) - sum(map(len, trained.dropped.values())),
                **{reason: len(numbers) for reason, numbers in trained.dropped.items()},
                **refused,
            }
        },
        inputs=tuple(inputs),
        seeds={"seed": options.plan.seed},
        files={"model": "model", "steps": STEPS, "report": "report.html"},
        provenance=collect_provenance(device=next(trained.model.parameters()).device),
    )
