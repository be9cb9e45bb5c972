"""Chosen documents as shards of JSON lines, which any trainer reads, each with the reason for its choice."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save

from lingraft.corpora.partials import partial_file
from lingraft.corpora.records import BadRecord, Record
from lingraft.corpora.shards import require_unchanged
from lingraft.files import fingerprint, replacing, replacing_directory
from lingraft.pivots.discovery_tokens import Tokens
from lingraft.pivots.packed_languages import unpack_language
from lingraft.pivots.selection import Chosen
from lingraft.pivots.selection_passes import TOGETHER, Reading, ShardPlace, shard_records
from lingraft.workers import run_tasks

OUTPUT_BYTES = 2**28
"""Text in an output shard."""
SETS, PARTS = "sets.safetensors", "parts-"
_FIELDS = tuple(field.name for field in fields(Chosen))
PIVOTS_NAMED = 20
"""Pivots that a document's reason names, those that it holds most often."""


@dataclass(frozen=True, slots=True)
class WritingJob:
    """What a worker needs to write the chosen documents of a shard.

    Attributes:
        parts: Directory for what each shard gives.
        reading: How the corpus is read.
        tokens: What scores are shares of.
        counter: What cuts a document.
        pivots: The pivot set.
        sets: The sets.
    """

    parts: Path
    reading: Reading
    tokens: Tokens
    counter: Tokens
    pivots: frozenset[str]
    sets: Mapping[str, Chosen]


def write_parts(
    job: WritingJob,
    places: Sequence[ShardPlace],
    *,
    workers: int = 1,
    ray_address: str | None = None,
) -> None:
    """Write what each shard gives to each set; finished parts are kept.

    Args:
        job: What to write.
        places: All shards of the corpus.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here.

    Raises:
        CorpusError: A file vanished or changed.
        OutputError: The disk is full.
        ConfigError: A worker was killed.
    """
    job.parts.mkdir(parents=True, exist_ok=True)
    todo = [place for place in places if not all(_part(job, place, name).exists() for name in job.sets)]
    # The sets go to workers once, as a file, and not with every task.
    with replacing(job.parts / SETS) as temporary:
        temporary.write_bytes(
            save(
                {
                    f"{name}.{field}": getattr(chosen, field)
                    for name, chosen in job.sets.items()
                    for field in _FIELDS
                }
            )
        )
    run_tasks(
        partial(_start, replace(job, sets={}, parts=job.parts.absolute())),
        todo,
        workers=workers,
        ray_address=ray_address,
        description="writing documents",
    )


def parts_name(sets: Mapping[str, Chosen]) -> str:
    """Return a directory name for the parts of these sets and no others."""
    content = {
        name: [fingerprint({"a": array.tolist()}) for array in (chosen.places, chosen.sizes)]
        for name, chosen in sets.items()
    }
    return f"{PARTS}{fingerprint(content)}"


def _part(job: WritingJob, place: ShardPlace, name: str) -> Path:
    return job.parts / f"{partial_file(job.parts, place.shard).stem}.{name}.jsonl"


def _start(job: WritingJob, _number: int) -> Callable[[ShardPlace], None]:
    arrays = load_file(job.parts / SETS)
    names = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    sets = {name: Chosen(**{field: arrays[f"{name}.{field}"] for field in _FIELDS}) for name in names}
    job = replace(job, sets=sets)
    wanted = {
        name: {int(at): rank for rank, at in enumerate(chosen.places.tolist())}
        for name, chosen in job.sets.items()
    }

    def do(place: ShardPlace) -> None:
        require_unchanged(place.shard)
        lines: dict[str, list[str]] = {name: [] for name in job.sets}
        for number, record in _texts(place, job.reading):
            for name, ranks in wanted.items():
                if number in ranks:
                    row = _row(record, place, job, job.sets[name], ranks[number])
                    lines[name].append(json.dumps(row, ensure_ascii=False) + "\n")
        for name, written in lines.items():
            with replacing(_part(job, place, name)) as temporary:
                temporary.write_text("".join(written), encoding="utf-8")

    return do


