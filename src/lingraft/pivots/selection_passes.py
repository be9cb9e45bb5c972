"""Passes over a corpus that see whole records, with ids and languages, on the shards of `corpora.partials`.

`map_corpus` gives a kernel the texts alone, which is what counting needs; choosing documents needs their other fields
too, and to find them again. A document is known by its place: how many documents with text stand before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from lingraft.corpora.file_kinds import READ_ERRORS, open_lines, unreadable
from lingraft.corpora.formats import line_records, read_records
from lingraft.corpora.partials import (
    CorpusResult,
    Partial,
    merge_partials,
    open_pass,
    read_about,
    refuse_bad_lines,
    write_partial,
)
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.records import BadRecord, Record
from lingraft.corpora.shards import SHARD_BYTES, Shard, is_of_lines
from lingraft.workers import run_tasks

TOGETHER = 256
"""Documents worked on at once."""


class RecordKernel(Protocol):
    """What is computed; it must be picklable."""

    def describe(self) -> Mapping[str, Any]:
        """Return what makes its results differ from another's, JSON-able."""

    def open(self) -> Callable[[Sequence[Record], Partial], Partial]:
        """Return what makes a partial of documents, given the partial of those before them in the shard."""

    def empty(self) -> Partial:
        """Return the partial of no document."""

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return the partial of both, `left` standing before `right`; associative."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a corpus is read.

    Attributes:
        text_field: Name of the field or column that holds the text.
        second_field: A field whose text follows it on a new line: parallel texts as one document; None for none.
        maximum_bad_lines: How many bad lines to go on after.
    """

    text_field: str = "text"
    second_field: str | None = None
    maximum_bad_lines: int = MAXIMUM_BAD_LINES


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Where a shard stands in the corpus.

    Attributes:
        shard: The shard.
        documents: Documents with text before it.
        lines: Lines of its file before it.
    """

    shard: Shard
    documents: int
    lines: int


def map_records(
    paths: Sequence[str | Path],
    kernel: RecordKernel,
    *,
    out: Path,
    reading: Reading,
    workers: int = 1,
    ray_address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    description: str = "reading the corpus",
) -> tuple[CorpusResult, list[ShardPlace]]:
    """Run a kernel over a corpus's records; what an earlier run of the same command finished in `out` is kept.

    Args:
        paths: Files, directories, glob patterns or `hf:NAME` data sets.
        kernel: What is computed.
        out: Run directory: missing, empty, or an earlier run of the same.
        reading: How the corpus is read.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here; it must see `out` and the corpus.
        shard_bytes: Size of the parts that large plain files are cut into.
        description: For the progress bar.

    Returns:
        The result, and where each shard stands.

    Raises:
        CorpusError: A missing, damaged or vanished file, no document at all, or too many bad lines.
        OutputError: `out` is taken or cannot be written.
        ConfigError: A worker was killed.
        MissingExtraError: A library is not installed.
    """
    command = {"reading": asdict(reading), **kernel.describe()}
    shards, todo = open_pass(paths, command, out=out, shard_bytes=shard_bytes)
    run_tasks(
        partial(_start, kernel, out.absolute(), reading),
        todo,
        workers=workers,
        ray_address=ray_address,
        description=description,
    )
    merged = merge_partials(kernel, out, shards, maximum_bad_lines=reading.maximum_bad_lines)
    return merged, _places(out, shards)


def shard_records(shard: Shard, reading: Reading) -> Iterator[Record | BadRecord]:
    """Stream a shard's records; line numbers count from its first line as 1.

    Args:
        shard: The shard.
        reading: How the corpus is read.

    Yields:
        Record | BadRecord: In the shard's order; also those whose text is blank.

    Raises:
        CorpusError: The file cannot be read, is damaged, or lacks the column.
        MissingExtraError: A library is not installed.
    """
    for record in _raw_records(shard, reading.text_field):
        if reading.second_field is None or isinstance(record, BadRecord):
            yield record
            continue
        second = record.fields.get(reading.second_field, 0)
        second = "" if second is None else second
        if isinstance(second, str):
            yield Record(
                f"{record.text}\n{second}" if second.strip() else record.text, record.line, record.fields
            )
        else:
            yield BadRecord(record.line, f"no field {reading.second_field!r}", record.text)


def _raw_records(shard: Shard, text_field: str) -> Iterator[Record | BadRecord]:
    name = shard.file
    if not is_of_lines(name):
        yield from read_records(name, text_field)
        return
    try:
        with open_lines(Path(name)) as stream:
            lines = stream if shard.end is None else _lines(stream, shard.start, shard.end)
            yield from line_records(lines, name, text_field)
    except READ_ERRORS as error:
        raise unreadable(name, error) from error


def _lines(stream: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """Yield the lines that begin in a range of bytes."""
    place = start
    if start:
        # The line that the byte before the start belongs to is the earlier shard's.
        stream.seek(start - 1)
        place += len(stream.readline()) - 1
    while place < end and (line := stream.readline()):
        place += len(line)
        yield line


def _start(kernel: RecordKernel, out: Path, reading: Reading, _number: int) -> Callable[[Shard], None]:
    work = kernel.open()

    def do(shard: Shard) -> None:
        bad: list[BadRecord] = []
        lines = 0

        def good() -> Iterator[Record]:
            nonlocal lines
            for record in shard_records(shard, reading):
                lines = record.line
                if isinstance(record, BadRecord):
                    bad.append(record)
                    if len(bad) > reading.maximum_bad_lines:
                        refuse_bad_lines(shard, bad, reading.maximum_bad_lines)
                elif record.text.strip():
                    yield record

        total, documents, records = kernel.empty(), 0, good()
        while batch := list(islice(records, TOGETHER)):
            documents += len(batch)
            total = kernel.merge(total, work(batch, total))
        write_partial(out, shard, total, lines=max(lines, _count_lines(shard)), documents=documents, bad=bad)

    return do


def _count_lines(shard: Shard) -> int:
    """Lines of a part of a file, blank ones too, by which the next part's lines are numbered; 0 of a whole file."""
    if shard.end is None:
        return 0
    with open_lines(Path(shard.file)) as stream:
        return sum(1 for _ in _lines(stream, shard.start, shard.end))


def _places(out: Path, shards: Sequence[Shard]) -> list[ShardPlace]:
    places, documents, lines, file = [], 0, 0, ""
    for shard in shards:
        about = read_about(out, shard)
        lines, file = (lines if shard.file == file else 0), shard.file
        places.append(ShardPlace(shard, documents, lines))
        documents += about["documents"]
        lines += about["lines"]
    return places
