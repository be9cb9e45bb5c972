"""From traces to behaviours: direct (co-occurrence), by way of a pivot, or stuck at the source word."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lingraft.files import replacing
from lingraft.pivots.tracing import Traces
from lingraft.reports.intervals import Estimate, mean_interval

COOCCURRENCE, PIVOT, SOURCE = "cooccurrence", "pivot", "source"
BEHAVIOURS = (COOCCURRENCE, PIVOT, SOURCE)
NO_WORD = "no word"
"""Label of a place where no layer says a token with a letter, with `words_only`: of no behaviour."""
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def leading_tokens(
    traces: Traces, *, words_only: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each layer's likeliest token and its probability.

    Args:
        traces: The traces.
        words_only: Take the likeliest token that holds a letter (our choice). Middle layers of some models say a blank
            with near certainty, which is no pivot.

    Returns:
        int64 `[R, L]` and float32 `[R, L]`; -1 and 0 where none of the kept top tokens holds a letter.
    """
    if not words_only:
        return traces.top_ids[..., 0], traces.top_probabilities[..., 0]
    first = traces.top_letters.argmax(axis=-1)[..., None]
    there = traces.top_letters.any(axis=-1)
    ids = np.take_along_axis(traces.top_ids, first, -1)[..., 0]
    probabilities = np.take_along_axis(traces.top_probabilities, first, -1)[..., 0]
    return np.where(there, ids, -1), np.where(there, probabilities, np.float32(0))


def without_common_tokens(traces: Traces, *, share: float = 0.1) -> Traces:
    """Mark tokens that lead a layer for many words as saying nothing of any (our choice), for `words_only`.

    Early layers of some models say the same token whatever the word: they continue the prompt's last token.
    A word's own source and target tokens, and what the final layer says, stay.

    Args:
        traces: The traces.
        share: A token that leads, in any layer but the last, for more than this share of the words is common.

    Returns:
        The same traces with `top_letters` false for common tokens.
    """
    leads = [np.unique(row) for row in traces.top_ids[traces.position == 0][:, :-1, 0]]
    tokens, counts = np.unique(np.concatenate(leads), return_counts=True)
    common = np.isin(traces.top_ids, tokens[counts > share * len(leads)])
    common[:, -1] = False
    for row, item in enumerate(traces.item):
        own = [*traces.source_ids[item], *traces.target_ids[item], traces.top_ids[row, -1, 0]]
        common[row] &= ~np.isin(traces.top_ids[row], own)
    return replace(traces, top_letters=traces.top_letters & ~common)


def peak_layers(traces: Traces, *, words_only: bool = False) -> NDArray[np.int64]:
    """The layer whose leading token has the highest probability; the later of equals.

    Args:
        traces: The traces.
        words_only: As in `leading_tokens`.

    Returns:
        `[R]`, layers from 0.
    """
    best = leading_tokens(traces, words_only=words_only)[1]
    found: NDArray[np.int64] = best.shape[1] - 1 - best[:, ::-1].argmax(axis=1)
    return found


def behaviours(traces: Traces, *, words_only: bool = False) -> list[str]:
    """Label every place by its peak layer.

    Its token is the final layer's: co-occurrence, the direct way. Else, where it is no token of the source word:
    pivot. Else: source.

    Args:
        traces: The traces.
        words_only: As in `leading_tokens`, for the peak and for the final layer.

    Returns:
        `[R]`, each one of `BEHAVIOURS`, or `NO_WORD`.
    """
    labels = []
    ids, _ = leading_tokens(traces, words_only=words_only)
    for row, layer in enumerate(peak_layers(traces, words_only=words_only)):
        token = int(ids[row, layer])
        if token < 0:
            labels.append(NO_WORD)
        elif token == int(ids[row, -1]):
            labels.append(COOCCURRENCE)
        else:
            labels.append(SOURCE if token in traces.source_ids[traces.item[row]] else PIVOT)
    return labels


