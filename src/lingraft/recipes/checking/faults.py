"""What is wrong with a recipe: every fault with its line, all told at once."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from lingraft.errors import ConfigError
from lingraft.recipes.checking.yaml_lines import Keys
from lingraft.recipes.stages.contract import SettingRefusedError

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "tuple_type": "a list",
    "list_type": "a list",
    "finite_number": "a finite number",
}
"""Kinds of pydantic's errors, in a recipe's words."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        keys: Where, from the top of the recipe.
        found: What stands there.
        expected: What would have been right.
        remedy: What to do.
        line: Where, if that is not where the keys first stand.
    """

    keys: Keys
    found: str
    expected: str
    remedy: str
    line: int | None = None


class RecipeError(ConfigError):
    """A recipe with faults; its message is all of them, `lines` has one each.

    Args:
        lines: What is wrong, one line a fault.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        count = f"{len(self.lines)} faults in the recipe: " if len(self.lines) > 1 else ""
        super().__init__(count + " | ".join(self.lines), "a valid recipe", "correct it and run it again")

    def __str__(self) -> str:
        """Return the faults without the family's frame, as each says itself what was expected."""
        return self.found

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way between processes."""
        return type(self), (self.lines,)


def settings_faults(
    errors: Iterable[Mapping[str, Any]], known: Mapping[Keys, Sequence[str]], under: Keys = ()
) -> list[Fault]:
    """Turn pydantic's errors into faults.

    Args:
        errors: Of a ValidationError's `errors()`.
        known: The keys that a mapping may have, by where it stands below `under`.
        under: Where the validated mapping stands.

    Returns:
        A fault for each; the members of a union that failed together are one.
    """
    faults: dict[Keys, Fault] = {}
    for error in errors:
        inside = tuple(part for part in error["loc"] if not _is_union_part(part))
        keys = (*under, *inside)
        faults.setdefault(keys, _fault(error, keys, inside, known))
    return list(faults.values())


def _is_union_part(part: Any) -> bool:
    """Whether a part of pydantic's location names a member of a union instead of a key."""
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part)


def _fault(error: Mapping[str, Any], keys: Keys, inside: Keys, known: Mapping[Keys, Sequence[str]]) -> Fault:
    name = ".".join(map(str, keys)) or "the recipe"
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return Fault(keys[:-1], f"no {name}", f"a value for {keys[-1]!r}", f"add `{keys[-1]}:`")
    if kind == "extra_forbidden":
        names = known.get(inside[:-1], ())
        return unknown_key(keys, names)
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, SettingRefusedError):
        return Fault(keys, f"{name}: {shown(given)}", cause.error.expected, cause.error.remedy)
    if kind == "value_error" and isinstance(given, Mapping):
        return _misfit(_sentence(error["msg"]), given, keys)
    detail = _EXPECTED.get(kind) or _sentence(error["msg"])
    if kind == "literal_error":
        detail = str(error["ctx"]["expected"]).replace("'", "")
    return Fault(keys, f"{name}: {shown(given)}", detail, "correct it")


def _misfit(message: str, given: Mapping[str, Any], keys: Keys) -> Fault:
    """Say what does not fit together in a mapping, at the first of its keys that the message names."""
    named = next((word for word in re.findall(r"\w+", message) if word in given), None)
    # `FOUND: REMEDY`, but not within quoted settings.
    parts = re.split(r": (?=(?:[^`]*`[^`]*`)*[^`]*$)", message, maxsplit=1)
    remedy = parts[1] if len(parts) > 1 else "correct it"
    where = (*keys, named) if named is not None else keys
    return Fault(where, f"{'.'.join(map(str, keys))}: {parts[0]}", "settings that fit together", remedy)


def yes_for_numbers(model: type[BaseModel], given: Mapping[str, Any], under: Keys = ()) -> Iterator[Fault]:
    """Go through the numbers that stand as `yes` or `true`, which pydantic would take for 1.

    Args:
        model: What the mapping should hold.
        given: The mapping.
        under: Where it stands.

    Yields:
        A fault for each.
    """
    for key, value in given.items():
        if not isinstance(value, bool) or key not in model.model_fields:
            continue
        types = {kind for kind in (int, float, bool, str) if _takes(model.model_fields[key].annotation, kind)}
        if types & {int, float} and bool not in types:
            keys = (*under, key)
            yield Fault(keys, f"{'.'.join(map(str, keys))}: {str(value).lower()}", "a number", "correct it")


def _takes(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_takes(part, kind) for part in get_args(annotation))


def unknown_key(keys: Keys, names: Sequence[str]) -> Fault:
    """Say that a key is not known, and which was perhaps meant.

    Args:
        keys: Where it stands.
        names: What could stand there.

    Returns:
        The fault.
    """
    near = difflib.get_close_matches(str(keys[-1]), names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "remove it"
    where = ".".join(map(str, keys[:-1])) or "the recipe"
    listed = ", ".join(sorted(names)[:40])
    return Fault(keys, f"unknown key {keys[-1]!r} in {where}", f"one of {listed}", remedy)


def shown(value: Any) -> str:
    """Return a short form of a value, for an error."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(message: str) -> str:
    """Return pydantic's message in the house's form."""
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    for prefix in ("Input should be ", "String should have ", "Dictionary should have "):
        text = text.removeprefix(prefix)
    return text[:1].lower() + text[1:] if not text[:2].isupper() else text
