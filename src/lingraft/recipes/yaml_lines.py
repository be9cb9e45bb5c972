"""YAML read with the line of every value, so that an error can say where it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lingraft.errors import ConfigError

Keys = tuple[str | int, ...]
"""Way from the top of a document to a value: keys of mappings, places in lists."""
LONGEST = 2**20
"""Bytes: a longer file is no recipe."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Where values stand.

    Attributes:
        by_keys: Line of each value, from 1.
    """

    by_keys: Mapping[Keys, int] = field(default_factory=dict)

    def of(self, keys: Keys) -> int | None:
        """Return the line of a value, or of the nearest one around it; None where even the top has none."""
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.by_keys:
                return self.by_keys[keys[:length]]
        return None


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML mapping.

    Attributes:
        content: The values.
        lines: Where they stand.
        repeated: Keys that stand twice, with their second line.
    """

    content: dict[str, Any]
    lines: Lines
    repeated: tuple[tuple[Keys, int], ...] = ()


def read_document(path: Path) -> Document:
    """Read a YAML file that holds one mapping.

    Args:
        path: The file.

    Returns:
        Its values with their lines.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or holds something else; the line is named where there is one.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"recipe {path}: {error.strerror or error}", "a recipe file", "see `lingraft recipes list`"
        ) from error
    if len(raw) > LONGEST:
        raise ConfigError(f"recipe {path} of {len(raw):,} bytes", "a short YAML file", "check the path")
    try:
        return parse_document(raw.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, line {line}: byte {raw[error.start]:#04x} is no UTF-8", "UTF-8 text", "save it as UTF-8"
        ) from error


def parse_document(text: str, name: str) -> Document:
    """Read YAML text that holds one mapping.

    Args:
        text: The text.
        name: What errors call it.

    Returns:
        Its values with their lines.

    Raises:
        ConfigError: It is no YAML, or no mapping.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = (
            getattr(error, "problem", None) or str(error).split("\n", maxsplit=1)[0] or "nested too deep"
        )
        raise ConfigError(f"{name}{where}: {problem}", "YAML", "correct that line") from error
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise ConfigError(
            f"{name} holds {kind}", "a mapping with `model:` and `stages:`", "see `recipes list`"
        )
    found: dict[Keys, int] = {}
    repeated: list[tuple[Keys, int]] = []
    _walk(node, (), found, repeated)
    return Document(content, Lines(found), tuple(repeated))


def _walk(node: Any, keys: Keys, found: dict[Keys, int], repeated: list[tuple[Keys, int]]) -> None:
    """Note the line of a node and of what it holds; of an alias, the first place alone."""
    found.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*keys, str(key.value))
            if key.value in seen:
                repeated.append((inner, key.start_mark.line + 1))
            seen.add(key.value)
            # The key's line, as a block value begins on the next one.
            found.setdefault(inner, key.start_mark.line + 1)
            _walk(value, inner, found, repeated)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _walk(value, (*keys, place), found, repeated)
