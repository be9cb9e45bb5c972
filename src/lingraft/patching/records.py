"""A sweep's files: one for each finished instance, and the tables that are made of them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lingraft.errors import ConfigError
from lingraft.files import replacing
from lingraft.patching.instances import Instance
from lingraft.patching.scoring import Scored
from lingraft.patching.sweep import InstanceMap

MAP_FILE, VANILLA_FILE, DONORS_FILE, SAMPLES_FILE = (
    "map.parquet",
    "vanilla.parquet",
    "donors.parquet",
    "samples.parquet",
)
INSTANCES = "instances"
"""Directory of the finished instances' own files; each is whole or not there, so a killed sweep continues."""

ANSWER_SCHEMA = pa.schema(
    [
        ("instance", pa.string()),
        ("language", pa.string()),
        ("site", pa.string()),
        ("donor", pa.int32()),
        ("donor_layer", pa.int32()),
        ("receiver_layer", pa.int32()),
        ("token_id", pa.int64()),
        ("text", pa.string()),
        ("choice", pa.int32()),
        ("score", pa.float32()),
        ("margin", pa.float32()),
        ("entropy", pa.float32()),
        ("correct", pa.bool_()),
    ]
)
"""One row an answer. Unpatched answers have no site and no layers; layers and donors count from 0, donor -1 is the
mean of all. `text` is what was generated, `choice` the option's number (-1 without options), the others as in
`Scored`; `correct` is empty where no answer is known."""
SAMPLE_SCHEMA = pa.schema([("instance", pa.string()), ("sample", pa.int32()), ("correct", pa.bool_())])

MAP, VANILLA, DONOR, SAMPLE = "map", "vanilla", "donor", "sample"
_KIND = pa.field("kind", pa.string())
_PART = pa.schema([_KIND, *ANSWER_SCHEMA, pa.field("sample", pa.int32())])
_FILES = {
    MAP_FILE: (MAP, ANSWER_SCHEMA),
    VANILLA_FILE: (VANILLA, ANSWER_SCHEMA),
    DONORS_FILE: (DONOR, ANSWER_SCHEMA),
    SAMPLES_FILE: (SAMPLE, SAMPLE_SCHEMA),
}


def instance_file(directory: Path, number: int) -> Path:
    """Where the answers of one instance are kept.

    Args:
        directory: The run directory.
        number: The instance's place in the file of pairs, from 0.

    Returns:
        The path.
    """
    return directory / INSTANCES / f"{number:06d}.parquet"


def finished_instances(directory: Path, total: int) -> list[int]:
    """Which instances are done.

    Args:
        directory: The run directory.
        total: How many there are.

    Returns:
        Their numbers, rising.
    """
    return [number for number in range(total) if instance_file(directory, number).exists()]


def write_instance(
    directory: Path, number: int, found: InstanceMap, instance: Instance, sites: Sequence[str], seconds: float
) -> None:
    """Keep one instance's answers.

    Args:
        directory: The run directory.
        number: Its place in the file of pairs.
        found: Its map.
        instance: What was asked.
        sites: Names of what `found.pairs.site` counts.
        seconds: What it took.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    pairs = found.pairs
    shared = {"instance": instance.id, "language": instance.language}
    places = {
        "site": [sites[site] for site in pairs.site],
        "donor": pairs.donor,
        "donor_layer": pairs.donor_layer,
        "receiver_layer": pairs.receiver_layer,
    }
    tables = [
        _answers(found.rows, {"kind": MAP, **shared}, places),
        _answers(found.vanilla, {"kind": VANILLA, **shared}, {}),
        _answers(found.donors, {"kind": DONOR, **shared}, {"donor": np.arange(len(found.donors.token_id))}),
    ]
    if found.samples is not None:
        drawn = {"sample": np.arange(len(found.samples)), "correct": found.samples}
        tables.append(_table(len(found.samples), {"kind": SAMPLE, **shared}, drawn))
    table = pa.concat_tables(tables).replace_schema_metadata({"seconds": f"{seconds:.6f}"})
    with replacing(instance_file(directory, number)) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def merge_instances(directory: Path, total: int) -> float:
    """Make the tables of a whole sweep from its instances' files, in the order of the pairs.

    Args:
        directory: The run directory, with every instance finished.
        total: How many there are.

    Returns:
        Seconds that the instances took together.

    Raises:
        ConfigError: An instance's file is unreadable.
        OutputError: The disk is full, or the directory cannot be written.
    """
    seconds, rows = 0.0, dict.fromkeys(_FILES, 0)
    with contextlib.ExitStack() as stack:
        # The writers are closed, at the end of the stack, before the files under them take their places.
        temporary = {name: stack.enter_context(replacing(directory / name)) for name in _FILES}
        writers = {
            name: stack.enter_context(pq.ParquetWriter(temporary[name], schema))
            for name, (_, schema) in _FILES.items()
        }
        for table, took in _parts(directory, total):
            seconds += took
            for name, (kind, schema) in _FILES.items():
                part = table.filter(pc.equal(table["kind"], kind)).select(schema.names)
                rows[name] += part.num_rows
                if part.num_rows:
                    writers[name].write_table(part.cast(schema))
    for name, count in rows.items():
        if not count:
            (directory / name).unlink()
    return seconds


def _parts(directory: Path, total: int) -> Iterator[tuple[pa.Table, float]]:
    for number in range(total):
        file = instance_file(directory, number)
        try:
            table = pq.read_table(file)
        except pa.ArrowMemoryError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(
                f"{file}: {str(error).splitlines()[0]}",
                "the answers of an instance",
                "delete that file and run the same command again",
            ) from error
        yield table, float((table.schema.metadata or {}).get(b"seconds", b"0"))


def _answers(scored: Scored, shared: Mapping[str, str], places: Mapping[str, Any]) -> pa.Table:
    columns = {
        "token_id": scored.token_id,
        "text": scored.text,
        "choice": scored.choice,
        "score": scored.score,
        "margin": scored.margin,
        "entropy": scored.entropy,
        "correct": scored.correct,
    }
    return _table(len(scored.token_id), shared, {**places, **columns})


def _table(rows: int, shared: Mapping[str, str], columns: Mapping[str, Any]) -> pa.Table:
    """A table of the parts' schema; columns that are not given are empty."""
    arrays = []
    for field in _PART:
        if field.name in shared:
            arrays.append(pa.array([shared[field.name]] * rows, field.type))
        elif columns.get(field.name) is None:
            arrays.append(pa.nulls(rows, field.type))
        else:
            arrays.append(pa.array(columns[field.name], field.type, from_pandas=False))
    return pa.Table.from_arrays(arrays, schema=_PART)
