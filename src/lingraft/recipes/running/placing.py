"""The model that a run is about, in `model`: what plain transformers loads, with a card.

It is left alone while what it was made of is the same: a card that was edited stays. Otherwise what was placed before
is replaced, and nothing else: a file that somebody put beside it stays too.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from lingraft.files import output_error, replacing, write_json
from lingraft.recipes.checking.recipe import CheckedRecipe
from lingraft.recipes.checking.references import StageOutput, each_text
from lingraft.recipes.running.store import Store
from lingraft.recipes.showing.finished import RecipeRun, StageRun
from lingraft.recipes.showing.model_card import write_model_card

MODEL, CARD = "model", "README.md"
PLACED_FILE = ".model.json"
"""Says what `model` was made of and which of its files were placed; beside it, so that nobody loads or uploads it."""
_OF_THE_VERB = (".*", "report.html", "result.json", "recipe.yaml", "*.parquet", "*.png", CARD)
"""What a verb leaves beside a checkpoint: of the stage, not of the model."""
_WEIGHTS = ".safetensors"


@dataclass(frozen=True, slots=True)
class _Placed:
    """What was placed in `model`.

    Attributes:
        model: What the checkpoint was made of; empty while it is being replaced.
        card: What the card tells of; empty while it is being replaced.
        files: The checkpoint's files and the card, relative to `model`.
    """

    model: Mapping[str, Any]
    card: Mapping[str, Any]
    files: tuple[str, ...]


def place_model(run: RecipeRun, checked: CheckedRecipe, store: Store) -> None:
    """Put the model that the recipe is about into `model`; of a recipe that makes none, take the last run's away.

    Args:
        run: The run.
        checked: Its recipe.
        store: Where its stages are kept.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    place, chosen = store.out / MODEL, _chosen(run, checked)
    before = _read(store.out)
    try:
        if chosen is not None:
            _place(run, chosen, before, store)
        else:
            _remove(place, before.files)
            (store.out / PLACED_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(place, error) from error


def _place(run: RecipeRun, chosen: StageRun, before: _Placed, store: Store) -> None:
    """Place checkpoint and card, each where it is not there or what it was made of changed."""
    place, source = store.out / MODEL, chosen.directory / chosen.result.files["model"]
    files = _files_of(source)
    stages = [{"name": stage.name, **_made(stage, store)} for stage in run.stages]
    now = _Placed(_made(chosen, store), {"title": run.title, "stages": stages}, (*files, CARD))
    same_model = before.model == now.model and all((place / name).is_file() for name in files)
    if not same_model:
        # Known before the first change: whatever a kill leaves of both is replaced by the next start.
        _write(store.out, _Placed({}, {}, tuple(dict.fromkeys((*before.files, *now.files)))))
        _remove(place, before.files)
        for name in files:
            _put(source / name, place / name)
    if not (same_model and before.card == now.card and (place / CARD).is_file()):
        write_model_card(run, place)
    _write(store.out, now)


def _chosen(run: RecipeRun, checked: CheckedRecipe) -> StageRun | None:
    """Return the stage whose model the recipe is about: the last that is measured, else the last made (our choice)."""
    made = {
        stage.name: stage
        for stage, step in zip(run.stages, checked.stages, strict=True)
        if MODEL in step.kind.outputs
    }
    measured = (made[name] for name in _measured(checked) if name in made)
    return next(measured, None) or next(reversed(made.values()), None)


def _measured(checked: CheckedRecipe) -> Iterator[str]:
    """Go through the stages whose models are measured, the last one of the last `evaluate` first."""
    for stage in reversed(checked.stages):
        for _, text in reversed(list(each_text(stage.filled.get("models")))):
            output = StageOutput.parse(text)
            if output is not None:
                yield output.stage


def _made(stage: StageRun, store: Store) -> dict[str, Any]:
    """Return what tells one making of a stage from another, `--from` among them."""
    finished = (store.mark(stage.directory) or {}).get("finished")
    return {"key": stage.key, "finished": finished}


def _files_of(source: Path) -> list[str]:
    """Return the files of a checkpoint, relative to it."""
    names = (file.relative_to(source) for file in sorted(source.rglob("*")) if file.is_file())
    return [
        str(name)
        for name in names
        if not any(fnmatch(part, pattern) for part in name.parts for pattern in _OF_THE_VERB)
    ]


def _put(source: Path, target: Path) -> None:
    """Link weights, which are large, and copy everything else, so that it can be edited in place.

    Whoever writes into linked weights in place changes the kept stage: the store notices that by another size only.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == _WEIGHTS:
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another disk, or one without links
            target.hardlink_to(source)
            return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _remove(place: Path, names: Iterable[str]) -> None:
    """Delete what was placed, and directories that are empty then."""
    folders = {place}
    for name in names:
        (place / name).unlink(missing_ok=True)
        folders |= {place / folder for folder in Path(name).parents}
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):  # it holds something else
            folder.rmdir()


def _read(out: Path) -> _Placed:
    """Return what was placed before; where no list was kept, every linked file of `model` and its card."""
    try:
        kept = json.loads((out / PLACED_FILE).read_text(encoding="utf-8"))
        return _Placed(kept["model"], kept["card"], tuple(kept["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        files = (file for file in (out / MODEL).rglob("*") if file.is_file() and file.stat().st_nlink > 1)
        linked = [str(file.relative_to(out / MODEL)) for file in files]
        return _Placed({}, {}, (*linked, CARD) if linked else ())


def _write(out: Path, placed: _Placed) -> None:
    write_json(out / PLACED_FILE, asdict(placed))
