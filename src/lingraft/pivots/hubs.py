"""The co-occurrence graph over words, and its hubs: tokens that come with many words of both languages.

A word and a token are joined where the token is in clearly more of the word's documents than of others. In a corpus of
two languages every word is joined to the function words of its own, which lie between nothing: a hub is therefore
joined to several source words and to several target words. The least excess and degree, and this rule, are our choice.
"""

from collections.abc import Sequence
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
        source_words: Source words that each is joined to, int64 [hubs].
        target_words: Target words, int64 [hubs].
        strengths: Sum of the excess over these words, float64 [hubs].
        edges: Edges of the whole graph.
    """

    tokens: NDArray[np.int64]
    source_words: NDArray[np.int64]
    target_words: NDArray[np.int64]
    strengths: NDArray[np.float64]
    edges: int

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Words joined to on the side that has fewer, int64 [hubs]."""
        return np.minimum(self.source_words, self.target_words)


def find_hubs(
    frequencies: DocumentFrequencies,
    rows: Sequence[tuple[int, int]],
    *,
    tokens: Tokens,
    least_excess: float = LEAST_EXCESS,
    least_degree: int = LEAST_DEGREE,
) -> Hubs:
    """Find the hubs of the graph.

    Args:
        frequencies: Of the samples; the words are the graph's one side, the tokens its other.
        rows: The pairs' rows in `frequencies`: source and target words.
        tokens: How documents were cut into tokens.
        least_excess: Least share of a word's documents, above the background's, that makes an edge.
        least_degree: Least edges of a hub to source words, and to target words.

    Returns:
        The hubs: more edges on the lesser side first, then the stronger, then in the order of the tokens.
    """
    sides = [{pair[side] for pair in rows} for side in (0, 1)]
    degrees = np.zeros((2, len(frequencies.tokens)), dtype=np.int64)
    strengths = np.zeros(len(frequencies.tokens))
    edges = 0
    for word in np.flatnonzero(frequencies.found).tolist():
        above = excess(frequencies, word)
        joined = above >= least_excess
        for side, members in enumerate(sides):
            degrees[side] += joined & (word in members)
        strengths += np.where(joined, above, 0.0)
        edges += int(joined.sum())
    lesser = degrees.min(axis=0)
    numbers = np.flatnonzero(lesser >= least_degree).tolist()
    kept = [number for number in numbers if is_wordlike(tokens.show(frequencies.tokens[number]))]
    chosen = np.array(kept, dtype=np.int64)
    chosen = chosen[np.lexsort((chosen, -strengths[chosen], -lesser[chosen]))]
    return Hubs(chosen, degrees[0, chosen], degrees[1, chosen], strengths[chosen], edges)


def hub_table(hubs: Hubs, frequencies: DocumentFrequencies, *, tokens: Tokens) -> pa.Table:
    """Lay hubs out as a table, a row each.

    Args:
        hubs: Of `find_hubs`.
        frequencies: What they were found in.
        tokens: How documents were cut into tokens.

    Returns:
        Columns `token`, `token_id` (of a model's tokenizer, else null), `degree` (the lesser of the next two),
        `source_words`, `target_words`, `strength`, `df_background`.
    """
    model = not isinstance(tokens, WordTokens)
    keys = [frequencies.tokens[number] for number in hubs.tokens.tolist()]
    return pa.table(
        {
            "token": pa.array([tokens.show(key) for key in keys], pa.string()),
            "token_id": pa.array([int(key) if model else None for key in keys], pa.int64()),
            "degree": hubs.degrees,
            "source_words": hubs.source_words,
            "target_words": hubs.target_words,
            "strength": hubs.strengths,
            "df_background": frequencies.background[hubs.tokens] / max(1, frequencies.background_documents),
        }
    )
