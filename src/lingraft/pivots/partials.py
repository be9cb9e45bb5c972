"""Long work on words in parts, each a file that is whole or not there, so that a killed run continues."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lingraft.files import replacing
from lingraft.pivots.scoring import WordScores
from lingraft.pivots.tracing import Traces
from lingraft.pivots.wordtask import WordItem

PARTS = "parts"
"""Directory of finished parts in a run directory."""
Part = dict[str, NDArray[Any]]
_SCORES = ("probability", "distractor", "beaten_by", "first_rank", "target_tokens", "shares_tokens")
_TRACES = (
    "position",
    "next_id",
    "next_probability",
    "top_ids",
    "top_probabilities",
    "top_letters",
    "source_mass",
    "target_mass",
    "pivot_mass",
)
_SETS = ("source_ids", "target_ids", "pivot_ids")


def in_parts(directory: Path, count: int, size: int, work: Callable[[int, int], Part]) -> list[Part]:
    """Do work part by part; parts that are there already are read.

    Args:
        directory: The run directory; parts are kept in `parts` in it.
        count: Words in all.
        size: Words of a part. A continued run must take the same.
        work: Given the first word's number and the number after the last's, arrays.

    Returns:
        All parts, in order.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    parts = []
    for begin in range(0, count, size):
        path = directory / PARTS / f"{begin:08d}.safetensors"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            arrays = {name: np.ascontiguousarray(array) for name, array in work(begin, begin + size).items()}
            with replacing(path) as temporary:
                save_file(arrays, temporary)
        parts.append(load_file(path))
    return parts


def scores_to_part(scores: WordScores) -> Part:
    """Return the arrays of some words' scores, lines said as JSON in bytes."""
    part: Part = {name: getattr(scores, name) for name in _SCORES}
    if scores.said is not None and scores.correct is not None:
        part["correct"], part["said"] = scores.correct, _packed(scores.said)
    return part


def join_scores(items: Sequence[WordItem], parts: Sequence[Part]) -> WordScores:
    """Put scores together.

    Args:
        items: All words, in the parts' order.
        parts: Of `scores_to_part`.

    Returns:
        The scores of all words.
    """
    joined = {name: np.concatenate([part[name] for part in parts]) for name in _SCORES}
    generated = all("said" in part for part in parts)
    return WordScores(
        items=tuple(items),
        correct=np.concatenate([part["correct"] for part in parts]) if generated else None,
        said=tuple(tuple(lines) for part in parts for lines in _unpacked(part["said"]))
        if generated
        else None,
        **joined,
    )


def traces_to_part(traces: Traces) -> Part:
    """Return the arrays of some words' traces, their tokens as JSON in bytes."""
    sets = {name: [sorted(tokens) for tokens in getattr(traces, name)] for name in _SETS}
    return {**{name: getattr(traces, name) for name in _TRACES}, "item": traces.item, "sets": _packed(sets)}


def join_traces(items: Sequence[WordItem], skipped: Sequence[WordItem], parts: Sequence[Part]) -> Traces:
    """Put traces together.

    Args:
        items: All traced words, in the parts' order.
        skipped: Words that were left out.
        parts: Of `traces_to_part`.

    Returns:
        The traces of all words.
    """
    joined: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in _TRACES}
    sets: dict[str, list[frozenset[int]]] = {name: [] for name in _SETS}
    owners = []
    for part in parts:
        owners.append(part["item"] + len(sets["source_ids"]))
        for name, groups in _unpacked(part["sets"]).items():
            sets[name].extend(map(frozenset, groups))
    joined |= {name: tuple(groups) for name, groups in sets.items()}
    return Traces(items=tuple(items), skipped=tuple(skipped), item=np.concatenate(owners), **joined)


def _packed(value: Any) -> NDArray[np.uint8]:
    # Half of a character, which generated text can end in, has no UTF-8.
    text = json.dumps(value, ensure_ascii=True).encode("ascii")
    return np.frombuffer(text, dtype=np.uint8)


def _unpacked(array: NDArray[Any]) -> Any:
    return json.loads(array.tobytes())
