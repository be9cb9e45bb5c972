"""Shards of a corpus: files, or byte ranges of large plain files, read as batches of many documents at once."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from lingraft.corpora.file_kinds import (
    READ_ERRORS,
    FileKind,
    file_kind,
    is_compressed,
    open_lines,
    unreadable,
)
from lingraft.corpora.formats import line_records, read_records
from lingraft.corpora.named_datasets import dataset_files, is_dataset
from lingraft.corpora.reading import find_files
from lingraft.corpora.records import BadRecord
from lingraft.errors import CorpusError
from lingraft.files import fingerprint

SHARD_BYTES = 2**26
BATCH_BYTES = 2**24
SEPARATOR = "\n"
"""Stands between the documents of a batch, and nowhere in one."""
_BLANK = [character for character in map(chr, range(0x10000)) if character.isspace()]
_BLANK_BEGINNINGS = np.zeros(256, dtype=np.bool_)
_BLANK_BEGINNINGS[[character.encode()[0] for character in _BLANK]] = True
_BLANK_SECONDS = np.array(
    [character.encode()[1] for character in _BLANK if character > "\x7f"], dtype=np.uint8
)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a corpus that one task reads.

    Attributes:
        file: File name, or `hf:NAME`.
        start: Lines that begin at this byte or after it belong to the shard.
        end: Lines that begin at this byte or after it do not; None where the file is not divided.
        identity: Size and time of change of the file, by which a changed file is known; of all files of a data set in a
            directory; empty for one of the hub.
    """

    file: str
    start: int
    end: int | None
    identity: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents joined by `SEPARATOR`; line ends in a document are carriage returns.

    Attributes:
        text: The documents; some of them may be blank.
        documents: How many are not blank.
        raw: The same in UTF-8, where that is at hand.
    """

    text: str
    documents: int
    raw: bytes | None = None

    def encoded(self) -> bytes:
        """Return the text in UTF-8."""
        return self.text.encode() if self.raw is None else self.raw


@dataclass(slots=True)
class ShardReading:
    """What a reading of a shard met; filled in while it runs.

    Attributes:
        lines: Lines, or rows.
        documents: Documents that have text.
        bad: Bad lines; their numbers count from the shard's first line as 1.
    """

    lines: int = 0
    documents: int = 0
    bad: list[BadRecord] = field(default_factory=list)


def plan_shards(references: Iterable[str | Path], *, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Divide a corpus; only uncompressed files of plain text and JSON lines are cut, at line ends.

    Args:
        references: Files, directories, glob patterns or `hf:NAME` data sets; a file that two of them mean is read once.
        shard_bytes: Size of a part of a file that is cut.

    Returns:
        The shards, in the corpus's order.

    Raises:
        CorpusError: A missing file, or one that holds no text.
    """
    shards = []
    for name in dict.fromkeys(name for reference in references for name in find_files(reference)):
        identity = _identity(name)
        size = identity[0] if identity else 0
        if not is_of_lines(name) or not _is_divisible(name) or size <= shard_bytes:
            shards.append(Shard(name, 0, None, identity))
            continue
        cuts = [*range(0, size, shard_bytes), size]
        shards += [Shard(name, start, end, identity) for start, end in pairwise(cuts)]
    return shards


def _identity(name: str) -> tuple[int, ...]:
    """Return size and time of change of a file, or of all files of a data set in a directory."""
    files = dataset_files(name) if is_dataset(name) else [Path(name)]
    try:
        statuses = [file.stat() for file in files]
    except OSError as error:
        raise unreadable(name, error) from error
    if not statuses:
        return ()
    sizes, times = [one.st_size for one in statuses], [one.st_mtime_ns for one in statuses]
    if not is_dataset(name):
        return sizes[0], times[0]
    # Rows move between splits with their files.
    marks = fingerprint({str(file): mark for file, *mark in zip(files, sizes, times, strict=True)})
    return sum(sizes), max(times), int(marks, 16)


def is_of_lines(name: str) -> bool:
    """Return whether a file's records are read from lines; those of parquet files and data sets are not."""
    return not is_dataset(name) and file_kind(name) is not FileKind.PARQUET


def _is_divisible(name: str) -> bool:
    return file_kind(name) in {FileKind.TEXT, FileKind.JSON_LINES} and not is_compressed(name)


