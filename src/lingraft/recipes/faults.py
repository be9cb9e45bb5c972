"""What is wrong with a recipe: every fault with its line, all told at once."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lingraft.errors import ConfigError
from lingraft.recipes.yaml_lines import Keys

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
    detail = _EXPECTED.get(kind) or _sentence(error["msg"])
    if kind == "literal_error":
        detail = str(error["ctx"]["expected"]).replace("'", "")
    return Fault(keys, f"{name}: {shown(given)}", detail, "correct it")


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
