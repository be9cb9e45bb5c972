"""What `pivots discover` takes, and how what it names is loaded; `pivots select` shares some of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.errors import ConfigError
from lingraft.files import fingerprint, replacing
from lingraft.pivots.cooccurrence import read_pairs
from lingraft.pivots.discovery import BACKGROUND, SAMPLE, SCORES, TOP, Score
from lingraft.pivots.discovery_tokens import ModelTokens, Tokens, WordTokens
from lingraft.pivots.matching import Matching
from lingraft.pivots.semantic import QUANTILE
from lingraft.pivots.task_file import is_word_task, read_word_task
from lingraft.reports.result import InputRevision


@dataclass(frozen=True, slots=True)
class DiscoverOptions:
    """What makes one discovery differ from another.

    Attributes:
        corpus: Files, directories, glob patterns or data sets.
        pairs: File of word pairs.
        score: How tokens are scored.
        top: Pivots of a pair.
        sample: Documents drawn for each word.
        background: Documents drawn of all.
        tokenizer: Reference of a tokenizer whose tokens are looked at; None for words.
        filter_with: Reference of a model whose input embeddings filter pivots; None for no filter.
        similarity_quantile: Of the filter.
        text_field: Name of the field or column that holds the text.
        maximum_bad_lines: How many bad lines to go on after.
        seed: Of the draws.
    """

    corpus: tuple[str, ...]
    pairs: str
    score: Score = "min-excess"
    top: int = TOP
    sample: int = SAMPLE
    background: int = BACKGROUND
    tokenizer: str | None = None
    filter_with: str | None = None
    similarity_quantile: float = QUANTILE
    text_field: str = "text"
    maximum_bad_lines: int = MAXIMUM_BAD_LINES
    seed: int = 0

    def check(self) -> None:
        """Refuse numbers that make no sense."""
        if self.score not in SCORES:
            raise ConfigError(f"--score {self.score}", f"one of {', '.join(SCORES)}", "correct it")
        for name in ("top", "sample", "background"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}", "at least 1", "give a larger number")
        if not 0 <= self.similarity_quantile < 1:
            raise ConfigError(
                f"--similarity-quantile {self.similarity_quantile}",
                "0 to below 1",
                "give a share such as 0.9",
            )


def read_word_pairs(path: Path, matching: Matching) -> list[tuple[str, str]]:
    """Read word pairs from a file of pairs, or from a word task: its words with their main translations.

    Args:
        path: The file.
        matching: How words will be matched.

    Returns:
        The pairs, each once.

    Raises:
        ConfigError: The file cannot be read, or a line is no pair.
    """
    if is_word_task(path):
        pairs = [(item.source_word, item.target_word) for item in read_word_task(path).items]
    else:
        pairs = read_pairs(path, matching=matching)
    return list(dict.fromkeys(pairs))


def load_tokens(
    reference: str | None, trust_remote_code: bool, accept_terms: bool
) -> tuple[Tokens, list[InputRevision]]:
    """Load what cuts texts into tokens.

    Args:
        reference: Of a tokenizer, or None for words.
        trust_remote_code: Run Python code that it carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        The tokens, and the tokenizer's revision.

    Raises:
        LingraftError: There is no such tokenizer, or no fast one.
    """
    if reference is None:
        return WordTokens(), []
    from lingraft.models.loading import load_tokenizer
    from lingraft.recipes.inputs import tokenizer_revision

    tokenizer = load_tokenizer(reference, trust_remote_code=trust_remote_code, accept_terms=accept_terms)
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"{reference} has no fast tokenizer", "a tokenizer.json", "give another --tokenizer"
        )
    revision = tokenizer_revision(tokenizer)
    return ModelTokens(tokenizer, reference), [
        InputRevision(role="tokenizer", reference=reference, revision=revision)
    ]


def write_table(path: Path, table: pa.Table, about: dict[str, str]) -> None:
    """Write a table as parquet, atomically, with words about it in its metadata."""
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(about), temporary, compression="zstd")


def corpus_revision(shards: Sequence[Any]) -> str:
    """Return what pins a corpus without reading it: its files' names, sizes and times of change."""
    return fingerprint({shard.file: shard.identity for shard in shards})


def load_filter(options: DiscoverOptions, trust_remote_code: bool, accept_terms: bool) -> Any:
    """Load the embeddings of the semantic filter.

    Args:
        options: Name them, or none.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        LoadedDonor, or None for no filter.

    Raises:
        LingraftError: There is no such model, or it cannot be read.
    """
    if options.filter_with is None:
        return None
    from lingraft.models.loading import load_donor

    return load_donor(options.filter_with, trust_remote_code=trust_remote_code, accept_terms=accept_terms)
