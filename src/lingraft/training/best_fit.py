"""Best-fit packing of documents that are read once: which of those waiting fills what is left of a block."""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.encoding import encode_documents

LOOKAHEAD = 128
"""Documents among which the next that fits is sought: enough that little is repeated, and few enough that the order of
documents is hardly mixed."""
FEWEST_BLOCKS, MOST_BLOCKS = 4, 1024
"""Blocks that the waiting documents fill: with fewer, short lines leave long blocks little to choose from; more are not
waited for, so that memory stays bounded where documents are books."""


class _Waiting:
    """Documents that are in no block yet, without a start token: the oldest, and the longest up to a length."""

    def __init__(self) -> None:
        self._held: dict[int, NDArray[np.int32]] = {}
        self._order: deque[int] = deque()
        self._lengths: list[tuple[int, int]] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, document: NDArray[np.int32], *, first: bool = False) -> None:
        """Let a document wait as the youngest, or come next."""
        number, self._next = self._next, self._next + 1
        self._held[number] = document
        if first:
            self._order.appendleft(number)
        else:
            self._order.append(number)
        # Of documents of one length the oldest stands last, where the search below ends.
        insort(self._lengths, (len(document), -number))

    def oldest(self) -> NDArray[np.int32]:
        """Return the document that has waited longest."""
        while self._order[0] not in self._held:
            self._order.popleft()
        return self._held[self._order[0]]

    def take_oldest(self) -> NDArray[np.int32]:
        """Return the document that has waited longest; it waits no more."""
        self.oldest()
        return self._take(self._order[0])

    def take_longest(self, room: int) -> NDArray[np.int32] | None:
        """Return the longest document of at most `room` tokens, which waits no more; None where all are longer."""
        place = bisect_right(self._lengths, (room, 1)) - 1
        return None if place < 0 else self._take(-self._lengths[place][1])

    def _take(self, number: int) -> NDArray[np.int32]:
        document = self._held.pop(number)
        del self._lengths[bisect_right(self._lengths, (len(document), -number)) - 1]
        return document


class Packer:
    """Fills blocks with documents, and counts: `documents` with text, their `bytes`, tokens `repeated`, tokens `left`.

    Args:
        block_length: Tokens in a block.
        start: Id of the token before each document, and before what goes on in another block.
    """

    def __init__(self, block_length: int, start: int) -> None:
        self.block_length = block_length
        self.start = np.array([start], dtype=np.int32)
        self.documents = self.bytes = self.repeated = self.left = 0

    def run(self, texts: Iterable[str], tokenizer: Any, at_once: int) -> Iterator[NDArray[np.int32]]:
        """Fill blocks until the texts end.

        Args:
            texts: The documents; empty ones are left out.
            tokenizer: A fast transformers tokenizer.
            at_once: Blocks gathered before they are given.

        Yields:
            NDArray[np.int32]: `[n, block_length]`, about `at_once` blocks.
        """
        waiting = _Waiting()
        gathered: list[NDArray[np.int32]] = []
        for item in encode_documents(tokenizer, texts):
            if not item.size:
                continue
            self.documents += 1
            self.bytes += item.size
            self.left += 1 + len(item.ids)
            waiting.add(item.ids)
            while self._enough(waiting):
                gathered += self._fill(waiting)
            if len(gathered) >= at_once:
                yield np.stack(gathered)
                gathered = []
        while len(waiting):
            gathered += self._fill(waiting)
        if gathered:
            yield np.stack(gathered)

    def _enough(self, waiting: _Waiting) -> bool:
        blocks = self.left / self.block_length
        return blocks >= MOST_BLOCKS or (blocks >= FEWEST_BLOCKS and len(waiting) > LOOKAHEAD)

    def _fill(self, waiting: _Waiting) -> list[NDArray[np.int32]]:
        """Take documents for one block; empty where all that wait do not fill it."""
        parts = [self.start, self._take_part(waiting, self.block_length - 1)]
        room, repeated = self.block_length - 1 - len(parts[1]), 0
        while room > 0:
            room -= 1
            fitting = waiting.take_longest(room)
            if fitting is None:
                if not len(waiting):
                    return []
                if len(waiting.oldest()) >= self.block_length:
                    fitting = self._take_part(waiting, room)
                else:
                    fitting, repeated = waiting.oldest()[:room], room + 1
            parts += [self.start, fitting]
            room -= len(fitting)
        self.repeated += repeated
        self.left -= self.block_length - repeated
        return [np.concatenate(parts)]

    def _take_part(self, waiting: _Waiting, room: int) -> NDArray[np.int32]:
        """Take what fits of the oldest document; the rest of it comes next, after a start token of its own."""
        document = waiting.take_oldest()
        if len(document) > room:
            # A view: a book is not copied anew for each of its blocks.
            waiting.add(document[room:], first=True)
            self.left += 1
        return document[:room]
