"""From a checked recipe to what a run will do: each stage's key, and whether it is kept from before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lingraft import __version__
from lingraft.contents import content_of
from lingraft.corpora.named_datasets import dataset_files, is_dataset
from lingraft.corpora.reading import find_files
from lingraft.files import fingerprint
from lingraft.recipes.checking.recipe import CheckedRecipe, CheckedStage
from lingraft.recipes.checking.references import (
    ASSET,
    StageOutput,
    named_file,
    references_of,
    replace_texts,
    without_way,
)
from lingraft.recipes.running.store import Store
from lingraft.recipes.stages.named_files import named_files


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage, and where it is kept.

    Attributes:
        stage: As checked.
        key: Fingerprint of everything that its result depends on.
        directory: Where it is, or will be.
        done: It is finished there.
        seed: Its seed.
    """

    stage: CheckedStage
    key: str
    directory: Path
    done: bool
    seed: int


def plan_stages(checked: CheckedRecipe, store: Store) -> list[PlannedStage]:
    """Work out the keys of all stages, and which of them are kept.

    A key covers the kind, the settings, the language, the seed, this version of Lingraft, what the files hold that
    references and other settings name, and the keys of the stages that it reads: so a change runs again what depends
    on it, and nothing else. Hub ids, data sets of the hub and assets count by name.

    Args:
        checked: The recipe.
        store: Where stages are kept.

    Returns:
        The stages in order.
    """
    keys: dict[str, str] = {}
    planned = []
    for stage in checked.stages:
        seed = checked.recipe.seed if stage.settings.seed is None else stage.settings.seed
        settings = stage.settings.model_dump(mode="json", exclude={"use", "seed"})
        read = {
            field: replace_texts(value, lambda text: _identity(text, keys))
            for field, value in stage.filled.items()
        }
        described = {
            "kind": stage.kind_name,
            "settings": {**settings, **read},
            "language": checked.recipe.language,
            "seed": seed,
            "lingraft": __version__,
            **_named_contents(stage),
        }
        key = sha256(json.dumps(described, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        keys[stage.name] = key
        directory = store.find(stage.name, key)
        planned.append(PlannedStage(stage, key, directory, store.is_done(directory, key), seed))
    return planned


def _named_contents(stage: CheckedStage) -> dict[str, dict[str, list[str]]]:
    """Return what the files hold that settings name which are no references; nothing where none does."""
    contents = {}
    for field, names in named_files(stage.settings).items():
        found = [_file_identity(name, "", name).get("content", "") for name in names]
        if any(found):
            contents[field] = found
    return {"contents": contents} if contents else {}


def _identity(text: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Return what pins a reference: the key of the stage that makes it, the content of files, else its text."""
    output = StageOutput.parse(text)
    way = text.removesuffix(without_way(text))
    if output is not None:
        return {"way": way, "stage": keys[output.stage], "output": output.output}
    if text.startswith(ASSET):
        return {"asset": text}
    return _file_identity(text, way, without_way(text))


def _file_identity(text: str, way: str, body: str) -> dict[str, str]:
    path = named_file(body)
    if is_dataset(body) and (files := dataset_files(body)):
        return {"name": text, "content": fingerprint({str(file): content_of(file) for file in files})}
    if path is not None and path.is_file():
        return {"way": way, "content": content_of(path)}
    if path is not None:
        # Text may lie deeper in a directory, a checkpoint does not.
        below = "".join(content_of(Path(name)) for name in _files_below(body))
        return {"way": way, "content": content_of(path) + below}
    if any(character in body for character in "*?["):
        return {"content": "".join(content_of(Path(name)) for name in _files_below(body))}
    return {"name": text}


def _files_below(text: str) -> list[str]:
    from lingraft.errors import CorpusError

    try:
        return find_files(text)
    except CorpusError:
        return []


def resolve_settings(planned: PlannedStage, by_name: Mapping[str, PlannedStage], store: Store) -> Any:
    """Return a stage's settings with every reference as the command line takes it; assets are fetched.

    Args:
        planned: The stage.
        by_name: The stages, those that it reads finished.
        store: Where they are kept.

    Returns:
        Settings of the stage's kind.

    Raises:
        AssetError: An asset cannot be fetched.
    """
    stage = planned.stage
    values = {
        field: replace_texts(value, lambda text: _resolved(text, by_name, store))
        for field, value in stage.filled.items()
        if value is not None
    }
    shaped = {
        field: (value,) if _is_tuple(stage, field) and isinstance(value, str) else value
        for field, value in values.items()
    }
    return type(stage.settings).model_validate(
        {
            **stage.settings.model_dump(exclude=set(references_of(type(stage.settings)))),
            **shaped,
            "seed": planned.seed,
        }
    )


def _is_tuple(stage: CheckedStage, field: str) -> bool:
    return "tuple[" in str(type(stage.settings).model_fields[field].annotation)


def _resolved(text: str, by_name: Mapping[str, PlannedStage], store: Store) -> str:
    output = StageOutput.parse(text)
    if output is not None:
        maker = by_name[output.stage]
        name = output.output or next(iter(maker.stage.kind.made_by(maker.stage.settings)))
        path = maker.directory / store.result(maker.directory).files[name]
        return text.removesuffix(without_way(text)) + str(path)
    return str(asset_file(text)) if text.startswith(ASSET) else text


def asset_file(text: str) -> Path:
    """Return the file that `asset:NAME/FILE` names; the asset is fetched when it is missing.

    Args:
        text: The reference.

    Returns:
        The path.

    Raises:
        AssetError: The asset cannot be fetched.
        ConfigError: It has no such file.
    """
    from lingraft.assets.catalog import fetch_asset, find_asset
    from lingraft.errors import ConfigError

    name, _, file = text.removeprefix(ASSET).partition("/")
    directory = find_asset(name) or fetch_asset(name).path
    if not (directory / file).exists():
        files = sorted(item.name for item in directory.iterdir() if not item.name.startswith("."))
        raise ConfigError(f"asset {name} has no {file}", f"one of {', '.join(files)}", "correct the recipe")
    return directory / file
