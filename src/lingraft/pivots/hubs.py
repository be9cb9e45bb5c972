"""The co-occurrence graph over words, and its hubs: tokens that come with many of the words.

A word and a token are joined where the token is in clearly more of the word's documents than of others. A hub is joined
to several words; the set of hubs is what documents are chosen by. The least excess and degree are our choice.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lingraft.pivots.discovery import DocumentFrequencies, excess
from lingraft.pivots.discovery_tokens import Tokens, WordTokens, is_wordlike

LEAST_EXCESS, LEAST_DEGREE = 0.05, 2


@dataclass(frozen=True, slots=True)
class Hubs:
    """Tokens joined to several words, the best joined first.

    Attributes:
        tokens: Numbers of the tokens, int64 [hubs].
        degrees: Words that each is joined to, int64 [hubs].
        strengths: Sum of the excess over these words, float64 [hubs].
        edges: Edges of the whole graph.
    """

    tokens: NDArray[np.int64]
    degrees: NDArray[np.int64]
    strengths: NDArray[np.float64]
    edges: int


def find_hubs(
    frequencies: DocumentFrequencies,
    *,
    tokens: Tokens,
    least_excess: float = LEAST_EXCESS,
    least_degree: int = LEAST_DEGREE,
) -> Hubs:
    """Find the hubs of the graph.

    Args:
        frequencies: Of the samples; the words are the graph's one side, the tokens its other.
        tokens: How documents were cut into tokens.
        least_excess: Least share of a word's documents, above the background's, that makes an edge.
        least_degree: Least edges of a hub.

    Returns:
        The hubs: more edges first, then the stronger, then in the order of the tokens.
    """
    degrees = np.zeros(len(frequencies.tokens), dtype=np.int64)
    strengths = np.zeros(len(frequencies.tokens))
    for word in np.flatnonzero(frequencies.found).tolist():
        above = excess(frequencies, word)
        joined = above >= least_excess
        degrees += joined
        strengths += np.where(joined, above, 0.0)
    numbers = np.flatnonzero(degrees >= least_degree)
    kept = [number for number in numbers.tolist() if is_wordlike(tokens.show(frequencies.tokens[number]))]
    chosen = np.array(kept, dtype=np.int64)
    order = np.lexsort((chosen, -strengths[chosen], -degrees[chosen]))
    chosen = chosen[order]
    return Hubs(chosen, degrees[chosen], strengths[chosen], int(degrees.sum()))


def hub_table(hubs: Hubs, frequencies: DocumentFrequencies, *, tokens: Tokens) -> pa.Table:
    """Lay hubs out as a table, a row each.

    Args:
        hubs: Of `find_hubs`.
        frequencies: What they were found in.
        tokens: How documents were cut into tokens.

    Returns:
        Columns `token`, `token_id` (of a model's tokenizer, else null), `degree`, `strength`, `df_background`.
    """
    model = not isinstance(tokens, WordTokens)
    keys = [frequencies.tokens[number] for number in hubs.tokens.tolist()]
    return pa.table(
        {
            "token": pa.array([tokens.show(key) for key in keys], pa.string()),
            "token_id": pa.array([int(key) if model else None for key in keys], pa.int64()),
            "degree": hubs.degrees,
            "strength": hubs.strengths,
            "df_background": frequencies.background[hubs.tokens] / max(1, frequencies.background_documents),
        }
    )
