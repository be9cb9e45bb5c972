"""Pivots of word pairs from a file, as tokens of the model that is traced."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.errors import ConfigError
from lingraft.pivots.prompt_tokens import word_token_ids
from lingraft.pivots.wordtask import WordItem

PIVOT_COLUMNS = ("pivot", "token", "pivot_token")
_REMEDY = "give lines of source word, tab, target word, tab, pivot, or what `lingraft pivots discover` wrote"


def read_pivots(
    path: Path, tokenizer: Any, items: Sequence[WordItem]
) -> dict[tuple[str, str], frozenset[int]]:
    """Read pivots. Texts cross from one tokenizer to another, ids never do.

    Args:
        path: UTF-8 lines of source word, tab, target word, tab, pivot; or parquet with the columns `source_word`,
            `target_word` and `pivot` or `token`. Rows whose column `kept` is false are passed over.
        tokenizer: Of the model that is traced; a pivot's tokens are those of `word_token_ids`.
        items: The words, which rows are matched with in NFC and case-folded.

    Returns:
        Source and target word to token ids, for the words that have pivots.

    Raises:
        ConfigError: The file cannot be read, or holds no pivot of these words.
    """
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _lines(path)
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        detail = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise ConfigError(f"{path}: {detail}", "a file of pivots", _REMEDY) from error
    texts: dict[tuple[str, str], set[str]] = {}
    for source, target, pivot in rows:
        if pivot and pivot.strip():
            texts.setdefault((_folded(source), _folded(target)), set()).add(pivot.strip())
    found: dict[tuple[str, str], frozenset[int]] = {}
    for item in items:
        pivots = texts.get((_folded(item.source_word), _folded(item.target_word)), ())
        tokens = [word_token_ids(tokenizer, pivot) for pivot in pivots]
        if tokens:
            found[item.source_word, item.target_word] = frozenset().union(*tokens)
    if not found:
        raise ConfigError(
            f"{path} holds pivots of {len(texts):,} pairs, none of them among the {len(items):,} words",
            "pivots of some of the words",
            _REMEDY,
        )
    return found


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word).strip().casefold()


def _parquet(path: Path) -> list[tuple[str, str, str]]:
    names = pq.read_schema(path).names
    text = next((name for name in PIVOT_COLUMNS if name in names), None)
    if text is None or not {"source_word", "target_word"} <= set(names):
        raise ConfigError(
            f"{path} with the columns {', '.join(names)}", "source_word, target_word and pivot", _REMEDY
        )
    columns = pq.read_table(path).to_pydict()
    kept = columns.get("kept") or [True] * len(columns[text])
    rows = zip(columns["source_word"], columns["target_word"], columns[text], kept, strict=True)
    return [(source, target, pivot) for source, target, pivot, wanted in rows if wanted is not False]


def _lines(path: Path) -> list[tuple[str, str, str]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        columns = [part.strip() for part in line.split("\t")]
        if len(columns) < 3 or not all(columns[:3]):
            raise ConfigError(f"{path} line {number}: {line.strip()[:60]!r}", "three words", _REMEDY)
        rows.append((columns[0], columns[1], columns[2]))
    return rows
