"""`--from`: a stage and all after it are run again although they are kept; once, however often a run is killed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lingraft.errors import ConfigError
from lingraft.files import write_json
from lingraft.recipes.checking.recipe import CheckedRecipe
from lingraft.recipes.running.planning import PlannedStage
from lingraft.recipes.running.store import Store

FROM_FILE = ".from.json"
"""Remembers `--from`, and the keys of the stages that it deleted, until the run is through: so the same command
continues instead of beginning again."""


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
    forgotten = {stage.directory for stage in _to_forget(planned, store, name)}
    return [replace(stage, done=stage.done and stage.directory not in forgotten) for stage in planned]


def forget_from(planned: Sequence[PlannedStage], store: Store, name: str | None) -> None:
    """Delete what stages left from one on, half-finished ones too, once for each `--from`.

    Args:
        planned: The stages, in order.
        store: Where they are kept.
        name: The first to run again; None for none.
    """
    forgotten = _to_forget(planned, store, name)
    if not forgotten:
        return
    for stage in forgotten:
        store.forget(stage.directory)
    keys = {*_begun(store, name), *(stage.key for stage in forgotten)}
    write_json(store.out / FROM_FILE, {"from": name, "keys": sorted(keys)})


def _to_forget(planned: Sequence[PlannedStage], store: Store, name: str | None) -> list[PlannedStage]:
    """Return the stages from one on, but for those that the same `--from` deleted before the run was interrupted.

    What an interrupted `--from` of another stage deleted is deleted: it is run anew too, whichever comes first.
    """
    if name is None:
        return []
    begun = _begun(store, name)
    place = [stage.stage.name for stage in planned].index(name)
    return [stage for stage in planned[place:] if stage.key not in begun]


def _begun(store: Store, name: str | None) -> set[str]:
    """Return the keys of the stages that an interrupted run of the same `--from` deleted."""
    try:
        kept: Any = json.loads((store.out / FROM_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    same = isinstance(kept, dict) and kept.get("from") == name
    return set(kept.get("keys", ())) if same else set()
