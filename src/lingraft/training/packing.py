"""Texts packed into blocks of one length, as a causal language model is trained on them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lingraft.corpora.encoding import document_start, encode_documents
from lingraft.errors import CorpusError, TrainingError
from lingraft.files import replacing

BLOCKS_AT_ONCE = 1024
"""Blocks gathered before they are written: bounds memory when packing to a file."""


@dataclass(frozen=True, slots=True)
class PackingCounts:
    """What went into the blocks and what did not.

    Attributes:
        documents: Documents packed.
        tokens: Tokens in the blocks, document-start tokens included.
        blocks: Blocks.
        dropped_tokens: Tokens of the last, partial block, which is dropped.
        bytes: UTF-8 bytes of the documents.
    """

    documents: int
    tokens: int
    blocks: int
    dropped_tokens: int
    bytes: int


def pack_blocks(
    texts: Iterable[str],
    tokenizer: Any,
    block_length: int,
    *,
    start_token: int | None = None,
    file: Path | None = None,
) -> NDArray[np.int32]:
    """Pack documents one after another into blocks; see `pack_with_counts`.

    Args:
        texts: The documents.
        tokenizer: A fast transformers tokenizer.
        block_length: Tokens in a block.
        start_token: Id to put before each document instead of the tokenizer's bos or eos.
        file: A .npy file to pack into; the array returned then maps it.

    Returns:
        int32 [blocks, block_length].

    Raises:
        CorpusError: The documents fill no block.
        TrainingError: A block length below 2.
        TokenizerError: No document-start token, or no fast tokenizer.
    """
    return pack_with_counts(texts, tokenizer, block_length, start_token=start_token, file=file)[0]


def pack_with_counts(
    texts: Iterable[str],
    tokenizer: Any,
    block_length: int,
    *,
    start_token: int | None = None,
    file: Path | None = None,
) -> tuple[NDArray[np.int32], PackingCounts]:
    """Pack documents one after another into blocks of one length.

    Before each document stands the document-start token that `bits_per_byte` scores from (bos role, else eos role:
    our choice), so training sees documents begin as measuring does. A document may go on in the next block. Attention
    crosses document borders inside a block, as is usual.

    Args:
        texts: The documents; empty ones are left out.
        tokenizer: A fast transformers tokenizer.
        block_length: Tokens in a block.
        start_token: Id to put before each document instead of the tokenizer's bos or eos.
        file: A .npy file to pack into; the array returned then maps it.

    Returns:
        int32 [blocks, block_length], and the counts.

    Raises:
        CorpusError: The documents fill no block.
        TrainingError: A block length below 2.
        TokenizerError: No document-start token, or no fast tokenizer.
    """
    if block_length < 2:
        raise TrainingError(f"a block length of {block_length}", "2 tokens or more", "give a longer block")
    packer = _Packer(block_length, document_start(tokenizer, start_token))
    pieces = packer.run(texts, tokenizer)
    if file is None:
        gathered = list(pieces)
        blocks = np.concatenate(gathered) if gathered else np.zeros((0, block_length), dtype=np.int32)
    else:
        blocks = _to_file(file, pieces, block_length)
    if not len(blocks):
        raise CorpusError(
            f"{packer.documents} documents of {packer.left} tokens",
            f"enough text for one block of {block_length} tokens",
            "give more text or a shorter block",
        )
    counts = PackingCounts(packer.documents, int(blocks.size), len(blocks), packer.left, packer.bytes)
    return blocks, counts


class _Packer:
    """Joins token ids and cuts them into blocks; counts as it goes."""

    def __init__(self, block_length: int, start: int) -> None:
        self.block_length, self.start = block_length, start
        self.documents = self.bytes = self.left = 0

    def run(self, texts: Iterable[str], tokenizer: Any) -> Iterator[NDArray[np.int32]]:
        pending: list[NDArray[np.int32]] = []
        start = np.array([self.start], dtype=np.int32)
        enough = self.block_length * BLOCKS_AT_ONCE
        for item in encode_documents(tokenizer, texts):
            if not item.size:
                continue
            self.documents += 1
            self.bytes += item.size
            pending += [start, item.ids]
            self.left += 1 + len(item.ids)
            if self.left >= enough:
                full, rest = self._cut(pending)
                pending = [rest]
                yield full
        if pending:
            yield self._cut(pending)[0]

    def _cut(self, pending: list[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        joined = np.concatenate(pending)
        whole = len(joined) // self.block_length * self.block_length
        self.left = len(joined) - whole
        return joined[:whole].reshape(-1, self.block_length), joined[whole:].copy()


def _to_file(file: Path, pieces: Iterator[NDArray[np.int32]], block_length: int) -> NDArray[np.int32]:
    """Write blocks to a .npy file without holding them: raw first, as the header needs their number."""
    with replacing(file) as temporary:
        raw = temporary.with_suffix(".raw")
        try:
            count = 0
            with raw.open("wb") as out:
                for piece in pieces:
                    piece.tofile(out)
                    count += len(piece)
            mapped = open_memmap(temporary, mode="w+", dtype=np.int32, shape=(count, block_length))
            if count:
                written = np.memmap(raw, dtype=np.int32, mode="r", shape=(count, block_length))
                for begin in range(0, count, BLOCKS_AT_ONCE):
                    mapped[begin : begin + BLOCKS_AT_ONCE] = written[begin : begin + BLOCKS_AT_ONCE]
            mapped.flush()
        finally:
            raw.unlink(missing_ok=True)
    blocks: NDArray[np.int32] = np.load(file, mmap_mode="r")
    return blocks


def block_order(blocks: int, needed: int, seed: int) -> NDArray[np.int64]:
    """Return which block comes when: one permutation after another, from the seed alone.

    Args:
        blocks: How many blocks there are.
        needed: How many are needed over the whole training.
        seed: The seed of the order.

    Returns:
        int64 [needed].
    """
    generator = np.random.default_rng(seed)
    rounds = -(-needed // blocks)
    return np.concatenate([generator.permutation(blocks) for _ in range(rounds)])[:needed].astype(np.int64)
