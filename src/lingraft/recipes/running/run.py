"""Run a recipe stage by stage, each kept when it is finished; then the page, the card and the resolved recipe."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.files import remove_leftovers
from lingraft.recipes.checking.machine import require_device
from lingraft.recipes.checking.recipe import CheckedRecipe
from lingraft.recipes.running.estimates import StageEstimate, duration, estimate_run
from lingraft.recipes.running.launching import run_in_processes
from lingraft.recipes.running.outputs import gather_run, write_outputs
from lingraft.recipes.running.planning import PlannedStage, plan_stages, resolve_settings
from lingraft.recipes.running.starting import FROM_FILE, forget_from, require_stage
from lingraft.recipes.running.store import Store
from lingraft.recipes.showing.finished import RecipeRun
from lingraft.recipes.stages.contract import StageContext
from lingraft.reports.result import current_command
from lingraft.workers import shared_cluster

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside its recipe.

    Attributes:
        out: Run directory.
        device: Where models are put; None takes the recipe's.
        start_from: Run this stage and all after it again, although they are kept.
        command: The command to repeat, for the report; None takes this process's.
    """

    out: Path
    device: str | None = None
    start_from: str | None = None
    command: str | None = None


def run_recipe(checked: CheckedRecipe, options: RunOptions, *, say: Say = lambda _: None) -> RecipeRun:
    """Run what is not kept, and write the report.

    Args:
        checked: The recipe.
        options: Where and how.
        say: Called with one line at each step.

    Returns:
        The run, as the report shows it.

    Raises:
        LingraftError: A bad input, or a directory that another run holds.
    """
    store = Store(options.out)
    require_stage(checked, options.start_from)
    if options.device is not None:
        require_device(options.device)
    with store.locked(), shared_cluster():
        forget_from(plan_stages(checked, store), store, options.start_from)
        planned = plan_stages(checked, store)
        estimate = estimate_run(checked, store.out, device=options.device)
        by_name: dict[str, PlannedStage] = {}
        settings: dict[str, Any] = {}
        for number, stage in enumerate(planned, 1):
            head = f"[{number}/{len(planned)}] {stage.stage.name}"
            if not stage.done:
                say(f"{head}: {stage.stage.kind.about}{_left(estimate.stages[number - 1 :])}")
            settings[stage.stage.name] = _run_stage(checked, stage, by_name, store, options, head, say)
            by_name[stage.stage.name] = stage
        say("writing the report")
        run = gather_run(checked, planned, settings, store, options.command or current_command())
        write_outputs(run, checked, store)
        (store.out / FROM_FILE).unlink(missing_ok=True)
    return run


def _left(stages: Sequence[StageEstimate]) -> str:
    """Say about how long the first of some stages will take, and all of them; nothing where that is not known."""
    times = [stage.seconds for stage in stages if not stage.kept]
    known = [seconds for seconds in times if seconds is not None]
    if len(known) < len(times) or not known:
        return ""
    rest = f", {duration(sum(known))} to the end" if len(known) > 1 else ""
    return f" (about {duration(known[0])}{rest})"


def _run_stage(
    checked: CheckedRecipe,
    planned: PlannedStage,
    by_name: Mapping[str, PlannedStage],
    store: Store,
    options: RunOptions,
    head: str,
    say: Say,
) -> Any:
    """Run one stage where it is not kept; return its settings as they were resolved."""
    settings = resolve_settings(planned, by_name, store)
    if store.is_done(planned.directory, planned.key):
        say(f"{head}: kept from before")
        return settings
    started = time.monotonic()
    context = stage_context(checked, planned, options, lambda line: say(f"{head}: {line}"))
    planned.directory.mkdir(parents=True, exist_ok=True)
    remove_leftovers(planned.directory)
    kind = planned.stage.kind
    if kind.trains and context.scale.processes > 1:
        result = run_in_processes(planned.stage.kind_name, settings, context)
    else:
        result = kind.run(settings, context)
    seconds = time.monotonic() - started
    about = {
        "key": planned.key,
        "name": planned.stage.name,
        "kind": planned.stage.kind_name,
        "settings": settings.model_dump(mode="json"),
        "seconds": round(seconds, 1),
    }
    store.finish(planned.directory, result, about)
    say(f"{head}: done in {_duration(seconds)}")
    return settings


def stage_context(
    checked: CheckedRecipe, planned: PlannedStage, options: RunOptions, say: Say
) -> StageContext:
    """Return what a stage is told beside its settings.

    Args:
        checked: The recipe.
        planned: The stage.
        options: Of the run.
        say: Called with one line at each step.

    Returns:
        The context.
    """
    recipe = checked.recipe
    return StageContext(
        name=planned.stage.name,
        out=planned.directory,
        language=recipe.language,
        seed=planned.seed,
        device=options.device or recipe.device,
        scale=recipe.scale.scale(),
        trust_remote_code=recipe.trust_remote_code,
        accept_terms=recipe.accept_terms,
        say=say,
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"
