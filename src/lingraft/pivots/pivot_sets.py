"""Pivots of word pairs from a file, as tokens of the model that is traced."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.errors import ConfigError
from lingraft.pivots.prompt_tokens import word_token_ids

PIVOT_COLUMNS = ("pivot", "token", "pivot_token")
_REMEDY = "give lines of source word, tab, target word, tab, pivot, or what `lingraft pivots discover` wrote"


def read_pivots(path: Path, tokenizer: Any) -> dict[tuple[str, str], frozenset[int]]:
    """Read pivots. Texts cross from one tokenizer to another, ids never do.

    Args:
        path: UTF-8 lines of source word, tab, target word, tab, pivot; or parquet with the columns `source_word`,
            `target_word` and `pivot` or `token`.
        tokenizer: Of the model that is traced; a pivot's tokens are those of `word_token_ids`.

    Returns:
        Source and target word to token ids.

    Raises:
        ConfigError: The file cannot be read, or holds no pivot.
    """
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _lines(path)
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        detail = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise ConfigError(f"{path}: {detail}", "a file of pivots", _REMEDY) from error
    found: dict[tuple[str, str], set[int]] = {}
    for source, target, pivot in rows:
        if pivot and pivot.strip():
            found.setdefault((source, target), set()).update(word_token_ids(tokenizer, pivot.strip()))
    if not found:
        raise ConfigError(f"{path} holds no pivot", "at least one", _REMEDY)
    return {pair: frozenset(tokens) for pair, tokens in found.items()}


def _parquet(path: Path) -> list[tuple[str, str, str]]:
    names = pq.read_schema(path).names
    text = next((name for name in PIVOT_COLUMNS if name in names), None)
    if text is None or not {"source_word", "target_word"} <= set(names):
        raise ConfigError(
            f"{path} with the columns {', '.join(names)}", "source_word, target_word and pivot", _REMEDY
        )
    columns = pq.read_table(path, columns=["source_word", "target_word", text]).to_pydict()
    return list(zip(columns["source_word"], columns["target_word"], columns[text], strict=True))


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
