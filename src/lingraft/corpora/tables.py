"""Records of files with columns: tab-separated, comma-separated, parquet."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lingraft.corpora.records import BadRecord, Record, decoded_lines, record_of
from lingraft.errors import CorpusError

ROWS_AT_ONCE = 1024
"""Rows of a parquet row group that are turned into records together."""
LONGEST_CELL = 2**31 - 1
"""Characters; the csv module's own limit is 131,072, and documents are longer."""

Row = tuple[int, Sequence[str]] | BadRecord


def tsv_records(lines: Iterable[bytes], text_field: str, name: str) -> Iterator[Record | BadRecord]:
    """Stream the rows of a table whose cells stand between tabs, without quoting; see `_table`."""
    return _table(_tsv_rows(lines), text_field, name)


def csv_records(lines: Iterable[bytes], text_field: str, name: str) -> Iterator[Record | BadRecord]:
    """Stream the rows of a table whose cells stand between commas, quoted where they must be (RFC 4180).

    A row's line is the one that it begins on; blank lines are no rows. See `_table`.
    """
    return _table(_csv_rows(lines, name), text_field, name)


def _table(rows: Iterable[Row], text_field: str, name: str) -> Iterator[Record | BadRecord]:
    """Read a header and rows under it; with a number for `text_field`, rows alone, and that column (from 1)."""
    columns: Sequence[str] | None = [] if text_field.isdigit() else None
    for row in rows:
        if isinstance(row, BadRecord):
            yield row
            continue
        number, cells = row
        if columns is None:
            columns = cells
            if text_field not in columns:
                raise CorpusError(
                    f"{name} with the columns {', '.join(columns)}",
                    f"a header line with a column {text_field!r}",
                    "name the text column, or give its number where there is no header line",
                )
            continue
        names = columns or [str(column) for column in range(1, len(cells) + 1)]
        if len(cells) == len(names):
            yield record_of(dict(zip(names, cells, strict=True)), text_field, number)
        else:
            yield BadRecord(number, f"not {len(names)} columns", "\t".join(cells))


def _tsv_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    for number, line in decoded_lines(lines):
        if isinstance(line, BadRecord):
            yield line
        elif line:
            yield number, line.split("\t")


def _csv_rows(lines: Iterable[bytes], name: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    bad: list[BadRecord] = []

    def texts() -> Iterator[str]:
        for number, raw in enumerate(lines, start=1):
            # A line that is no UTF-8 makes its row, which may be of many lines, a bad one.
            line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).decode("utf-8", "replace")
            bad.extend(found for _, found in decoded_lines([raw]) if isinstance(found, BadRecord))
            yield line

    reader = csv.reader(texts(), strict=True)
    while True:
        begin = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                # All that follows the quote is in that cell: nothing says how much of it is text that is missed.
                raise CorpusError(
                    f"{name} with a quote in line {begin} that is not closed",
                    'quotes in pairs, and "" for one inside a cell',
                    "mend that line, or write the table as .tsv or .jsonl",
                ) from error
            yield BadRecord(begin, "invalid CSV", str(error))
            bad.clear()
            continue
        if bad:
            yield BadRecord(begin, bad[0].reason, bad[0].content)
            bad.clear()
        elif cells:
            yield begin, cells


def parquet_records(path: Path, text_field: str) -> Iterator[Record | BadRecord]:
    """Stream the rows of a parquet file.

    Args:
        path: The file.
        text_field: The text's column.

    Yields:
        Record | BadRecord: In their order.

    Raises:
        CorpusError: The file is damaged, or lacks the column.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if text_field not in file.schema_arrow.names:
                raise CorpusError(
                    f"{path} with the columns {', '.join(file.schema_arrow.names)}",
                    f"a column {text_field!r}",
                    "name the text column",
                )
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield record_of(row, text_field, number)
    except arrow.ArrowException as error:
        raise CorpusError(
            f"{path} cannot be read as parquet: {error}", "an undamaged parquet file", "fetch it again"
        ) from error
