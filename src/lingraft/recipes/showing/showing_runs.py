"""A run's page written anew from what its stages left: nothing is run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lingraft.errors import ConfigError
from lingraft.recipes.showing.finished import RUN_FILE, read_run
from lingraft.recipes.showing.outcome import outcome_of
from lingraft.recipes.showing.recipe_report import summary, write_recipe_report
from lingraft.recipes.stages.kinds import STAGES
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult


def show_run(directory: Path, out: Path) -> tuple[Path, str]:
    """Write the page.

    Args:
        directory: The run directory.
        out: Directory of the page, usually the same.

    Returns:
        The page's path, and what came out in a sentence or two.

    Raises:
        ConfigError: The directory holds no finished run of a recipe, or one of another version.
        OutputError: The page cannot be written.
    """
    run = read_run(directory, sections_of=sections_of)
    return write_recipe_report(run, out), summary(run, outcome_of(run))


def sections_of(
    kind: str, settings: Mapping[str, Any], directory: Path, result: RunResult
) -> Sequence[Section]:
    """Write a kept stage's part of the report anew.

    Args:
        kind: Its kind.
        settings: As `run.json` holds them.
        directory: Its directory.
        result: What came out of it.

    Returns:
        Sections.

    Raises:
        ConfigError: The kind is unknown, or its settings or result are of another version.
    """
    if kind not in STAGES:
        raise ConfigError(
            f"{RUN_FILE} names a stage of kind {kind!r}",
            f"one of {', '.join(STAGES)}",
            "run the recipe again",
        )
    try:
        known = STAGES[kind]
        return known.sections(known.settings.model_validate(dict(settings)), directory, result)
    except (ValidationError, KeyError) as error:
        found = f"{directory}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(found, "a stage of this version", "run the recipe again") from error
