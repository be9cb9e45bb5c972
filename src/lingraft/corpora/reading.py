"""Streaming readers: one document at a time from text, JSON lines, tables, or a named data set.

| name ends in | a document is |
|---|---|
| `.jsonl`, `.ndjson` | the text field of a line's object |
| `.json` | the same, or the text field of an object of one JSON list |
| `.tsv` | the text column of a line; named by a header line, or numbered from 1 where there is none |
| `.csv` | the same, with commas and quotes |
| `.parquet` | the text column of a row |
| `hf:NAME` | the text column of a row of a `datasets` data set, streamed: see `named_datasets` |
| `.txt`, and whatever says nothing else (`corpus.sw`) | a line that is not blank |

All but parquet may be compressed (`.gz`, `.zst`, `.xz`, `.bz2`). A directory stands for all such files below it, see
`is_corpus_file`; what is known to be no text is refused, see `file_kinds`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from lingraft.corpora.documents import Document, ParallelPair
from lingraft.corpora.file_kinds import NAMED, is_corpus_file
from lingraft.corpora.formats import read_records
from lingraft.corpora.named_datasets import PREFIX, is_dataset
from lingraft.corpora.records import BadRecord, Record
from lingraft.corpora.rejects import Rejects
from lingraft.errors import CorpusError

DATASET_PREFIX = PREFIX
MAXIMUM_BAD_LINES = 1000


@dataclass(slots=True)
class ReadingCounts:
    """What a reading met; filled in while it runs.

    Attributes:
        documents: Documents delivered.
        bad: Bad lines by reason.
        files: Files read.
    """

    documents: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    files: int = 0


def read_documents(
    paths: str | Path | Iterable[str | Path],
    *,
    rejects: Path | None = None,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
    text_field: str = "text",
    language: str = "",
    shard: tuple[int, int] = (0, 1),
    counts: ReadingCounts | None = None,
) -> Iterator[Document]:
    """Stream documents from files, directories, glob patterns or `hf:NAME` data sets, in a fixed order.

    Bad lines (invalid UTF-8, NUL characters, invalid JSON, no text field, a text that is no string) are counted,
    written to the rejects file with file and line number, and skipped. A text that is null is a blank one.

    Args:
        paths: One reference or several.
        rejects: JSON-lines file for bad lines, `{"file", "line", "reason", "content"}`; made only if there are any.
        maximum_bad_lines: How many bad lines to go on after.
        text_field: Name of the field or column that holds the text; the number of a `.tsv` column without a header.
        language: Language code of documents that state none in a `language` field.
        shard: `(index, count)`: every `count`-th document beginning with `index`. The shards are disjoint and together
            are the whole; each one looks at all lines, so it is to spread the work on the text.
        counts: Filled in while reading.

    Yields:
        Document: Documents that have text.

    Raises:
        CorpusError: A missing or unreadable file, no document at all, or more than `maximum_bad_lines` bad lines.
        MissingExtraError: A `.zst` file or a data set, without the library for it.
    """
    index, shards = shard
    if not 0 <= index < shards:
        raise CorpusError(f"shard {index} of {shards}", "0 <= index < count", "give another shard")
    references = [paths] if isinstance(paths, str | Path) else list(paths)
    counts = counts if counts is not None else ReadingCounts()
    numbers = count()
    with Rejects(rejects, maximum_bad_lines) as bad:
        # All references are looked up before the first document, so that a missing file is known at once.
        for name in [name for reference in references for name in find_files(reference)]:
            counts.files += 1
            for record in read_records(name, text_field):
                if isinstance(record, BadRecord):
                    bad.add(name, record)
                    counts.bad = bad.reasons
                elif record.text.strip() and next(numbers) % shards == index:
                    counts.documents += 1
                    yield _document(name, record, language)
    if next(numbers) == 0:
        raise CorpusError(
            f"no document in {', '.join(map(str, references)) or 'an empty list of files'}"
            + (
                f" (bad lines: {', '.join(f'{n} {why}' for why, n in bad.reasons.items())})"
                if bad.reasons
                else ""
            ),
            "at least one line with text in UTF-8",
            "check the file, its encoding, its format and the name of the text field",
        )


def read_texts(path: str | Path | Iterable[str | Path], *, text_field: str = "text") -> list[str]:
    """Return the texts of a corpus that fits into memory.

    Args:
        path: What `read_documents` reads.
        text_field: Name of the field or column that holds the text.

    Returns:
        The texts, in order.

    Raises:
        CorpusError: As `read_documents`; any bad line is an error after the first 1000.
    """
    return [document.text for document in read_documents(path, text_field=text_field)]


def read_pairs(
    path: str | Path,
    *,
    source_field: str,
    target_field: str,
    source_language: str = "",
    target_language: str = "",
    rejects: Path | None = None,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
) -> Iterator[ParallelPair]:
    """Stream pairs of texts from a `.tsv`, `.jsonl` or `.parquet` file with a column for each language.

    Args:
        path: The file, directory or glob pattern.
        source_field: Column of the text translated from.
        target_field: Column of the translation.
        source_language: Language code of the first.
        target_language: Language code of the second.
        rejects: As for `read_documents`.
        maximum_bad_lines: As for `read_documents`.

    Yields:
        ParallelPair: Pairs of which both sides have text.

    Raises:
        CorpusError: As for `read_documents`, or the target column is missing.
    """
    documents = read_documents(
        path, rejects=rejects, maximum_bad_lines=maximum_bad_lines, text_field=source_field
    )
    for document in documents:
        target = document.meta.get(target_field, 0)
        target = "" if target is None else target
        if not isinstance(target, str):
            raise CorpusError(
                f"{document.id} with the fields {', '.join(map(str, document.meta)) or '(none)'}",
                f"a text in the field {target_field!r}",
                "name the column of the translation",
            )
        if target.strip():
            yield ParallelPair(document.text, target, document.id, source_language, target_language)


def find_files(reference: str | Path) -> list[str]:
    """Return the files that a path, directory, glob pattern or data set name stands for, sorted.

    Args:
        reference: The reference; `hf:NAME` is returned as it is.

    Returns:
        File names.

    Raises:
        CorpusError: There is no such file.
    """
    text = str(reference)
    if is_dataset(text):
        return [text]
    path = Path(text).expanduser()
    if path.is_file():
        return [str(path) if text.startswith("~") else text]
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and is_corpus_file(file)]
    elif any(character in text for character in "*?["):
        pattern = path.relative_to(path.anchor) if path.is_absolute() else path
        found = [file for file in Path(path.anchor).glob(str(pattern)) if file.is_file()]
    else:
        raise CorpusError(f"no file {text}", "a text file, a directory or a glob pattern", "check the path")
    if not found:
        raise CorpusError(
            f"no corpus file in {text}",
            NAMED,
            "check the path and the file names",
        )
    return sorted(str(file) for file in found)


def _document(name: str, record: Record, language: str) -> Document:
    meta = dict(record.fields)
    given = meta.pop("id", None)
    own = meta.pop("language", None)
    return Document(
        text=record.text,
        id=str(given) if isinstance(given, str | int) else f"{name}:{record.line}",
        language=own if isinstance(own, str) else language,
        meta=meta,
    )
