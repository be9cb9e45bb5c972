"""One pass over a corpus of any size: a kernel makes a partial of each shard, and partials merge into the result.

A partial is a file that appears whole or not at all and is named after what it is made of, so that a run that was
killed continues, a file that was changed is read again, and shards need not be done in any order, nor by one machine.
The merge holds two partials at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lingraft.corpora.partials import (
    CorpusResult,
    Partial,
    merge_partials,
    open_pass,
    refuse_bad_lines,
    write_partial,
)
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.shards import BATCH_BYTES, SHARD_BYTES, Batch, Shard, ShardReading, read_batches
from lingraft.workers import run_tasks


class Kernel(Protocol):
    """What is computed; it must be picklable, for it goes to the workers."""

    def describe(self) -> Mapping[str, Any]:
        """Return what makes its results differ from another's, JSON-able."""

    def open(self) -> Callable[[Batch], Partial]:
        """Return what makes a partial of a batch; what that needs is made here, once for each worker."""

    def empty(self) -> Partial:
        """Return the partial of no document."""

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return the partial of both; associative, and `left` may be reused."""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """What a worker needs to make itself ready; all of it picklable.

    Attributes:
        kernel: What is computed.
        out: Run directory, which all workers see.
        text_field: Name of the field or column that holds the text.
        maximum_bad_lines: How many bad lines to go on after.
        batch_bytes: About how much text is worked on at once.
    """

    kernel: Kernel
    out: Path
    text_field: str
    maximum_bad_lines: int
    batch_bytes: int


def map_corpus(
    paths: Sequence[str | Path],
    kernel: Kernel,
    *,
    out: Path,
    text_field: str = "text",
    workers: int = 1,
    ray_address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    batch_bytes: int = BATCH_BYTES,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
    description: str = "reading the corpus",
) -> CorpusResult:
    """Run a kernel over a corpus; what an earlier run of the same command finished in `out` is kept.

    Args:
        paths: Files, directories, glob patterns or `hf:NAME` data sets.
        kernel: What is computed.
        out: Run directory: missing, empty, or an earlier run of the same.
        text_field: Name of the field or column that holds the text.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here; it must see `out` and the corpus.
        shard_bytes: Size of the parts that large plain files are cut into.
        batch_bytes: About how much text is worked on at once; what a worker's memory depends on.
        maximum_bad_lines: How many bad lines to go on after.
        description: For the progress bar.

    Returns:
        The result.

    Raises:
        CorpusError: A missing, damaged or vanished file, no document at all, or too many bad lines.
        OutputError: `out` is taken or cannot be written.
        ConfigError: A worker was killed.
        MissingExtraError: A library is not installed.
    """
    command = {"text_field": text_field, **kernel.describe()}
    shards, todo = open_pass(paths, command, out=out, shard_bytes=shard_bytes)
    job = ShardJob(kernel, out.absolute(), text_field, maximum_bad_lines, batch_bytes)
    run_tasks(
        partial(start_worker, job), todo, workers=workers, ray_address=ray_address, description=description
    )
    return merge_partials(kernel, out, shards, maximum_bad_lines=maximum_bad_lines)


def start_worker(job: ShardJob, _number: int) -> Callable[[Shard], None]:
    """Make a worker ready.

    Args:
        job: What it needs.
        _number: The worker's; all are alike.

    Returns:
        What writes the partial of a shard.

    Raises:
        MissingExtraError: A library is not installed.
    """
    work = job.kernel.open()

    def do(shard: Shard) -> None:
        reading, total = ShardReading(), job.kernel.empty()
        for batch in read_batches(shard, reading, text_field=job.text_field, batch_bytes=job.batch_bytes):
            total = job.kernel.merge(total, work(batch))
            if len(reading.bad) > job.maximum_bad_lines:
                break
        if len(reading.bad) > job.maximum_bad_lines:
            refuse_bad_lines(shard, reading.bad, job.maximum_bad_lines)
        write_partial(
            job.out, shard, total, lines=reading.lines, documents=reading.documents, bad=reading.bad
        )

    return do
