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
MOST_VALUES = 100_000
"""Values, with those that aliases repeat: ten short lines of aliases could unfold to thousands of millions."""


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
    return parse_document(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read a recipe as text.

    Args:
        path: The file.

    Returns:
        The text.

    Raises:
        ConfigError: The file cannot be read, is too long for a recipe, or is no UTF-8; the line is named.
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
        return raw.decode("utf-8-sig")
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
    found: dict[Keys, int] = {}
    repeated: list[tuple[Keys, int]] = []
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _require_few_values(node, name)
        if node is not None:
            # Before the values are made, which writes what `<<` merges into the nodes.
            _walk(node, (), found, repeated)
        content = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _no_yaml(error, text, name) from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(content, dict):
        kind = "nothing" if content is None else "a list" if isinstance(content, list) else "a single value"
        raise ConfigError(
            f"{name} holds {kind}",
            "a mapping with `language:`, `model:` and `stages:`",
            "begin with a copy: lingraft recipes copy demo FILE",
        )
    return Document(content, Lines(found), tuple(repeated))


def _no_yaml(error: Exception, text: str, name: str) -> ConfigError:
    """Say where and why a text is no YAML, in a recipe's words where the fault is a common one."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else None
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1
        problem = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        return ConfigError(f"{name}, line {line}: {problem}", "text that can be read", "remove it")
    place = name if line is None else f"{name}, line {line}"
    problem = str(getattr(error, "problem", None) or "")
    if "'\\t'" in problem:
        return ConfigError(f"{place}: a tab", "blanks, as YAML takes no tabs here", "put blanks in its place")
    if "constructor for the tag" in problem:
        tag = problem.split("'")[1].replace("tag:yaml.org,2002:", "!!")
        expected = "plain values, as a recipe makes no objects"
        return ConfigError(f"{place}: the tag {tag}", expected, "write the value without it")
    if problem == "but found another document":
        return ConfigError(f"{place}: a second document", "one", "remove `---` and what follows")
    if isinstance(error, RecursionError):
        return ConfigError(f"{name}: lists within lists without end", "a recipe", "correct it")
    began = getattr(error, "context_mark", None)
    context = getattr(error, "context", None)
    since = f" {context} of line {began.line + 1}:" if began and context else ""
    told = problem or str(error).split("\n", maxsplit=1)[0]
    return ConfigError(
        f"{place}:{since} {told}", "YAML", "correct that line, or close what was opened before it"
    )


def _require_few_values(top: Any, name: str) -> None:
    """Refuse aliases that unfold to very much, or to themselves, before anything follows them."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any) -> int:
        if id(node) in open_nodes:
            raise ConfigError(
                f"{name}, line {node.start_mark.line + 1}: an alias of what it stands in",
                "aliases of values that are complete",
                "write the value out",
            )
        if id(node) not in sizes:
            open_nodes.add(id(node))
            inner = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] = 1 + sum(size(part) for part in parts)
            open_nodes.remove(id(node))
        if sizes[id(node)] > MOST_VALUES:
            raise ConfigError(
                f"{name}, line {node.start_mark.line + 1}: more than {MOST_VALUES:,} values, aliases unfolded",
                "a recipe",
                "remove the aliases",
            )
        return sizes[id(node)]

    if top is not None:
        size(top)


def _walk(node: Any, keys: Keys, found: dict[Keys, int], repeated: list[tuple[Keys, int]]) -> None:
    """Note the line of a node and of what it holds; of an alias, the first place alone."""
    found.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            inner = (*keys, name)
            if name in seen:
                repeated.append((inner, key.start_mark.line + 1))
            seen.add(name)
            # The key's line, as a block value begins on the next one.
            found.setdefault(inner, key.start_mark.line + 1)
            _walk(value, inner, found, repeated)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _walk(value, (*keys, place), found, repeated)
