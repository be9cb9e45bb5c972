"""Learn BPE merges on words that are already token ids: counts of pairs kept up to date, the best from a heap."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

Pair = tuple[int, int]


class PairCounts:
    """Adjacent pairs of ids in a set of words, each word with its number of occurrences.

    Args:
        words: Ids of each word.
        counts: Occurrences of each word.
    """

    def __init__(self, words: Sequence[Sequence[int]], counts: Sequence[int]) -> None:
        self.words = [list(word) for word in words]
        self.counts = counts
        self.pairs: dict[Pair, int] = {}
        self.places: dict[Pair, set[int]] = {}
        for index, word in enumerate(self.words):
            for pair in pairwise(word):
                self.pairs[pair] = self.pairs.get(pair, 0) + counts[index]
                self.places.setdefault(pair, set()).add(index)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(self.heap)

    def best(self, minimum: int, allowed: Callable[[Pair], bool]) -> tuple[Pair, int] | None:
        """Return the most frequent allowed pair and its count, the smaller ids among equals; None below `minimum`."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            current = self.pairs.get(pair, 0)
            if current != -count:  # an entry out of date; a pair that lost occurrences goes back in
                if 0 < current < -count:
                    heapq.heappush(self.heap, (-current, pair))
                continue
            if current < minimum:
                return None
            if allowed(pair):
                return pair, current
            del self.pairs[pair]
        return None

    def merge(self, pair: Pair, new_id: int) -> None:
        """Replace every occurrence of `pair` by `new_id`, left to right."""
        changed: set[Pair] = set()
        for index in self.places.pop(pair, ()):
            old, count = self.words[index], self.counts[index]
            new = merged(old, pair, new_id)
            if len(new) == len(old):
                continue
            for gone in pairwise(old):
                if gone in self.pairs:
                    self.pairs[gone] -= count
                changed.add(gone)
            for come in pairwise(new):
                self.pairs[come] = self.pairs.get(come, 0) + count
                self.places.setdefault(come, set()).add(index)
                changed.add(come)
            self.words[index] = new
        self.pairs.pop(pair, None)
        for other in changed:
            if self.pairs.get(other, 0) > 0:
                heapq.heappush(self.heap, (-self.pairs[other], other))


def merged(word: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Return `word` with `pair` replaced by `new_id` from left to right."""
    result: list[int] = []
    place = 0
    while place < len(word):
        if place + 1 < len(word) and word[place] == pair[0] and word[place + 1] == pair[1]:
            result.append(new_id)
            place += 2
        else:
            result.append(word[place])
            place += 1
    return result


def learn_merges(
    words: Mapping[tuple[int, ...], int],
    surfaces: Mapping[int, str],
    *,
    new_tokens: int,
    first_id: int,
    minimum_count: int,
    prefix: str,
    forbidden: frozenset[str],
) -> Iterator[tuple[str, str, int, bool]]:
    """Yield new merges, most frequent first, until there are `new_tokens` new tokens.

    A pair whose text is a token already gets a merge to that token, which costs no row.

    Args:
        words: Ids of each word and its occurrences.
        surfaces: How the vocabulary writes each id.
        new_tokens: New tokens to make.
        first_id: Id of the first of them.
        minimum_count: Pairs seen less often are left alone.
        prefix: What marks continuing pieces in the vocabulary, dropped from the right part.
        forbidden: Texts that no merge may make (special tokens).

    Yields:
        Left text, right text, id of the result, whether the result is new.
    """
    texts = dict(surfaces)
    ids = {text: token_id for token_id, text in texts.items()}
    state = PairCounts(list(words), list(words.values()))
    made = 0

    def text_of(pair: Pair) -> str:
        return texts[pair[0]] + texts[pair[1]].removeprefix(prefix)

    def allowed(pair: Pair) -> bool:
        return pair[0] in texts and pair[1] in texts and text_of(pair) not in forbidden

    while made < new_tokens:
        found = state.best(minimum_count, allowed)
        if found is None:
            return
        pair, _ = found
        text = text_of(pair)
        new = text not in ids
        token_id = ids.setdefault(text, first_id + made)
        texts[token_id] = text
        made += new
        yield texts[pair[0]], texts[pair[1]], token_id, new
        state.merge(pair, token_id)
