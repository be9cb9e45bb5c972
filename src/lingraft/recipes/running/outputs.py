"""What a run leaves beside its stages: the resolved recipe, the page, the model with its card; and its result."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lingraft.files import write_text
from lingraft.recipes.checking.recipe import CheckedRecipe
from lingraft.recipes.checking.references import StageOutput
from lingraft.recipes.running.planning import PlannedStage
from lingraft.recipes.running.store import STAGES_DIRECTORY, Store
from lingraft.recipes.showing.finished import RecipeRun, StageRun, write_run
from lingraft.recipes.showing.model_card import write_model_card
from lingraft.recipes.showing.recipe_report import write_recipe_report
from lingraft.reports.result import RECIPE_FILE, RunResult, collect_provenance

REPORT_FILE = "report.html"
_OF_THE_VERB = (".*", "report.html", "result.json", "recipe.yaml", "*.parquet", "*.png", "README.md")
"""What a verb leaves beside a checkpoint: of the stage, not of the model."""


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
        directory=store.out.resolve(),
        language=recipe.language,
        model=recipe.model,
        stages=stages,
        provenance=collect_provenance(command=command, device=_device(stages)),
    )


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


def write_outputs(run: RecipeRun, checked: CheckedRecipe, store: Store) -> None:
    """Write what the run leaves beside its stages.

    Args:
        run: The run.
        checked: Its recipe.
        store: Where its stages are kept.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    write_text(store.out / RECIPE_FILE, run.recipe_text)
    write_run(run)
    _place_model(run, checked, store)
    write_recipe_report(run, store.out)


def _place_model(run: RecipeRun, checked: CheckedRecipe, store: Store) -> None:
    """Put the model that the recipe is about into `model`: hard links, and a card of its own."""
    made = {
        stage.name: stage.directory / stage.result.files["model"]
        for stage, step in zip(run.stages, checked.stages, strict=True)
        if "model" in step.kind.outputs
    }
    place = store.out / "model"
    if not made:
        return
    name = _measured_last(checked)
    chosen = made[name] if name in made else list(made.values())[-1]
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(chosen, place, copy_function=_link, ignore=shutil.ignore_patterns(*_OF_THE_VERB))
    write_model_card(run, place)


def _measured_last(checked: CheckedRecipe) -> str:
    """Return the stage of the model that the last `evaluate` names last: the report's "after" (our choice)."""
    for stage in reversed(checked.stages):
        models = stage.filled.get("models")
        if models:
            output = StageOutput.parse(str(list(models.values())[-1]))
            return output.stage if output is not None else ""
    return ""


def _link(old: str, new: str) -> None:
    try:
        Path(new).hardlink_to(old)
    except OSError:  # another disk, or one without links
        shutil.copy2(old, new)


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
