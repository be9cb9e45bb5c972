"""The recipe reference, made from the schema: for the terminal and for `docs/recipe-reference.md`."""

import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lingraft.errors import ConfigError
from lingraft.recipes.checking.references import references_of
from lingraft.recipes.checking.schema import Recipe, RecipeData, ScaleSettings
from lingraft.recipes.stages.contract import NEWEST_MODEL, Reference, StageKind, StageSettings
from lingraft.recipes.stages.kinds import STAGES

_TYPES: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "",
    tuple: "list",
    list: "list",
    dict: "mapping",
}


def describe_kinds(only: str | None = None) -> list[dict[str, Any]]:
    """Say what kinds of stages there are and what each may say.

    Args:
        only: One kind; None for all.

    Returns:
        A JSON-able mapping for each: `kind`, `about`, `outputs`, `fields`.

    Raises:
        ConfigError: There is no such kind.
    """
    if only is not None and only not in STAGES:
        raise ConfigError(f"no kind of stage {only!r}", f"one of {', '.join(STAGES)}", "name one of them")
    names = list(STAGES) if only is None else [only]
    return [_describe(name, STAGES[name]) for name in names]


def _describe(name: str, kind: StageKind) -> dict[str, Any]:
    marks = references_of(kind.settings)
    common = set(StageSettings.model_fields)
    own = {field: info for field, info in kind.settings.model_fields.items() if field not in common}
    return {
        "kind": name,
        "about": kind.about,
        "outputs": dict(kind.outputs),
        "fields": [_field(field, info, marks.get(field)) for field, info in own.items()],
    }


def _field(name: str, info: FieldInfo, mark: Reference | None) -> dict[str, Any]:
    return {
        "name": name,
        "type": "reference" if mark is not None else _type(info.annotation),
        "default": _default(info, mark),
        "about": " ".join((info.description or "").split()),
    }


def _type(annotation: Any) -> str:
    """Say in words what a field takes."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(filter(None, map(_type, parts))))
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is Annotated:
        return _type(parts[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _TYPES.get(origin or annotation, str(getattr(annotation, "__name__", annotation)))


def _default(info: FieldInfo, mark: Reference | None) -> str:
    if mark is not None and mark.default is not None and info.default in {None, ()}:
        return "the newest model" if mark.default == NEWEST_MODEL else f"`data.{mark.default}`"
    value = info.default_factory() if info.default_factory is not None else info.default  # type: ignore[call-arg]
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return ""
    if value is None or value in ((), "", {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def kind_lines(described: Sequence[Mapping[str, Any]], *, full: bool) -> list[str]:
    """Say it to a person.

    Args:
        described: Of `describe_kinds`.
        full: With all fields.

    Returns:
        Lines.
    """
    lines: list[str] = []
    for kind in described:
        makes = f" (makes {', '.join(kind['outputs'])})" if kind["outputs"] else ""
        lines.append(f"{kind['kind']}: {kind['about']}{makes}")
        if full:
            for field in kind["fields"]:
                default = f" [{field['default'].replace('`', '')}]" if field["default"] else ""
                lines.append(f"  {field['name']}: {field['type'].replace('`', '')}{default}")
                lines.append(f"      {field['about']}")
    return lines if full else [*lines, "one kind with all its fields: lingraft recipes kinds KIND"]


def reference_markdown() -> str:
    """Return the recipe reference as a page for `docs/`."""
    parts = [_HEAD]
    parts += ["## A recipe", "", *_table(_fields(Recipe, without={"resolved"})), ""]
    parts += ["## `data`", "", *_table(_fields(RecipeData)), ""]
    parts += ["## `scale`", "", *_table(_fields(ScaleSettings)), ""]
    parts += ["## Stages", "", "Every stage may also say:", "", *_table(_fields(StageSettings)), ""]
    for kind in describe_kinds():
        outputs = ", ".join(f"`{name}` ({role})" for name, role in kind["outputs"].items())
        parts += [f"### `{kind['kind']}`", "", kind["about"], ""]
        if outputs:
            parts += [f"Makes: {outputs}.", ""]
        parts += [*_table(kind["fields"]), ""]
    return "\n".join(parts).rstrip() + "\n"


_HEAD = """# Recipe reference

Made from the schema by `python -m lingraft.recipes.checking.reference_page`; `lingraft recipes kinds KIND` prints the
same.

A *reference* is what the command line takes (a path, a hub id, an asset's name, `hf:NAME` for a data set), or

- `stage:NAME` or `stage:NAME/OUTPUT`: what an earlier stage made,
- `asset:NAME/FILE`: a file of a catalogued asset, fetched when it is missing,
- `recipe:FIELD`: a field of `data`, or `recipe:model`.

A stage that leaves a reference out takes its default: a field of `data`, or the newest model that an earlier stage made
(`model` of the recipe before any did). Where `data` has no `pairs`, `held_out_pairs` or `words`, an earlier stage's
output of that name (`pairs`, `heldout`, `words`) stands for them. Paths count from where the command is typed.
"""


def _fields(model: type[BaseModel], without: set[str] = frozenset()) -> list[dict[str, Any]]:  # type: ignore[assignment]
    return [_field(name, info, None) for name, info in model.model_fields.items() if name not in without]


def _table(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"| `{field['name']}` | {field['type']} | {field['default']} | {re.sub(r'[|]', '/', field['about'])} |"
        for field in fields
    ]
    return ["| key | takes | default | |", "|---|---|---|---|", *rows]


if __name__ == "__main__":
    print(reference_markdown(), end="")
