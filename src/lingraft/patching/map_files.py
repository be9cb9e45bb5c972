"""A sweep's tables, read back: map.parquet, vanilla.parquet, donors.parquet."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError
from lingraft.patching.maps import Answers, LayerMaps

COLUMNS = (
    "instance",
    "language",
    "site",
    "donor",
    "donor_layer",
    "receiver_layer",
    "token_id",
    "text",
    "choice",
    "score",
    "margin",
    "entropy",
    "correct",
)


def map_keys(path: Path) -> list[tuple[str, int]]:
    """List what a file holds maps of.

    Args:
        path: `map.parquet`.

    Returns:
        Sites and donors, in rising order.

    Raises:
        ConfigError: It is missing, no such table, or empty.
    """
    table = _read(path)
    return sorted(set(zip(table["site"].to_pylist(), table["donor"].to_pylist(), strict=True)))


def read_maps(path: Path, *, site: str | None = None, donor: int | None = None) -> LayerMaps:
    """Read the maps of one site and donor.

    Args:
        path: `map.parquet`, of a run or of a control run.
        site: Which site; None if there is one only.
        donor: Which donor; None if there is one only.

    Returns:
        The maps.

    Raises:
        ConfigError: The file is missing, no such table or empty, has not one map of
            that site and donor, lacks pairs of an instance or holds some twice, or judges some
            of its pairs only.
    """
    table = _read(path)
    held = sorted(set(zip(table["site"].to_pylist(), table["donor"].to_pylist(), strict=True)))
    wanted = [key for key in held if site in {None, key[0]} and donor in {None, key[1]}]
    if len(wanted) != 1:
        raise ConfigError(
            f"{path}: {len(wanted)} maps for site {site or 'any'} and donor {'any' if donor is None else donor}",
            f"one of {', '.join(f'{name} with donor {number}' for name, number in held)}",
            "name the site and the donor",
        )
    site, donor = wanted[0]
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
    kept = (columns["site"] == site) & (columns["donor"] == donor)
    columns = {name: column[kept] for name, column in columns.items()}
    instances = tuple(dict.fromkeys(columns["instance"].tolist()))
    layers = np.stack([columns["receiver_layer"], columns["donor_layer"]], axis=1).astype(np.int64)
    pairs, pair = np.unique(layers, axis=0, return_inverse=True)
    number = {name: place for place, name in enumerate(instances)}
    instance = np.array([number[name] for name in columns["instance"]], dtype=np.int64)
    times = np.zeros((len(instances), len(pairs)), dtype=np.int64)
    np.add.at(times, (instance, pair.reshape(-1)), 1)
    _check_complete(times, instances, path)
    order = np.empty(times.shape, dtype=np.int64)
    order[instance, pair.reshape(-1)] = np.arange(len(instance))
    correct, known = _correctness(columns["correct"][order], instances, path)
    languages = columns["language"][order[:, 0]]
    return LayerMaps(
        site=site,
        donor=donor,
        instances=instances,
        languages=tuple("" if language is None else str(language) for language in languages),
        donor_layers=pairs[:, 1],
        receiver_layers=pairs[:, 0],
        label=answer_labels(columns["choice"], columns["text"], columns["token_id"])[order],
        score=columns["score"][order].astype(np.float32),
        margin=columns["margin"][order].astype(np.float32),
        entropy=columns["entropy"][order].astype(np.float32),
        correct=correct,
        known=known,
    )


def read_answers(path: Path, *, donor: int | None = None) -> Answers:
    """Read unpatched answers.

    Args:
        path: `vanilla.parquet` or `donors.parquet`.
        donor: Which donor's; None if there is one row an instance.

    Returns:
        The answers.

    Raises:
        ConfigError: The file is missing, no such table or empty, has not this donor, or an instance twice.
    """
    table = _read(path)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
    if donor is not None:
        columns = {name: column[columns["donor"] == donor] for name, column in columns.items()}
    instances = tuple(columns["instance"].tolist())
    if not instances or len(set(instances)) != len(instances):
        found = "an instance with several rows" if instances else f"no row of donor {donor}"
        raise ConfigError(f"{path}: {found}", "one row an instance", "name another donor")
    correct, known = _correctness(columns["correct"][:, None], instances, path)
    return Answers(
        instances,
        tuple("" if language is None else str(language) for language in columns["language"]),
        answer_labels(columns["choice"], columns["text"], columns["token_id"]),
        correct[:, 0],
        known,
        columns["score"].astype(np.float32),
    )


def answer_labels(choice: ArrayLike, text: ArrayLike, token_id: ArrayLike) -> NDArray[np.int64]:
    """Number answers so that equal answers have equal numbers (our choice).

    Args:
        choice: `[n]`, the option chosen; -1 or None without options.
        text: `[n]`, what was generated, or None; equal up to case and white space is equal.
        token_id: `[n]`, the first token, or None.

    Returns:
        `[n]`: the option, else a hash of the text, else the token, else -1.
    """
    hashes: dict[str, int] = {}
    labels = []
    for option, words, token in zip(
        *(np.asarray(part).tolist() for part in (choice, text, token_id)), strict=True
    ):
        if not _null(option) and option >= 0:
            labels.append(int(option))
        elif words is not None:
            if words not in hashes:
                plain = " ".join(words.split()).casefold().encode()
                hashes[words] = int.from_bytes(hashlib.sha256(plain).digest()[:8], "little") >> 1
            labels.append(hashes[words])
        else:
            labels.append(-1 if _null(token) else int(token))
    return np.array(labels, dtype=np.int64)


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: {reason}", "a sweep's parquet table", "check the path") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing or not table.num_rows:
        found = f"no column {', '.join(missing)}" if missing else "no row"
        raise ConfigError(f"{path}: {found}", "a sweep's table", "name a file that a sweep wrote")
    return table


def _check_complete(times: NDArray[np.int64], instances: Sequence[str], path: Path) -> None:
    wrong = np.nonzero((times != 1).any(axis=1))[0]
    if len(wrong):
        row = times[wrong[0]]
        missing, twice = int((row == 0).sum()), int((row > 1).sum())
        raise ConfigError(
            f"{path}: {len(wrong)} of {len(instances)} instances are incomplete; {instances[wrong[0]]!r} lacks "
            f"{missing} of {len(row)} layer pairs and has {twice} more than once",
            "every pair of every instance once",
            "run the sweep again, it continues where it stopped",
        )


def _correctness(
    values: NDArray[Any], instances: Sequence[str], path: Path
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    there = np.array([[not _null(value) for value in row] for row in values], dtype=bool)
    mixed = np.nonzero(there.any(axis=1) & ~there.all(axis=1))[0]
    if len(mixed):
        raise ConfigError(
            f"{path}: {instances[mixed[0]]!r} is judged for some layer pairs only",
            "all or none of an instance's pairs judged",
            "run the sweep again",
        )
    known: NDArray[np.bool_] = np.asarray(there.all(axis=1))
    return np.where(there, values, False).astype(np.bool_), known


def _null(value: Any) -> bool:
    """Whether a cell is empty: numeric columns with empty cells become floats with NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
