"""A finished run of a recipe, as its report, its model card and comparisons read it, and the file it is kept in."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lingraft.errors import ConfigError
from lingraft.files import write_json
from lingraft.reports.page import Section
from lingraft.reports.result import RECIPE_FILE, Provenance, RunResult, read_document, read_result

RUN_FILE = "run.json"
REMEDY = "give the --out of a finished `lingraft run`"

SectionsOf = Callable[[str, Mapping[str, Any], Path, RunResult], Sequence[Section]]
"""Kind, settings, directory and result of a stage to what a report says of it."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """A stage that was run.

    Attributes:
        name: Its name in the recipe.
        kind: What it does: `vocabulary`, `evaluate`.
        about: The same in a sentence.
        key: What names its content: two stages with one key have the same inputs and settings.
        directory: Where its files are.
        result: What came out.
        sections: What the report says of it.
        seconds: How long it took, over all starts.
        settings: With which it was run, references resolved, JSON-able.
    """

    name: str
    kind: str
    about: str
    key: str
    directory: Path
    result: RunResult
    sections: Sequence[Section]
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecipeRun:
    """A recipe that was run.

    Attributes:
        title: Of the recipe.
        recipe_text: The resolved recipe, YAML.
        command: What repeats the run, quoted for a POSIX shell.
        directory: The run directory.
        language: Code of the target language, ISO 639-1.
        model: The model it began with, as the recipe names it.
        stages: What was done, in order.
        provenance: Of the run.
    """

    title: str
    recipe_text: str
    command: str
    directory: Path
    language: str
    model: str
    stages: Sequence[StageRun]
    provenance: Provenance

    def place(self, stage: StageRun) -> str:
        """Return a stage's directory as seen from the run's, for text."""
        return relative(stage.directory, self.directory)


class _StageFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    about: str = ""
    key: str = ""
    directory: str
    seconds: float = 0.0
    settings: dict[str, Any] = Field(default_factory=dict)


class _RunFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str = ""
    language: str = ""
    model: str = ""
    command: str = ""
    stages: tuple[_StageFile, ...]
    provenance: Provenance | None = None


def write_run(run: RecipeRun) -> Path:
    """Write `run.json` atomically: all that is neither in `recipe.yaml` nor in a stage's `result.json`.

    Args:
        run: The run.

    Returns:
        The path written.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    path = run.directory / RUN_FILE
    stages = [
        {
            "name": stage.name,
            "kind": stage.kind,
            "about": stage.about,
            "key": stage.key,
            "directory": run.place(stage),
            "seconds": stage.seconds,
            "settings": json.loads(json.dumps(dict(stage.settings), default=str)),
        }
        for stage in run.stages
    ]
    head = {"title": run.title, "language": run.language, "model": run.model, "command": run.command}
    write_json(path, {**head, "stages": stages, "provenance": run.provenance.model_dump(mode="json")})
    return path


def read_run(directory: Path, *, sections_of: SectionsOf | None = None) -> RecipeRun:
    """Read what `write_run` and the stages left.

    Args:
        directory: The run directory.
        sections_of: Writes the stages' sections anew; without it they have none.

    Returns:
        The run.

    Raises:
        ConfigError: The directory holds no finished run of a recipe.
    """
    kept = _read_file(directory)
    stages = []
    for stage in kept.stages:
        place = directory / stage.directory
        result = read_result(place)
        sections = sections_of(stage.kind, stage.settings, place, result) if sections_of is not None else ()
        stages.append(
            StageRun(
                name=stage.name,
                kind=stage.kind,
                about=stage.about,
                key=stage.key,
                directory=place,
                result=result,
                sections=sections,
                seconds=stage.seconds,
                settings=stage.settings,
            )
        )
    provenance = kept.provenance or (stages[-1].result.provenance if stages else None)
    if provenance is None:
        raise ConfigError(f"no stage in {directory / RUN_FILE}", "a run with stages", REMEDY)
    return RecipeRun(
        title=kept.title or directory.name,
        recipe_text=_recipe_text(directory),
        command=kept.command or provenance.command,
        directory=directory,
        language=kept.language,
        model=kept.model,
        stages=stages,
        provenance=provenance,
    )


def relative(path: Path, base: Path) -> str:
    """Return `path` as seen from `base`, with slashes; as it is where it lies elsewhere."""
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def _read_file(directory: Path) -> _RunFile:
    path = directory / RUN_FILE
    if not directory.is_dir():
        found = f"{directory} is a file" if directory.exists() else f"no directory {directory}"
        raise ConfigError(found, "the run directory of a recipe", REMEDY)
    return read_document(path, _RunFile, "run directory of a recipe", REMEDY)


def _recipe_text(directory: Path) -> str:
    path = directory / RECIPE_FILE
    try:
        return path.read_text(encoding="utf-8")
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", "the recipe of the run", REMEDY) from error