def _texts(place: ShardPlace, reading: Reading) -> Iterator[tuple[int, Record]]:
    number = place.documents
    for record in shard_records(place.shard, reading):
        if not isinstance(record, BadRecord) and record.text.strip():
            yield number, record
            number += 1


def _row(record: Record, place: ShardPlace, job: WritingJob, chosen: Chosen, rank: int) -> dict[str, Any]:
    given = record.fields.get("id")
    cut = bool(chosen.cut[rank])
    (tokens,) = job.tokens.split([record.text])
    found = Counter(token for token in tokens if token in job.pivots)
    text = job.counter.cut(record.text, int(chosen.sizes[rank])) if cut else record.text
    name = f"{place.shard.file}:{record.line + place.lines}"
    return {
        "text": text,
        "id": str(given) if isinstance(given, str | int) else name,
        "language": unpack_language(chosen.languages[rank].tolist()),
        "score": sum(found.values()) / max(1, len(tokens)),
        "reason": {
            "rank": rank + 1,
            "tokens": int(chosen.sizes[rank]),
            "cut": cut,
            "length": len(tokens),
            "pivot_tokens": sum(found.values()),
            "distinct_pivots": len(found),
            "pivots": {job.tokens.show(t): n for t, n in sorted(found.items(), key=_often)[:PIVOTS_NAMED]},
        },
    }


def _often(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def assemble(job: WritingJob, places: Sequence[ShardPlace], name: str, directory: Path) -> int:
    """Join a set's parts, in the order of the corpus, into output shards, whole or not at all.

    Args:
        job: What was written.
        places: All shards of the corpus.
        name: The set.
        directory: Where its shards go; what is there is replaced.

    Returns:
        How many shards it has.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    if directory.exists():
        shutil.rmtree(directory)
    number = 0
    with replacing_directory(directory) as temporary:
        for number, block in enumerate(_output_blocks(job, places, name)):
            with (temporary / f"part-{number:05d}.jsonl").open("wb") as out:
                for line in block:
                    out.write(line)
    return number + 1


def _output_blocks(job: WritingJob, places: Sequence[ShardPlace], name: str) -> Iterator[Iterator[bytes]]:
    """Yield the lines of one output shard after the other."""
    lines = (line for place in places for line in _open(_part(job, place, name)))
    first = next(lines, None)
    while first is not None:
        head, first = first, None

        def block(begin: bytes) -> Iterator[bytes]:
            nonlocal first
            size = len(begin)
            yield begin
            for line in lines:
                if size >= OUTPUT_BYTES:
                    first = line
                    return
                size += len(line)
                yield line

        yield block(head)


def _open(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def read_rows(directory: Path) -> Iterator[dict[str, Any]]:
    """Stream a set's rows without their texts, with `set` beside, which is the directory's name."""
    for path in sorted(directory.glob("part-*.jsonl")):
        for line in _open(path):
            row = json.loads(line)
            reason = row["reason"]
            yield {
                "set": directory.name,
                **{name: row[name] for name in ("id", "language", "score")},
                **{name: reason[name] for name in ("rank", "tokens", "cut", "length", "pivot_tokens")},
                "distinct_pivots": reason["distinct_pivots"],
                "pivots": list(reason["pivots"]),
                "pivot_counts": list(reason["pivots"].values()),
            }


SCHEMA = pa.schema(
    [
        ("set", pa.string()),
        ("id", pa.string()),
        ("language", pa.string()),
        ("score", pa.float64()),
        ("rank", pa.int64()),
        ("tokens", pa.int64()),
        ("cut", pa.bool_()),
        ("length", pa.int64()),
        ("pivot_tokens", pa.int64()),
        ("distinct_pivots", pa.int64()),
        ("pivots", pa.list_(pa.string())),
        ("pivot_counts", pa.list_(pa.int64())),
    ]
)


def write_selection_table(path: Path, directories: Sequence[Path]) -> None:
    """Write `selection.parquet`: a row a document of each set, atomically.

    Args:
        path: The table.
        directories: Of the sets.

    Raises:
        OutputError: The disk is full, or the place cannot be written.
    """
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for directory in directories:
            rows: list[dict[str, Any]] = []
            for row in read_rows(directory):
                rows.append(row)
                if len(rows) == TOGETHER:
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
