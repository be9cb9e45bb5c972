"""Partials of a corpus's shards: files that appear whole or not at all, named after what they are made of.

So a run that was killed continues, a file that was changed is read again, and shards need not be done in any order.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.records import BadRecord
from lingraft.corpora.rejects import KEPT_CHARACTERS, Rejects
from lingraft.corpora.shards import Shard, plan_shards, require_unchanged
from lingraft.errors import CorpusError
from lingraft.files import open_run_directory, replacing, write_json

PARTIALS, MANIFEST, REJECTS = "partials", "manifest.json", "rejects.jsonl"

Partial = dict[str, NDArray[Any]]
"""Named arrays; what they hold is the kernel's."""


class Merging(Protocol):
    """The part of a kernel that puts partials together."""

    def empty(self) -> Partial:
        """Return the partial of no document."""

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return the partial of both."""


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


def open_pass(
    paths: Sequence[str | Path], command: Mapping[str, Any], *, out: Path, shard_bytes: int
) -> tuple[list[Shard], list[Shard]]:
    """Plan the shards and take the run directory, or go on in it.

    Args:
        paths: Files, directories, glob patterns or `hf:NAME` data sets.
        command: What makes this pass differ from another over the same paths, JSON-able.
        out: Run directory: missing, empty, or an earlier run of the same.
        shard_bytes: Size of the parts that large plain files are cut into.

    Returns:
        All shards, and those whose partials are still to be made.

    Raises:
        CorpusError: A missing file, or one that an earlier start had.
        OutputError: `out` is taken or cannot be written.
    """
    shards = plan_shards(paths, shard_bytes=shard_bytes)
    open_run_directory(out, {"paths": [str(path) for path in paths], **command})
    (out / PARTIALS).mkdir(exist_ok=True)
    _keep_manifest(out, shards)
    return shards, [shard for shard in shards if not partial_file(out, shard).exists()]


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


def write_partial(
    out: Path, shard: Shard, arrays: Partial, *, lines: int, documents: int, bad: Sequence[BadRecord]
) -> None:
    """Keep what a shard gave.

    Args:
        out: The run directory.
        shard: The shard.
        arrays: The kernel's.
        lines: Lines or rows read, with blank and bad ones.
        documents: Documents that have text.
        bad: Bad lines, counted from the shard's first line as 1.

    Raises:
        CorpusError: The shard's file was changed, replaced or removed meanwhile.
        OutputError: The disk is full.
    """
    about = {
        "shard": asdict(shard),
        "lines": lines,
        "documents": documents,
        "bad": [(record.line, record.reason, record.content[:KEPT_CHARACTERS]) for record in bad],
    }
    require_unchanged(shard)
    with replacing(partial_file(out, shard)) as temporary:
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        temporary.write_bytes(save(whole, metadata={"about": json.dumps(about, ensure_ascii=False)}))


def read_about(out: Path, shard: Shard) -> dict[str, Any]:
    """Read what `write_partial` was told of a shard beside its arrays.

    Args:
        out: The run directory.
        shard: A shard whose partial is made.

    Returns:
        `shard`, `lines`, `documents` and `bad`.

    Raises:
        CorpusError: The partial cannot be read.
    """
    return _read_partial(partial_file(out, shard))[1]


def refuse_bad_lines(shard: Shard, bad: Sequence[BadRecord], maximum: int) -> None:
    """Say that a shard has too many bad lines.

    Args:
        shard: The shard.
        bad: Its bad lines, more than `maximum`.
        maximum: How many are passed over.

    Raises:
        CorpusError: Always, with their reasons.
    """
    place = f"{shard.file}, counted from byte {shard.start}," if shard.start else shard.file
    with Rejects(None, maximum) as rejects:
        for record in bad:
            rejects.add(place, record)


def merge_partials(
    kernel: Merging, out: Path, shards: Sequence[Shard], *, maximum_bad_lines: int = MAXIMUM_BAD_LINES
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
                f"the {len(earlier)} files that this run began with",
                "bring it back, or give another --out to go on without it",
            )
    write_json(
        manifest,
        {"files": files, "shards": [asdict(s) | {"partial": partial_file(out, s).name} for s in shards]},
    )
