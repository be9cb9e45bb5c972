"""Exact counts of the documents in which words, and pairs of words, occur."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lingraft.corpora.engine import map_corpus
from lingraft.corpora.partials import CorpusResult
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.shards import SHARD_BYTES
from lingraft.errors import ConfigError
from lingraft.files import replacing, write_json
from lingraft.pivots.counting import CountingKernel
from lingraft.pivots.matching import Matching, list_words, prepare_word
from lingraft.progress import progress_enabled

COUNTS, SEMANTICS = "counts.parquet", "semantics.json"


@dataclass(frozen=True, slots=True)
class CooccurrenceCounts:
    """What was counted; one element a pair, in the order in which they were given.

    Attributes:
        pairs: The words, as given.
        source_documents: Documents with the source word, int64 [pairs].
        target_documents: Documents with the target word, int64 [pairs].
        both: Documents with both, int64 [pairs].
        near: Documents with both less than `window` words apart, int64 [pairs]; None without a window.
        documents: Documents in the corpus that have text.
        lines: Lines and rows, with blank and bad ones.
        bad: Bad lines by reason.
        semantics: What was counted and how, in words.
    """

    pairs: tuple[tuple[str, str], ...]
    source_documents: NDArray[np.int64]
    target_documents: NDArray[np.int64]
    both: NDArray[np.int64]
    near: NDArray[np.int64] | None
    documents: int
    lines: int
    bad: dict[str, int]
    semantics: str


def read_pairs(path: str | Path, *, matching: Matching | None = None) -> list[tuple[str, str]]:
    """Read pairs of words: a line each, source word, tab, target word; blank lines are skipped.

    Args:
        path: UTF-8 file.
        matching: How words will be matched; decides which words nothing is left of.

    Returns:
        The pairs, in order, without the white space around the words.

    Raises:
        ConfigError: The file cannot be read, or a line is no pair; with its number.
    """
    matching = matching or Matching()
    try:
        lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", "a file of pairs", "check the path"
        ) from error
    pairs: list[tuple[str, str]] = []
    for number, raw in enumerate(lines, start=1):
        try:
            line = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path} line {number} is not UTF-8", "UTF-8 text", "convert the file"
            ) from error
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != 2:
            raise ConfigError(
                f"{path} line {number} has {len(cells) - 1} tabs: {line[:80]!r}",
                "source word, tab, target word",
                "mend or remove that line",
            )
        source, target = (cell.strip() for cell in cells)
        for word in (source, target):
            prepare_word(word, matching, f"{path} line {number}")
        pairs.append((source, target))
    if not pairs:
        raise ConfigError(f"no pair in {path}", "lines of source word, tab, target word", "check the file")
    return pairs


def count_pairs(
    paths: Sequence[str | Path] | str | Path,
    pairs: Sequence[tuple[str, str]],
    *,
    out: Path,
    matching: Matching | None = None,
    window: int | None = None,
    text_field: str = "text",
    workers: int = 1,
    ray_address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    maximum_bad_lines: int = MAXIMUM_BAD_LINES,
    progress: bool | None = None,
) -> CooccurrenceCounts:
    """Count in one pass over a corpus; what an earlier run of the same command finished in `out` is kept.

    Writes `counts.parquet` (`source_word`, `target_word`, `source_documents`, `target_documents`, `both`, and `near`
    with a window) and `semantics.json` into `out`.

    Args:
        paths: Files (txt, jsonl, tsv, parquet; gz, zst), directories or glob patterns.
        pairs: Source and target words.
        out: Run directory: missing, empty, or an earlier run of the same command.
        matching: How words are matched; None for NFC, case-folded, whole words in spaced scripts.
        window: Also count documents in which both words begin less than so many words apart, where a word is a run of
            word characters, or one character of a script written without spaces.
        text_field: Name of the field or column that holds the text.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here; it must see `out` and the corpus.
        shard_bytes: Size of the parts that large plain files are cut into.
        maximum_bad_lines: How many bad lines to go on after.
        progress: Show, hide, or (None) show on terminals.

    Returns:
        The counts.

    Raises:
        ConfigError: No pair, a word that nothing is left of, or a window below 1.
        CorpusError: A missing, damaged or vanished file, no document at all, or too many bad lines.
        OutputError: `out` is taken or cannot be written.
        MissingExtraError: A library is not installed.
    """
    matching = matching or Matching()
    kernel = make_kernel(pairs, matching, window)
    with progress_enabled(progress):
        result = map_corpus(
            [paths] if isinstance(paths, str | Path) else list(paths),
            kernel,
            out=out,
            text_field=text_field,
            workers=workers,
            ray_address=ray_address,
            shard_bytes=shard_bytes,
            maximum_bad_lines=maximum_bad_lines,
            description="counting",
        )
    counts = _counts(pairs, kernel, result)
    _write(out, counts)
    return counts


def make_kernel(pairs: Sequence[tuple[str, str]], matching: Matching, window: int | None) -> CountingKernel:
    """Prepare the words of the pairs.

    Args:
        pairs: Source and target words.
        matching: How words are matched.
        window: As for `count_pairs`.

    Returns:
        What counts them.

    Raises:
        ConfigError: No pair, a word that nothing is left of, or a window below 1.
    """
    if not pairs:
        raise ConfigError("no pair of words", "at least one", "give some")
    if window is not None and window < 1:
        raise ConfigError(f"--window {window}", "at least 1", "give a larger number")
    words = list_words(
        [word for pair in pairs for word in pair],
        (f"pair {number}" for number in range(1, len(pairs) + 1) for _ in range(2)),
        matching,
    )
    rows = words.rows.reshape(-1, 2).tolist()
    return CountingKernel(
        words.words,
        tuple(words.bounded.tolist()),
        tuple((source, target) for source, target in rows),
        matching,
        window,
    )


def _counts(
    pairs: Sequence[tuple[str, str]], kernel: CountingKernel, result: CorpusResult
) -> CooccurrenceCounts:
    rows = np.array(kernel.pairs, dtype=np.int64)
    semantics = f"exact; documents; {kernel.matching}"
    if kernel.window is not None:
        semantics += f"; near: both words begin less than {kernel.window} words apart"
    return CooccurrenceCounts(
        pairs=tuple(pairs),
        source_documents=result.partial["words"][rows[:, 0]],
        target_documents=result.partial["words"][rows[:, 1]],
        both=result.partial["both"],
        near=result.partial.get("near"),
        documents=result.documents,
        lines=result.lines,
        bad=dict(result.bad),
        semantics=semantics,
    )


def _write(out: Path, counts: CooccurrenceCounts) -> None:
    columns = {
        "source_word": pa.array([source for source, _ in counts.pairs], pa.string()),
        "target_word": pa.array([target for _, target in counts.pairs], pa.string()),
        "source_documents": counts.source_documents,
        "target_documents": counts.target_documents,
        "both": counts.both,
    }
    if counts.near is not None:
        columns["near"] = counts.near
    table = pa.table(columns).replace_schema_metadata(
        {"semantics": counts.semantics, "documents": str(counts.documents)}
    )
    with replacing(out / COUNTS) as temporary:
        pq.write_table(table, temporary)
    write_json(
        out / SEMANTICS,
        {
            "semantics": counts.semantics,
            "documents": counts.documents,
            "lines": counts.lines,
            "bad_lines": counts.bad,
            "pairs": len(counts.pairs),
        },
    )
