"""What a command's input files hold, so that a run is known again by more than their names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingraft.files import CONTENT_OF, fingerprint, sha256_of

REFERENCES = (
    "model",
    "tokenizer",
    "donor",
    "corpus",
    "held_out",
    "english",
    "lexicon",
    "source_words",
    "auxiliary",
    "pairs",
)
"""Options whose values may name files; a directory that happens to be called `salt` is no input."""
READ_WHOLE = 2**26
"""Bytes: larger files are told apart by size and time of change, as hashing them would delay every start."""


def with_contents(options: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a command's options what the files that they name hold.

    Hub ids and catalogued names have no entry: they carry revisions of their own.

    Args:
        options: Option to value; one of `REFERENCES` that names an existing file or directory, alone or after a prefix
            such as `trim:` or `words:`, gets an entry.

    Returns:
        The options, with `content of OPTION` after them.
    """
    contents = {}
    for name in REFERENCES:
        value = options.get(name)
        if isinstance(value, str | Path) and (path := _named_path(name, str(value))) is not None:
            contents[f"{CONTENT_OF}{name}"] = content_of(path)
    return {**options, **contents}


def _named_path(name: str, value: str) -> Path | None:
    """Return the file or directory that a value names, if there is one."""
    after_prefix = value.partition(":")[2]
    # `--auxiliary donor` is a word, whatever directories there are.
    without_split = after_prefix.partition(":")[0]
    for candidate in (after_prefix,) if name == "auxiliary" else (value, after_prefix, without_split):
        try:
            if candidate and (path := Path(candidate).expanduser()).exists():
                return path
        except OSError:  # too long for a name, say
            continue
    return None


def content_of(path: Path) -> str:
    """Return a fingerprint of what a file holds, or of the files in a directory, not below it.

    Args:
        path: The file or directory.

    Returns:
        A short hash.
    """
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    return fingerprint({file.name: _mark(file) for file in files})


def _mark(file: Path) -> str:
    status = file.stat()
    if status.st_size > READ_WHOLE:
        return f"{status.st_size} bytes of {status.st_mtime_ns}"
    return sha256_of(file)
