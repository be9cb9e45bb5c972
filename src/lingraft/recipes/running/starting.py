"""`--from`: a stage and all after it are run again although they are kept; once, however often a run is killed."""

from collections.abc import Sequence
from dataclasses import replace

from lingraft.errors import ConfigError
from lingraft.files import write_json
from lingraft.recipes.checking.recipe import CheckedRecipe
from lingraft.recipes.running.planning import PlannedStage
from lingraft.recipes.running.store import Store

FROM_FILE = ".from.json"
"""Remembers `--from` until the run is through, so that the same command continues instead of beginning again."""


def require_stage(checked: CheckedRecipe, name: str | None) -> None:
    """Refuse `--from` a stage that the recipe does not have.

    Args:
        checked: The recipe.
        name: What was given, if anything.

    Raises:
        ConfigError: It has no such stage.
    """
    names = [stage.name for stage in checked.stages]
    if name is not None and name not in names:
        raise ConfigError(f"--from {name}", f"a stage of the recipe: {', '.join(names)}", "name one of them")


def started_from(planned: Sequence[PlannedStage], store: Store, name: str | None) -> list[PlannedStage]:
    """Count stages as not kept from one on; nothing is changed on disk.

    Args:
        planned: The stages, in order.
        store: Where they are kept.
        name: The first to run again; None for none.

    Returns:
        The stages.
    """
    if name is None or (store.out / FROM_FILE).exists():
        return list(planned)
    place = _place(planned, name)
    return [*planned[:place], *(replace(stage, done=False) for stage in planned[place:])]


def forget_from(planned: Sequence[PlannedStage], store: Store, name: str | None) -> None:
    """Delete what stages left from one on, half-finished ones too, once for each `--from`.

    Args:
        planned: The stages, in order.
        store: Where they are kept.
        name: The first to run again; None for none.
    """
    if name is None or (store.out / FROM_FILE).exists():
        return
    for stage in planned[_place(planned, name) :]:
        store.forget(stage.directory)
    write_json(store.out / FROM_FILE, {"from": name})


def _place(planned: Sequence[PlannedStage], name: str) -> int:
    return [stage.stage.name for stage in planned].index(name)
