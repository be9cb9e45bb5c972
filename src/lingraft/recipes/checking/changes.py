"""Put what `--set KEY=VALUE` says in place of what a recipe says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from lingraft.recipes.checking.faults import Fault, unknown_key
from lingraft.recipes.checking.schema import Recipe
from lingraft.recipes.checking.yaml_lines import Keys

TOP = frozenset(Recipe.model_fields)
"""Keys of a recipe; what else a change names is a stage."""


def apply_changes(
    content: Mapping[str, Any], changes: Sequence[str]
) -> tuple[dict[str, Any], dict[Keys, str], list[Fault]]:
    """Put `KEY=VALUE` changes into a recipe's content.

    Args:
        content: What the file says; it is not changed.
        changes: The changes; a value is read as YAML.

    Returns:
        The changed content, which keys were changed by which text, and what is wrong with the changes.
    """
    new: dict[str, Any] = {**content}
    changed: dict[Keys, str] = {}
    faults: list[Fault] = []
    for text in changes:
        dotted, equals, given = text.partition("=")
        keys: Keys = tuple(dotted.strip().split("."))
        if keys[0] not in TOP:
            keys = ("stages", *keys)
        changed[keys] = text
        fault = None if equals and all(keys) else _shape_fault(keys, text)
        if fault is None and keys[0] == "stages":
            fault = _stage_fault(keys, text, new.get("stages"))
        if fault is not None:
            faults.append(fault)
            continue
        try:
            value = yaml.safe_load(given)
        except yaml.YAMLError:
            value = given
        _put(new, keys, value)
    return new, changed, faults


def _shape_fault(keys: Keys, text: str) -> Fault:
    return Fault(keys, f"{text!r}", "STAGE.KEY=VALUE or KEY=VALUE", "for instance pretrain.steps=500")


def _stage_fault(keys: Keys, text: str, stages: Any) -> Fault | None:
    """Say what is wrong with a change of a stage: it is not there, or no key of it is named."""
    names = list(map(str, stages)) if isinstance(stages, Mapping) else []
    if len(keys) < 2 or (keys[1] in names and len(keys) < 3):
        return _shape_fault(keys, text)
    if keys[1] in names:
        return None
    return replace(unknown_key((keys[1],), [*TOP - {"stages", "resolved"}, *names]), keys=keys)


def _put(content: dict[str, Any], keys: Keys, value: Any) -> None:
    """Set a value deep inside, copying the mappings on the way."""
    for key in keys[:-1]:
        inner = content.get(str(key))
        content[str(key)] = {**inner} if isinstance(inner, Mapping) else {}
        content = content[str(key)]
    content[str(keys[-1])] = value
