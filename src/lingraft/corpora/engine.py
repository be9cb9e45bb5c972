"""One pass over a corpus of any size: a kernel makes a partial of each shard, and partials merge into the result.

A partial is a file that appears whole or not at all and is named after what it is made of, so that a run that was
killed continues, a file that was changed is read again, and shards need not be done in any order, nor by one machine.
The merge holds two partials at a time.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lingraft.corpora.formats import BadRecord, unreadable
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.rejects import KEPT_CHARACTERS, Rejects
from lingraft.corpora.shards import (
    BATCH_BYTES,
    SHARD_BYTES,
    Batch,
    Shard,
    ShardReading,
    plan_shards,
    read_batches,
)
from lingraft.errors import CorpusError
from lingraft.files import open_run_directory, remove_leftovers, replacing, write_json
from lingraft.workers import run_tasks

PARTIALS, MANIFEST, REJECTS = "partials", "manifest.json", "rejects.jsonl"

Partial = dict[str, NDArray[Any]]
"""Named arrays; what they hold is the kernel's."""


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
class CorpusResult:
    """What a pass found.

    Attributes:
        partial: The merged partials.
        documents: Documents that have text.
        lines: Lines and rows, with blank and bad ones.
        bad: Bad lines by reason; each is in `rejects.jsonl`.
        shards: How many parts the corpus was divided into.
    """

    partial: Partial
    documents: int
    lines: int
    bad: Mapping[str, int]
    shards: int


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
    shards = plan_shards(paths, shard_bytes=shard_bytes)
    command = {"paths": [str(path) for path in paths], "text_field": text_field, **kernel.describe()}
    open_run_directory(out, command)
    (out / PARTIALS).mkdir(exist_ok=True)
    remove_leftovers(out / PARTIALS)
    _keep_manifest(out, shards)
    todo = [shard for shard in shards if not partial_file(out, shard).exists()]
    job = ShardJob(kernel, out.absolute(), text_field, maximum_bad_lines, batch_bytes)
    run_tasks(
        partial(start_worker, job), todo, workers=workers, ray_address=ray_address, description=description
    )
    return merge_partials(kernel, out, shards, maximum_bad_lines=maximum_bad_lines)


def partial_file(out: Path, shard: Shard) -> Path:
    """Where the partial of a shard is kept; a changed file has another name.

    Args:
        out: The run directory.
        shard: The shard.

    Returns:
        The path.
    """
    name = hashlib.sha256(json.dumps(asdict(shard)).encode()).hexdigest()[:24]
    return out / PARTIALS / f"{name}.safetensors"


def _keep_manifest(out: Path, shards: Sequence[Shard]) -> None:
    """Write which files the corpus has; refuse where one of an earlier start is gone."""
    manifest = out / MANIFEST
    files = list(dict.fromkeys(shard.file for shard in shards))
    if manifest.exists():
        earlier = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        gone = [name for name in earlier if name not in set(files)]
        if gone:
            raise CorpusError(
                f"{gone[0]} is gone" + (f", and {len(gone) - 1} more" if gone[1:] else ""),
                f"the {len(earlier)} files that this count began with",
                "bring it back, or give another --out to count without it",
            )
    write_json(
        manifest,
        {"files": files, "shards": [asdict(s) | {"partial": partial_file(out, s).name} for s in shards]},
    )


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
        about = {
            "shard": asdict(shard),
            "lines": reading.lines,
            "documents": reading.documents,
            # One more than is allowed is enough to refuse them.
            "bad": [
                (bad.line, bad.reason, bad.content[:KEPT_CHARACTERS])
                for bad in reading.bad[: job.maximum_bad_lines + 1]
            ],
        }
        if len(reading.bad) > job.maximum_bad_lines:
            _refuse(shard, reading, job.maximum_bad_lines)
        require_unchanged(shard)
        with replacing(partial_file(job.out, shard)) as temporary:
            temporary.write_bytes(
                save(
                    {name: np.ascontiguousarray(array) for name, array in total.items()},
                    metadata={"about": json.dumps(about, ensure_ascii=False)},
                )
            )

    return do


def require_unchanged(shard: Shard) -> None:
    """Refuse a shard whose file is not the one that was planned with.

    Args:
        shard: The shard.

    Raises:
        CorpusError: Its file was changed, replaced or removed.
    """
    if not shard.identity:
        return
    try:
        stat = Path(shard.file).stat()
    except OSError as error:
        raise unreadable(shard.file, error) from error
    if (stat.st_size, stat.st_mtime_ns) != shard.identity:
        raise CorpusError(
            f"{shard.file} was changed while it was read",
            "files that stay as they are",
            "run the same command again once it is written; what is finished is kept",
        )


def _refuse(shard: Shard, reading: ShardReading, maximum: int) -> None:
    with Rejects(None, maximum) as bad:
        place = f"{shard.file}, counted from byte {shard.start}," if shard.start else shard.file
        for record in reading.bad:
            bad.add(place, record)


def merge_partials(
    kernel: Kernel, out: Path, shards: Sequence[Shard], *, maximum_bad_lines: int = MAXIMUM_BAD_LINES
) -> CorpusResult:
    """Merge the finished partials of all shards, and write the bad lines with their place in the whole file.

    Args:
        kernel: What was computed.
        out: The run directory.
        shards: All shards, in the corpus's order.
        maximum_bad_lines: How many bad lines to go on after.

    Returns:
        The result.

    Raises:
        CorpusError: No document at all, or too many bad lines.
    """
    total, documents, lines, before, file = kernel.empty(), 0, 0, 0, ""
    with Rejects(out / REJECTS, maximum_bad_lines) as rejects:
        for shard in shards:
            part, about = _read_partial(partial_file(out, shard))
            total = kernel.merge(total, part)
            before, file = (before if shard.file == file else 0), shard.file
            for line, reason, content in about["bad"]:
                rejects.add(shard.file, BadRecord(line + before, reason, content))
            before += about["lines"]
            lines += about["lines"]
            documents += about["documents"]
    if not documents:
        listed = ", ".join(f"{number} {reason}" for reason, number in rejects.reasons.items())
        raise CorpusError(
            f"no document in {len(shards)} files or parts" + (f" (bad lines: {listed})" if listed else ""),
            "at least one line with text in UTF-8",
            "check the file, its encoding, its format and the name of the text field",
        )
    return CorpusResult(total, documents, lines, rejects.reasons, len(shards))


def _read_partial(path: Path) -> tuple[Partial, dict[str, Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CorpusError(
            f"the partial count {path} cannot be read",
            "a file that this run wrote",
            "delete it and run again",
        ) from error
