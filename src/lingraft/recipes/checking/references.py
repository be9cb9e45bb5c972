"""What the fields of a recipe name: files, catalogued assets, hub ids, the recipe's own fields, stages' outputs."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lingraft.assets.catalog import find_asset, is_asset_name, list_assets
from lingraft.corpora.reading import DATASET_PREFIX
from lingraft.models.references import looks_like_hub_id
from lingraft.recipes.stages.contract import Reference, Role, StageSettings

STAGE, ASSET, RECIPE = "stage:", "asset:", "recipe:"


@dataclass(frozen=True, slots=True)
class StageOutput:
    """`stage:NAME[/OUTPUT]`.

    Attributes:
        stage: Name of the stage.
        output: Name of its output; empty for its first.
    """

    stage: str
    output: str

    @classmethod
    def parse(cls, text: str) -> "StageOutput | None":
        """Return what a reference names if it names a stage's output, also behind `trim:`; else None."""
        body = without_way(text)
        if not body.startswith(STAGE):
            return None
        name, _, output = body.removeprefix(STAGE).partition("/")
        return cls(name, output)


def without_way(text: str) -> str:
    """Return what a tokenizer's reference names behind `trim:`; other texts as they are."""
    return text.removeprefix("trim:")


def references_of(settings: type[StageSettings]) -> dict[str, Reference]:
    """Return which fields of a stage's settings name something to read.

    Args:
        settings: The settings' class.

    Returns:
        Field to what it names.
    """
    found = {}
    for name, info in settings.model_fields.items():
        marks = [
            mark for mark in (*info.metadata, *_inner_marks(info.annotation)) if isinstance(mark, Reference)
        ]
        if marks:
            found[name] = marks[0]
    return found


def _inner_marks(annotation: Any) -> Iterator[Any]:
    """Go through what `Annotated` carries inside tuples, mappings and unions."""
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _inner_marks(part)


def is_mapping_field(settings: type[StageSettings], name: str) -> bool:
    """Whether a field of settings is a mapping of names to references."""
    return "dict[" in str(settings.model_fields[name].annotation)


def is_list_field(settings: type[StageSettings], name: str) -> bool:
    """Whether a field of settings takes several references."""
    return "tuple[" in str(settings.model_fields[name].annotation)


def each_text(value: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Go through the references in a field's value, with where each stands in it.

    Args:
        value: None, a text or path, a list, or a mapping of these.
        keys: Where the value stands.

    Yields:
        Where, and the reference.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from each_text(item, (*keys, key))
    elif isinstance(value, str | Path):
        yield keys, str(value)
    elif isinstance(value, Sequence):
        for place, item in enumerate(value):
            yield from each_text(item, (*keys, place))


def replace_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """Return a field's value with each reference in it changed.

    Args:
        value: As for `each_text`.
        change: Gives the new reference.

    Returns:
        A value of the same shape.
    """
    if isinstance(value, Mapping):
        return {key: replace_texts(item, change) for key, item in value.items()}
    if isinstance(value, str | Path):
        return change(str(value))
    if isinstance(value, Sequence):
        return tuple(replace_texts(item, change) for item in value)
    return value


def with_home(text: str) -> str:
    """Return a reference with `~` at its beginning, or behind `trim:`, made the home directory, as no shell reads YAML.

    Args:
        text: The reference.

    Returns:
        The same, or with the directory's path.
    """
    body = without_way(text)
    way = text.removesuffix(body)
    return f"{way}{Path(body).expanduser()}" if body.startswith("~") else text


_TRAINED = ("train:unigram", "train:bpe")
_HOLDS: Mapping[Role, str] = {"text": "text", "pairs": "paired items", "lexicon": "word pairs"}


def named_file(text: str) -> Path | None:
    """Return the file or directory that a plain reference names on this machine, if there is one."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except OSError:  # too long for a name, say
        return None


def asset_file_fault(text: str) -> tuple[str, str, str] | None:
    """Say what is wrong with `asset:NAME/FILE`.

    Args:
        text: The reference.

    Returns:
        Found, expected and remedy, or None where it is right as far as can be seen without fetching.
    """
    name, slash, file = text.removeprefix(ASSET).partition("/")
    if not slash or not file:
        return f"{text!r}", "asset:NAME/FILE", "name a file of the asset, such as train.txt"
    if not is_asset_name(name):
        near = difflib.get_close_matches(name, [asset.name for asset in list_assets()], n=1)
        remedy = f"did you mean {near[0]}?" if near else "check the spelling"
        return f"no asset {name!r}", "a name of `lingraft assets list`", remedy
    directory = find_asset(name)
    if directory is not None and not (directory / file).exists():
        files = sorted(item.name for item in directory.iterdir() if not item.name.startswith("."))
        return f"asset {name} has no {file}", f"one of {', '.join(files)}", "correct it"
    return None


def plain_fault(text: str, role: Role) -> tuple[str, str, str] | None:
    """Say what is wrong with a reference that is neither `stage:`, `recipe:` nor `asset:`.

    Args:
        text: The reference.
        role: What it should name.

    Returns:
        Found, expected and remedy, or None where it is right as far as can be seen without a network.
    """
    body = without_way(text) if role == "tokenizer" else text
    file = named_file(body)
    if file is not None:
        empty = file.is_file() and file.stat().st_size == 0
        what = _HOLDS.get(role, "something")
        return (f"{body} is empty", f"a file of {what}", "check the path, or fill it") if empty else None
    if role == "tokenizer" and text.startswith("train:") and text not in _TRAINED:
        return f"{text!r}", f"one of {', '.join(_TRAINED)}", "name one of them"
    if role in {"model", "tokenizer"}:
        if (
            (role == "tokenizer" and text.startswith("train:"))
            or is_asset_name(body)
            or looks_like_hub_id(body)
        ):
            return None
        expected = "a checkpoint directory, a .gguf file, a hub id (owner/name) or an asset's name"
        return f"no model {body!r}", expected, "check the spelling; `lingraft assets list` shows the assets"
    named = body.startswith(DATASET_PREFIX) or (role in {"lexicon", "file", "pairs"} and is_asset_name(body))
    if named or (role == "text" and _matches_some(body)):
        return None
    what = _HOLDS.get(role, "the field's kind")
    return f"no file {body!r}", f"a file of {what}", "check the path, which counts from where you are"


def _matches_some(pattern: str) -> bool:
    """Whether a glob pattern matches a file."""
    if not any(character in pattern for character in "*?["):
        return False
    path = Path(pattern).expanduser()
    relative = str(path.relative_to(path.anchor))
    return next(Path(path.anchor).glob(relative), None) is not None
