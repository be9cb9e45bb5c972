"""Paths of this machine in what others read: of each, the last part alone."""

import os
import re
import shlex

_ROOTED = re.compile(r"/[^/\s]+/|~[\w.-]*/|\.{1,2}/|[A-Za-z]:[\\/]|\\\\")
"""What no hub id and no asset's name begins with: a path from the root, the home directory or where one stands."""
_KIND = re.compile(r"(?!asset:)[A-Za-z][\w-]+:(?!//)")
"""What stands before the path in `parallel:FILE`, but no drive and no address."""


def path_name(reference: str) -> str:
    """Return what a reference is called without the directories it lies in.

    Hub ids, asset names, addresses and any other text stay whole; as where references are resolved, a path that
    exists wins over a hub id.

    Args:
        reference: A path, `KIND:PATH`, or something else.

    Returns:
        The last part of a path of this machine, with the kind before it; else the same.
    """
    kind = _KIND.match(reference)
    if kind is not None:
        return kind[0] + path_name(reference[kind.end() :])
    plain = reference.rstrip("/\\")
    rooted = _ROOTED.match(reference) is not None and "\n" not in reference
    if not rooted and not (re.search(r"[/\\]", reference) and os.path.lexists(reference)):
        return reference
    return re.split(r"[/\\]", plain)[-1]


def command_names(command: str) -> str:
    """Return a command with each path in it cut to its last part, behind an equals sign too.

    Args:
        command: Quoted for a POSIX shell.

    Returns:
        The same command, quoted again.
    """
    return shlex.join(_word_name(word) for word in shlex.split(command))


def _word_name(word: str) -> str:
    name, equals, value = word.partition("=")
    whole = path_name(word)
    return whole if whole != word or not equals else f"{name}={path_name(value)}"
