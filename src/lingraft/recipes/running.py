"""Run a recipe stage by stage, each kept when it is finished; then the page, the card and the resolved recipe."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lingraft.errors import ConfigError
from lingraft.files import write_json, write_text
from lingraft.recipes.checking import CheckedRecipe
from lingraft.recipes.launching import run_in_processes
from lingraft.recipes.model_card import write_model_card
from lingraft.recipes.planning import PlannedStage, plan_stages, resolve_settings
from lingraft.recipes.recipe_report import write_recipe_report
from lingraft.recipes.recipe_run import RecipeRun, StageRun, write_run
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.kinds import STAGES
from lingraft.recipes.store import STAGES_DIRECTORY, Store
from lingraft.reports.page import Section
from lingraft.reports.result import RECIPE_FILE, RunResult, collect_provenance, current_command

REPORT_FILE = "report.html"
FROM_FILE = ".from.json"
"""Remembers `--from` until the run is through, so that the same command continues instead of beginning again."""
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
    _require_stage(checked, options.start_from)
    with store.locked():
        _forget_from(checked, store, options.start_from)
        planned = plan_stages(checked, store)
        by_name: dict[str, PlannedStage] = {}
        settings: dict[str, Any] = {}
        for number, stage in enumerate(planned, 1):
            head = f"[{number}/{len(planned)}] {stage.stage.name}"
            settings[stage.stage.name] = _run_stage(checked, stage, by_name, store, options, head, say)
            by_name[stage.stage.name] = stage
        say("writing the report")
        run = gather_run(checked, planned, settings, store, options.command or current_command())
        _write(run, checked, store)
        (options.out / FROM_FILE).unlink(missing_ok=True)
    return run


def _require_stage(checked: CheckedRecipe, name: str | None) -> None:
    names = [stage.name for stage in checked.stages]
    if name is not None and name not in names:
        raise ConfigError(f"--from {name}", f"a stage of the recipe: {', '.join(names)}", "name one of them")


def _forget_from(checked: CheckedRecipe, store: Store, name: str | None) -> None:
    """Forget a stage and all after it, once for each `--from`."""
    mark = store.out / FROM_FILE
    if name is None or mark.exists():
        return
    planned = plan_stages(checked, store)
    place = [stage.stage.name for stage in planned].index(name)
    for stage in planned[place:]:
        store.forget(stage.directory)
    write_json(mark, {"from": name})


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
    say(f"{head}: {planned.stage.kind.about}")
    started = time.monotonic()
    context = stage_context(checked, planned, options, lambda line: say(f"{head}: {line}"))
    planned.directory.mkdir(parents=True, exist_ok=True)
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


def gather_run(
    checked: CheckedRecipe,
    planned: Sequence[PlannedStage],
    settings: Mapping[str, Any],
    store: Store,
    command: str,
) -> RecipeRun:
    """Read finished stages into what the report shows.

    Args:
        checked: The recipe.
        planned: Its stages, all finished.
        settings: Of each stage, references resolved.
        store: Where they are kept.
        command: The command to repeat.

    Returns:
        The run.
    """
    stages = []
    for stage in planned:
        result = store.result(stage.directory)
        mark = store.mark(stage.directory) or {}
        stages.append(
            StageRun(
                name=stage.stage.name,
                kind=stage.stage.kind_name,
                about=stage.stage.kind.about,
                key=stage.key,
                directory=stage.directory,
                result=result,
                sections=stage.stage.kind.sections(settings[stage.stage.name], stage.directory, result),
                seconds=float(mark.get("seconds", 0)),
                settings=settings[stage.stage.name].model_dump(mode="json"),
            )
        )
    recipe = checked.recipe
    return RecipeRun(
        title=recipe.title or f"{recipe.language} for {recipe.model}",
        recipe_text=resolved_text(checked, stages),
        command=command,
        directory=store.out,
        language=recipe.language,
        model=recipe.model,
        stages=stages,
        provenance=collect_provenance(command=command, device=_device(stages)),
    )


def sections_of(
    kind_name: str, settings: Mapping[str, Any], directory: Path, result: RunResult
) -> Sequence[Section]:
    """Write a kept stage's part of the report anew.

    Args:
        kind_name: Its kind.
        settings: As `run.json` holds them.
        directory: Its directory.
        result: What came out of it.

    Returns:
        Sections.
    """
    kind = STAGES[kind_name]
    return kind.sections(kind.settings.model_validate(dict(settings)), directory, result)


def _device(stages: Sequence[StageRun]) -> str:
    """Return what the stages were computed on."""
    return ", ".join(dict.fromkeys(stage.result.provenance.device for stage in stages))


def resolved_text(checked: CheckedRecipe, stages: Sequence[StageRun]) -> str:
    """Return the recipe as a run keeps it: with changes made and defaults filled in, and what pins it.

    Args:
        checked: The recipe.
        stages: Its finished stages.

    Returns:
        YAML that `lingraft run` takes.
    """
    content = {key: value for key, value in checked.content.items() if key not in {"stages", "resolved"}}
    filled = {
        stage.name: {
            **stage.settings.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
            **{field: _listed(value) for field, value in stage.filled.items() if value is not None},
        }
        for stage in checked.stages
    }
    provenance = collect_provenance(command="")
    inputs = {
        (item.role, item.reference, item.revision): item.model_dump()
        for stage in stages
        for item in stage.result.inputs
        if f"{STAGES_DIRECTORY}/" not in item.reference
    }
    pinned = {
        "lingraft": provenance.lingraft,
        "python": provenance.python,
        "libraries": dict(provenance.libraries),
        "stages": {stage.name: stage.key for stage in stages},
        "inputs": list(inputs.values()),
    }
    document = {**content, "stages": filled, "resolved": pinned}
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=100)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _write(run: RecipeRun, checked: CheckedRecipe, store: Store) -> None:
    """Write what the run leaves beside its stages."""
    write_text(store.out / RECIPE_FILE, run.recipe_text)
    write_run(run)
    _place_model(run, checked, store)
    write_recipe_report(run, store.out)


def _place_model(run: RecipeRun, checked: CheckedRecipe, store: Store) -> None:
    """Put the last model that the recipe made into `model`: hard links, and a card of its own."""
    made = [
        stage.directory / stage.result.files["model"]
        for stage, step in zip(run.stages, checked.stages, strict=True)
        if "model" in step.kind.outputs
    ]
    place = store.out / "model"
    if not made:
        return
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(made[-1], place, copy_function=_link)
    # Not into the stage's own file, which the link shares.
    (place / "README.md").unlink(missing_ok=True)
    write_model_card(run, place)


def _link(old: str, new: str) -> None:
    try:
        Path(new).hardlink_to(old)
    except OSError:  # another disk, or one without links
        shutil.copy2(old, new)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"


def run_metrics(run: RecipeRun) -> dict[str, Any]:
    """Return what `--json` prints of a run.

    Args:
        run: The run.

    Returns:
        A JSON-able mapping.
    """
    stages: list[tuple[StageRun, RunResult]] = [(stage, stage.result) for stage in run.stages]
    return {
        "title": run.title,
        "out": str(run.directory),
        "report": str(run.directory / REPORT_FILE),
        "stages": [
            {
                "name": stage.name,
                "kind": stage.kind,
                "key": stage.key,
                "directory": str(stage.directory),
                "seconds": stage.seconds,
                "metrics": result.as_json()["metrics"],
            }
            for stage, result in stages
        ],
    }
