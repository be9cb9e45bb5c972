"""The semantic filter: which pivots mean something like one of the pair's words, by any embeddings.

A threshold on a cosine means something else in every space, so a token is kept where it is nearer to the source or the
target word than a share of the corpus's other tokens is (our choice). Rows are centred first, as all rows of a language
model's embeddings lie to one side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.pivots.discovery import DocumentFrequencies, PairPivots
from lingraft.pivots.discovery_tokens import Tokens, is_wordlike

QUANTILE = 0.9
COMPARED = 4000
"""Tokens of the corpus, the most frequent ones, that a pivot's likeness is compared with."""

Vectors = NDArray[np.float32]


def text_vectors(texts: Sequence[str], embeddings: Vectors, tokenizer: Any) -> Vectors:
    """Embed words by the mean of their pieces' rows, centred, of length 1.

    Args:
        texts: The words.
        embeddings: Input embeddings of a model, float32 [vocabulary, dimension].
        tokenizer: Its tokenizer.

    Returns:
        float32 [texts, dimension]; zero where a word has no piece.
    """
    if not texts:
        return np.zeros((0, embeddings.shape[1]), dtype=np.float32)
    centre = embeddings.mean(axis=0)
    # Words stand inside texts, so they are tokenized as after a blank.
    encoded = tokenizer([f" {text}" for text in texts], add_special_tokens=False)["input_ids"]
    vectors = np.zeros((len(texts), embeddings.shape[1]), dtype=np.float32)
    for row, ids in enumerate(encoded):
        if ids:
            vectors[row] = embeddings[ids].mean(axis=0) - centre
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: Vectors = vectors / np.maximum(lengths, 1e-12)
    return normalised


def filter_pivots(
    found: Sequence[PairPivots],
    frequencies: DocumentFrequencies,
    embeddings: Vectors,
    tokenizer: Any,
    *,
    tokens: Tokens,
    quantile: float = QUANTILE,
) -> tuple[dict[int, list[float]], dict[int, list[bool]]]:
    """Compare every pivot with its pair's words.

    Args:
        found: Of `find_pivots`.
        frequencies: What they were found in.
        embeddings: float32 [vocabulary, dimension].
        tokenizer: The tokenizer of the embeddings.
        tokens: How documents were cut into tokens.
        quantile: Share of the corpus's tokens that a kept pivot is nearer to one of the words than.

    Returns:
        By pair number: each pivot's higher cosine of the two, and whether it is kept.
    """
    shown = [tokens.show(token) for token in frequencies.tokens]
    order = np.lexsort((np.arange(len(shown)), -frequencies.background))
    common = [number for number in order.tolist() if is_wordlike(shown[number])][:COMPARED]
    compared = text_vectors([shown[number] for number in common], embeddings, tokenizer)
    similarities: dict[int, list[float]] = {}
    kept: dict[int, list[bool]] = {}
    for pair, item in enumerate(found):
        own = text_vectors([item.source_word, item.target_word], embeddings, tokenizer)
        pivots = text_vectors([shown[number] for number in item.tokens.tolist()], embeddings, tokenizer)
        cosines = pivots @ own.T
        limits = np.quantile(compared @ own.T, quantile, axis=0)
        similarities[pair] = cosines.max(axis=1, initial=-1.0).tolist()
        kept[pair] = (cosines >= limits).any(axis=1).tolist()
    return similarities, kept
