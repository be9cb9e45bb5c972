"""Data sets by name: `hf:NAME[:CONFIG[:SPLIT]]` wherever a file of rows may stand.

NAME is one of the hub, a directory that `save_to_disk` of the `datasets` library wrote, or a directory of data files
that it reads. The split is "train" unless named, or the only one. No code of a data set is run.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lingraft.errors import CorpusError, MissingExtraError
from lingraft.files import sha256_of

PREFIX = "hf:"


def is_dataset(reference: str | Path) -> bool:
    """Return whether a reference names a data set, not a file."""
    return str(reference).startswith(PREFIX)


def dataset_rows(reference: str | Path) -> Iterator[dict[str, Any]]:
    """Stream the rows of a data set; the only function that opens one.

    Args:
        reference: `hf:NAME`, `hf:NAME:CONFIG` or `hf:NAME:CONFIG:SPLIT`.

    Yields:
        dict: Column to value; what a row leaves out is None.

    Raises:
        CorpusError: There is no such data set or split, or the hub is out of reach.
        MissingExtraError: The library is not installed.
    """
    name = str(reference).removeprefix(PREFIX)
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "train", f"reading the data set {name}") from error
    try:
        for row in _open(datasets, *_parts(name)):
            yield dict(row)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise CorpusError(
            f"the data set {name!r} cannot be loaded ({type(error).__name__}: {lines[0][:160]})",
            "hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT of a data set on the hub or in a directory",
            "check the name and the network, or give a local file",
        ) from error


def rows_revision(reference: str | Path) -> str:
    """Return what pins a file of rows or a data set: the sha256 of the file, or of the data set's rows as JSON.

    Args:
        reference: A file, or `hf:NAME`, whose rows are read for it.

    Returns:
        Hexadecimal digits.

    Raises:
        CorpusError: The data set cannot be loaded.
        MissingExtraError: The library for it is not installed.
    """
    if not is_dataset(reference):
        return sha256_of(Path(reference))
    digest = hashlib.sha256()
    for row in dataset_rows(reference):
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def dataset_files(reference: str | Path) -> list[Path]:
    """Return the files of a data set in a directory, by which changed rows are known without reading them.

    Args:
        reference: `hf:NAME`, with or without configuration and split.

    Returns:
        All files below the directory, sorted; none where NAME is one of the hub.
    """
    directory = Path(_parts(str(reference).removeprefix(PREFIX))[0]).expanduser()
    return sorted(file for file in directory.rglob("*") if file.is_file()) if directory.is_dir() else []


def _parts(name: str) -> tuple[str, str, str]:
    reference, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    return reference, config, split


def _open(datasets: Any, reference: str, config: str, split: str) -> Any:
    """Return the rows, streamed from the hub or from files, mapped from a saved directory."""
    path = Path(reference).expanduser()
    saved = next(
        (path / mark for mark in ("dataset_dict.json", "state.json") if (path / mark).is_file()), None
    )
    if saved is None:
        # A path with a tilde is no name of the hub.
        place = str(path) if path.is_dir() else reference
        return datasets.load_dataset(place, config or None, split=split or "train", streaming=True)
    whole = datasets.load_from_disk(str(path))
    if saved.name == "state.json":
        return whole
    return whole[split or (next(iter(whole)) if len(whole) == 1 else "train")]
