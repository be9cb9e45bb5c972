"""The recipes that come with Lingraft: YAML files whose header says command, hardware and time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lingraft.errors import ConfigError, OutputError
from lingraft.files import write_text
from lingraft.recipes.checking.yaml_lines import read_text

BUILTIN = Path(__file__).parents[1] / "builtin"


@dataclass(frozen=True, slots=True)
class BuiltinRecipe:
    """A recipe that comes with Lingraft.

    Attributes:
        name: What `lingraft run` takes.
        path: Its file.
        about: The first line of its header.
        header: The header's other lines: command, hardware, time.
    """

    name: str
    path: Path
    about: str
    header: Sequence[str]


def list_builtins() -> list[BuiltinRecipe]:
    """Return the built-in recipes, the demo first."""
    paths = sorted(BUILTIN.glob("*.yaml"), key=lambda path: (path.stem != "demo", path.stem))
    return [_read(path) for path in paths]


def _read(path: Path) -> BuiltinRecipe:
    head = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        head.append(line.lstrip("#").strip())
    return BuiltinRecipe(path.stem, path, head[0] if head else "", tuple(head[1:]))


def find_recipe(reference: str) -> Path:
    """Return the file of a recipe.

    Args:
        reference: A path, or the name of a built-in recipe; a path that exists wins.

    Returns:
        The file.

    Raises:
        ConfigError: There is neither.
    """
    path = Path(reference)
    if path.is_file():
        return path
    built_in = BUILTIN / f"{reference}.yaml"
    if re.fullmatch(r"[\w-]+", reference) and built_in.is_file():
        return built_in
    names = ", ".join(recipe.name for recipe in list_builtins())
    found = f"{reference} is a directory" if path.is_dir() else f"no recipe {reference!r}"
    raise ConfigError(found, f"a YAML file, or one of {names}", "see `lingraft recipes list`")


def copy_recipe(reference: str, to: Path) -> Path:
    """Copy a recipe to change it.

    Args:
        reference: A path, or the name of a built-in recipe.
        to: The new file, or a directory to put it into.

    Returns:
        The new file.

    Raises:
        ConfigError: There is no such recipe, or it is no text.
        OutputError: The new file is there already, or cannot be written.
    """
    path = find_recipe(reference)
    place = to / path.name if to.is_dir() else to
    if place.exists():
        raise OutputError(f"{place} exists", "a new file", "give another path, or delete it")
    write_text(place, read_text(path))
    return place
