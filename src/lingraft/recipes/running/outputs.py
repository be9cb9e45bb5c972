"""What a run leaves beside its stages: the resolved recipe, the page, the model with its card; and its result."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lingraft.files import write_text
from lingraft.recipes.checking.recipe import CheckedRecipe
from lingraft.recipes.running.placing import place_model
from lingraft.recipes.running.planning import PlannedStage
from lingraft.recipes.running.store import STAGES_DIRECTORY, Store
from lingraft.recipes.showing.finished import RecipeRun, StageRun, write_run
from lingraft.recipes.showing.recipe_report import write_recipe_report
from lingraft.reports.result import RECIPE_FILE, RunResult, collect_provenance

REPORT_FILE = "report.html"


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
    place_model(run, checked, store)
    write_recipe_report(run, store.out)


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