def read_batches(
    shard: Shard, reading: ShardReading, *, text_field: str = "text", batch_bytes: int = BATCH_BYTES
) -> Iterator[Batch]:
    """Stream a shard's documents, many at once.

    Args:
        shard: The shard.
        reading: Filled in while reading.
        text_field: Name of the field or column that holds the text.
        batch_bytes: About how much text a batch holds; a document is never divided.

    Yields:
        Batch: In the shard's order.

    Raises:
        CorpusError: The file cannot be read, is damaged, or lacks the column.
        MissingExtraError: A library is not installed.
    """
    name = shard.file
    if not is_of_lines(name):
        yield from _joined(read_records(name, text_field), reading, batch_bytes)
        return
    plain = file_kind(name) is FileKind.TEXT
    try:
        with open_lines(Path(name)) as stream:
            if plain or shard.end is not None:
                for block in _blocks(stream, shard, batch_bytes):
                    yield from _of_block(block, name, reading, text_field, plain, batch_bytes)
            else:
                yield from _joined(line_records(stream, name, text_field), reading, batch_bytes)
    except READ_ERRORS as error:
        raise unreadable(name, error) from error


def _blocks(stream: io.BufferedIOBase | object, shard: Shard, size: int) -> Iterator[bytes]:
    """Yield the shard's lines, whole, in large blocks."""
    read, readline = stream.read, stream.readline  # type: ignore[union-attr]
    left = None if shard.end is None else shard.end - shard.start
    if shard.start:
        # The line that the byte before the start belongs to is the earlier shard's.
        stream.seek(shard.start - 1)  # type: ignore[union-attr]
        skipped = len(readline()) - 1
        left = None if left is None else left - skipped
    first = shard.start == 0
    while left is None or left > 0:
        block = read(size if left is None else min(size, left))
        if not block:
            return
        if not block.endswith(b"\n"):
            block += readline()
        left = None if left is None else left - len(block)
        yield block.removeprefix(b"\xef\xbb\xbf") if first else block
        first = False


def _of_block(
    block: bytes, name: str, reading: ShardReading, text_field: str, plain: bool, batch_bytes: int
) -> Iterator[Batch]:
    before = reading.lines
    # Lines with NUL characters are bad ones, as in `decoded_lines`.
    if plain and b"\0" not in block:
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            lines = block.count(b"\n") + (not block.endswith(b"\n"))
            documents = lines - _blank_lines(block)
            reading.lines += lines
            reading.documents += documents
            yield Batch(text, documents, block)
            return
    records = line_records(io.BytesIO(block), name, text_field)
    yield from _joined(records, reading, batch_bytes, before)
    # Blank lines of JSON are no records.
    reading.lines = before + block.count(b"\n") + (not block.endswith(b"\n"))


def _blank_lines(block: bytes) -> int:
    """Count lines of white space alone; only those that begin like some are looked at."""
    # Nothing, and the byte after a beginning, have to be there too.
    units = np.frombuffer(block + b"\n\n", dtype=np.uint8)
    starts = np.append(0, np.flatnonzero(units[: max(0, len(block) - 1)] == ord(SEPARATOR)) + 1)
    starts = starts[_BLANK_BEGINNINGS[units[starts]]]
    starts = starts[(units[starts] < 0x80) | np.isin(units[starts + 1], _BLANK_SECONDS)]
    return sum(
        not block[start : block.find(b"\n", start) % (len(block) + 1)].decode().strip()
        for start in starts.tolist()
    )


def _joined(
    records: Iterable[object], reading: ShardReading, batch_bytes: int, before: int = 0
) -> Iterator[Batch]:
    texts: list[str] = []
    size = 0
    for record in records:
        line: int = record.line + before  # type: ignore[attr-defined]
        reading.lines = max(reading.lines, line)
        if isinstance(record, BadRecord):
            reading.bad.append(BadRecord(line, record.reason, record.content))
            continue
        text: str = record.text  # type: ignore[attr-defined]
        if not text.strip():
            continue
        texts.append(text.replace(SEPARATOR, "\r"))
        reading.documents += 1
        size += len(text)
        if size >= batch_bytes:
            yield _batch(texts)
            texts, size = [], 0
    if texts:
        yield _batch(texts)


def _batch(texts: Sequence[str]) -> Batch:
    return Batch(SEPARATOR.join(texts), len(texts))


def require_unchanged(shard: Shard) -> None:
    """Refuse a shard whose file is not the one that was planned with.

    Args:
        shard: The shard.

    Raises:
        CorpusError: Its file was changed, replaced or removed.
    """
    if shard.identity and _identity(shard.file) != shard.identity:
        raise CorpusError(
            f"{shard.file} was changed while it was read",
            "files that stay as they are",
            "run the same command again once it is written; what is finished is kept",
        )
