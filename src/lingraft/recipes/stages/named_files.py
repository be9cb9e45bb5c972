"""Settings that name files without being references: templates, `KIND:FILE`, functions of the user's own."""

import importlib.util
from collections.abc import Sequence
from typing import Any

from lingraft.recipes.stages.contract import NamesFiles, StageSettings


def itself(*names: str) -> NamesFiles:
    """Mark a field that is a path, or one of some names.

    Args:
        *names: Values that are no path, whatever files are called so.

    Returns:
        The mark.
    """
    return NamesFiles(lambda value: () if value in names else (str(value),))


def behind(*kinds: str) -> NamesFiles:
    """Mark a field that is `KIND:WHAT`, where WHAT is a path for some kinds.

    Args:
        *kinds: These kinds.

    Returns:
        The mark.
    """

    def find(value: Any) -> Sequence[str]:
        kind, _, what = str(value).partition(":")
        return (what,) if what and kind in kinds else ()

    return NamesFiles(find)


def source_file() -> NamesFiles:
    """Mark a field that is a name or `module:function`; of the module its own file counts, not what it imports.

    Returns:
        The mark.
    """
    return NamesFiles(_source_of)


def _source_of(value: Any) -> Sequence[str]:
    module, colon, _ = str(value).partition(":")
    try:
        found = importlib.util.find_spec(module) if colon else None
    except (
        ImportError,
        AttributeError,
        ValueError,
    ):  # a parent that is no package, or a module that was typed in
        return ()
    return (found.origin,) if found is not None and found.has_location and found.origin else ()


def named_files(settings: StageSettings) -> dict[str, tuple[str, ...]]:
    """Return what a stage's settings name besides their references.

    Args:
        settings: The settings.

    Returns:
        Field to files, directories, glob patterns and data sets, which need not be there.
    """
    found = {}
    for field, info in type(settings).model_fields.items():
        value = getattr(settings, field)
        marks = [mark for mark in info.metadata if isinstance(mark, NamesFiles)]
        if marks and value is not None:
            found[field] = tuple(marks[0].find(value))
    return found