def pivot_strength(
    traces: Traces, *, words_only: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """How surely any layer says something that is neither source nor target.

    A threshold p then finds a pivot where the strength is p or more: one pass serves all thresholds.

    Args:
        traces: The traces.
        words_only: As in `leading_tokens`.

    Returns:
        `[R]`, the highest probability among layers whose leading token is no token of the source or target word, 0
        where there is no such layer; and `[R]`, that token, -1 likewise.
    """
    ids, probabilities = leading_tokens(traces, words_only=words_only)
    strength = np.zeros(len(traces.item), dtype=np.float32)
    tokens = np.full(len(traces.item), -1, dtype=np.int64)
    for row, item in enumerate(traces.item):
        own = [-1, *traces.source_ids[item], *traces.target_ids[item]]
        outside = ~np.isin(ids[row], own)
        if outside.any():
            reached = np.where(outside, probabilities[row], -1.0)
            layer = int(reached.argmax())
            strength[row], tokens[row] = reached[layer], ids[row, layer]
    return strength, tokens


def behaviour_shares(traces: Traces, *, words_only: bool = False, seed: int = 0) -> dict[str, Estimate]:
    """Share of words of each behaviour at the first target token, with bootstrap intervals over words.

    The shares are of all words; what is left to one is `NO_WORD`.

    Args:
        traces: The traces.
        words_only: As in `leading_tokens`.
        seed: Of the bootstrap.

    Returns:
        Behaviour to share.
    """
    labels = np.array(behaviours(traces, words_only=words_only))[traces.position == 0]
    return {name: mean_interval(labels == name, seed=seed) for name in BEHAVIOURS}


def threshold_sweep(
    traces: Traces, thresholds: Sequence[float] = THRESHOLDS, *, words_only: bool = False, seed: int = 0
) -> list[tuple[float, Estimate]]:
    """Share of words with a pivot by the threshold variant, at the first target token.

    Args:
        traces: The traces.
        thresholds: Lowest top-1 probabilities that count.
        words_only: As in `leading_tokens`.
        seed: Of the bootstrap.

    Returns:
        Threshold and share.
    """
    strength = pivot_strength(traces, words_only=words_only)[0][traces.position == 0]
    # Compared in single precision, as the probabilities are: 0.1 is then 0.1.
    return [
        (threshold, mean_interval((strength >= np.float32(threshold)) & (strength > 0), seed=seed))
        for threshold in thresholds
    ]


def mass_by_layer(traces: Traces, *, seed: int = 0) -> dict[str, list[Estimate]]:
    """Mean probability mass of source, pivot and target tokens in each layer, at the first target token.

    Args:
        traces: The traces.
        seed: Of the bootstrap over words.

    Returns:
        `source`, `pivot` (only where pivots were given) and `target` to one estimate a layer.
    """
    masses = {"source": traces.source_mass, "pivot": traces.pivot_mass, "target": traces.target_mass}
    if not any(traces.pivot_ids):
        del masses["pivot"]
    first = traces.position == 0
    return {
        name: [mean_interval(column, seed=seed) for column in mass[first].T] for name, mass in masses.items()
    }


def word_table(traces: Traces, tokenizer: Any) -> pa.Table:
    """One row a traced place.

    Args:
        traces: The traces.
        tokenizer: For the tokens' texts.

    Returns:
        Columns `source_word`, `target_word`, `position`, `behaviour`, `behaviour_of_words` (with `words_only`),
        `word_pivot_strength`, `word_pivot_token_id`, `word_pivot_token` (the threshold variant with `words_only`),
        `peak_layer`, `peak_token_id`, `peak_token`, `peak_probability`, `final_token_id`, `final_token`,
        `final_probability`, `next_token_id`, `pivot_strength`, `pivot_token_id`,
        `pivot_token` (by the threshold variant; empty where there is none).
    """
    rows, layers = np.arange(len(traces.item)), peak_layers(traces)
    peak, final = traces.top_ids[rows, layers, 0], traces.top_ids[:, -1, 0]
    strength, pivot = pivot_strength(traces)
    word_strength, word_pivot = pivot_strength(traces, words_only=True)
    items = [traces.items[item] for item in traces.item]
    return pa.table(
        {
            "source_word": [item.source_word for item in items],
            "target_word": [item.target_word for item in items],
            "position": traces.position,
            "behaviour": behaviours(traces),
            "behaviour_of_words": behaviours(traces, words_only=True),
            "word_pivot_strength": word_strength,
            "word_pivot_token_id": pa.array(word_pivot, pa.int64(), mask=word_pivot < 0),
            "word_pivot_token": pa.array(_texts(tokenizer, word_pivot), pa.string(), mask=word_pivot < 0),
            "peak_layer": layers,
            "peak_token_id": peak,
            "peak_token": _texts(tokenizer, peak),
            "peak_probability": traces.top_probabilities[rows, layers, 0],
            "final_token_id": final,
            "final_token": _texts(tokenizer, final),
            "final_probability": traces.top_probabilities[:, -1, 0],
            "next_token_id": traces.next_id,
            "pivot_strength": strength,
            "pivot_token_id": pa.array(pivot, pa.int64(), mask=pivot < 0),
            "pivot_token": pa.array(_texts(tokenizer, pivot), pa.string(), mask=pivot < 0),
        }
    )


def layer_table(traces: Traces, tokenizer: Any) -> pa.Table:
    """One row a traced place and layer.

    Args:
        traces: The traces.
        tokenizer: For the tokens' texts.

    Returns:
        Columns `source_word`, `target_word`, `position`, `layer`, `source_mass`, `pivot_mass`, `target_mass`,
        `next_probability`, and lists `top_token_ids`, `top_tokens`, `top_probabilities`.
    """
    count, layers, top = traces.top_ids.shape
    items = [traces.items[item] for item in traces.item.repeat(layers)]
    texts = _texts(tokenizer, traces.top_ids.reshape(-1))
    return pa.table(
        {
            "source_word": [item.source_word for item in items],
            "target_word": [item.target_word for item in items],
            "position": traces.position.repeat(layers),
            "layer": np.tile(np.arange(layers), count),
            "source_mass": traces.source_mass.reshape(-1),
            "pivot_mass": traces.pivot_mass.reshape(-1),
            "target_mass": traces.target_mass.reshape(-1),
            "next_probability": traces.next_probability.reshape(-1),
            "top_token_ids": list(traces.top_ids.reshape(-1, top)),
            "top_tokens": [texts[begin : begin + top] for begin in range(0, len(texts), top)],
            "top_probabilities": list(traces.top_probabilities.reshape(-1, top)),
        }
    )


def write_traces(directory: Path, traces: Traces, tokenizer: Any) -> dict[str, str]:
    """Write `traces.parquet` (a row a place) and `trace_layers.parquet` (a row a place and layer), each atomically.

    Args:
        directory: An existing directory.
        traces: The traces.
        tokenizer: For the tokens' texts.

    Returns:
        What the files hold, by role.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    files = {"traces": "traces.parquet", "layers": "trace_layers.parquet"}
    for name, table in (("traces", word_table), ("layers", layer_table)):
        with replacing(directory / files[name]) as temporary:
            pq.write_table(table(traces, tokenizer), temporary, compression="zstd")
    return files


def _texts(tokenizer: Any, ids: NDArray[np.int64]) -> list[str]:
    """Tokens as text, each distinct one decoded once; bytes that are no text become replacement characters."""
    known = {
        int(token): str(tokenizer.decode([int(token)])) if token >= 0 else "" for token in np.unique(ids)
    }
    return [known[int(token)] for token in ids]
