"""What `pivots select` takes: its options, and the pivot set from the files that hold one."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.errors import ConfigError
from lingraft.pivots.controls import CONTROLS
from lingraft.pivots.discovery_tokens import WordTokens
from lingraft.pivots.matching import Matching

LEAST_PAIRS, MOST_PIVOTS, LEAST_LENGTH = 2, 1000, 20


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """What makes one selection differ from another.

    Attributes:
        corpus: Files, directories, glob patterns or data sets.
        pivots: File of pivots: parquet of `pivots discover`, or one token a line.
        tokens: Budget of each set.
        controls: Which controls.
        tokenizer: Reference of the tokenizer that counts the budget; None counts words.
        least_pairs: Pairs, or words of the graph, that a token must be a pivot of.
        most_pivots: Size of the pivot set.
        least_length: Words (or tokens, where pivots are) that a document must have.
        quotas: Language and share; empty for none.
        languages: What documents that state no language are identified among; empty for no identification.
        parallel_corpus: Documents in two languages, for the control of parallel ones; empty to look for them.
        parallel_fields: Two fields of its records that are joined to a document; empty for one text field.
        test_words: Files of words that are tested later.
        keep_out_test_pairs: Documents with both words of a test pair are not chosen.
        text_field: Name of the field or column that holds the text.
        maximum_bad_lines: How many bad lines to go on after.
        seed: Of all orders.
    """

    corpus: tuple[str, ...]
    pivots: str
    tokens: int
    controls: tuple[str, ...] = ()
    tokenizer: str | None = None
    least_pairs: int = LEAST_PAIRS
    most_pivots: int = MOST_PIVOTS
    least_length: int = LEAST_LENGTH
    quotas: tuple[tuple[str, float], ...] = ()
    languages: tuple[str, ...] = ()
    parallel_corpus: tuple[str, ...] = ()
    parallel_fields: tuple[str, ...] = ()
    test_words: tuple[str, ...] = ()
    keep_out_test_pairs: bool = False
    text_field: str = "text"
    maximum_bad_lines: int = MAXIMUM_BAD_LINES
    seed: int = 0

    def check(self) -> None:
        """Refuse what does not fit together."""
        for name in ("tokens", "least_pairs", "most_pivots", "least_length"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} {getattr(self, name)}", "at least 1", "give a larger number")
        if unknown := [name for name in self.controls if name not in CONTROLS]:
            raise ConfigError(f"--control {unknown[0]}", f"one of {', '.join(CONTROLS)}", "correct it")
        if repeated := [name for name, count in Counter(self.controls).items() if count > 1]:
            raise ConfigError(f"--control {repeated[0]} twice", "each control once", "leave one out")
        if "parallel" in self.controls and not self.parallel_corpus and len(self.languages) < 2:
            raise ConfigError(
                "--control parallel without a second language",
                "two languages to look for in documents, or documents that hold both",
                "give --languages en,de or --parallel-corpus PATH",
            )
        if self.parallel_fields and len(self.parallel_fields) != 2:
            raise ConfigError(
                f"--parallel-fields {','.join(self.parallel_fields)}",
                "two fields, such as en,target",
                "correct it",
            )
        if self.keep_out_test_pairs and not self.test_words:
            raise ConfigError(
                "--keep-out-test-pairs without test words",
                "--test-words FILE",
                "give the words that are tested",
            )


@dataclass(frozen=True, slots=True)
class PivotSet:
    """The tokens that choose documents.

    Attributes:
        tokens: The tokens, best first.
        tokenizer: Reference of the tokenizer that they are ids of; "" for words.
        left_out: How many tokens of the file are not in the set, by reason.
    """

    tokens: tuple[str, ...]
    tokenizer: str
    left_out: dict[str, int]


def read_pivot_set(path: Path, *, least_pairs: int = LEAST_PAIRS, most: int = MOST_PIVOTS) -> PivotSet:
    """Read a pivot set.

    From `pivots.parquet` come the tokens that are pivots of `least_pairs` pairs or more: the hubs of the graph of pairs
    and pivots. From `hubs.parquet` come the tokens joined to so many words. From a text file comes every line.

    Args:
        path: The file.
        least_pairs: Pairs, or words, that a token must serve; of no meaning for a text file.
        most: Largest size of the set; those that serve the most are kept, then the stronger.

    Returns:
        The set.

    Raises:
        ConfigError: The file cannot be read, holds no token, or none that serves so many pairs.
    """
    if path.suffix != ".parquet":
        tokens = _text_tokens(path)
        return PivotSet(tuple(tokens[:most]), "", _reasons({"beyond --most-pivots": len(tokens) - most}))
    table = _read_table(path)
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    rows = table.to_pylist()
    kept = [row for row in rows if row.get("kept", True)]
    if not kept:
        raise ConfigError(
            f"no pivot in {path}" + (f" (the semantic filter kept none of {len(rows)})" if rows else ""),
            "at least one token",
            "discover pivots in a larger corpus, or of other words",
        )
    degrees: Counter[str] = Counter()
    strengths: dict[str, float] = {}
    for row in kept:
        key = row["token"] if row.get("token_id") is None else str(row["token_id"])
        degrees[key] += row.get("degree", 1)
        strengths[key] = strengths.get(key, 0.0) + float(row.get("strength", row.get("score", 0.0)) or 0.0)
    hubs = [key for key, degree in degrees.items() if degree >= least_pairs]
    if not hubs:
        raise ConfigError(
            f"none of the {len(degrees)} pivots in {path} serves {least_pairs} pairs or words",
            "hubs, which serve several",
            f"give --least-pairs {max(degrees.values())}, or discover the pivots of more pairs",
        )
    hubs.sort(key=lambda key: (-degrees[key], -strengths[key], key))
    left_out = {
        "dropped by the semantic filter": len(rows) - len(kept),
        f"a pivot of fewer than {least_pairs} pairs": len(degrees) - len(hubs),
        "beyond --most-pivots": len(hubs) - most,
    }
    return PivotSet(tuple(hubs[:most]), metadata.get("tokenizer", ""), _reasons(left_out))


def _reasons(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count > 0}


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as a table: {str(error).splitlines()[0][:160]}",
            "pivots.parquet or hubs.parquet of `lingraft pivots discover`",
            "give such a file, or a text file with a token a line",
        ) from error
    if "token" not in table.column_names:
        raise ConfigError(
            f"{path} with the columns {', '.join(table.column_names)}",
            "a column token",
            "give pivots.parquet or hubs.parquet of `lingraft pivots discover`",
        )
    return table


def _text_tokens(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        detail = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path} cannot be read: {detail}", "a file of pivots", "check the path") from error
    words, found = WordTokens(Matching()), []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        tokens = words.split([line])[0]
        if len(tokens) != 1:
            raise ConfigError(
                f"{path} line {number}: {line.strip()[:60]!r} is {len(tokens)} words",
                "one word a line",
                "mend that line",
            )
        found.append(tokens[0])
    if not found:
        raise ConfigError(f"no pivot in {path}", "at least one token", "give a file with a token a line")
    return list(dict.fromkeys(found))
