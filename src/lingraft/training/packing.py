"""Texts packed into blocks of one length, as a causal language model is trained on them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lingraft.errors import CorpusError, TrainingError
from lingraft.files import replacing
from lingraft.tokenizers.document_start import document_start
from lingraft.training.best_fit import Packer

BLOCKS_AT_ONCE = 1024
"""Blocks gathered before they are written: bounds memory when packing to a file."""


@dataclass(frozen=True, slots=True)
class PackingCounts:
    """What went into the blocks and what did not.

    Attributes:
        documents: Documents packed.
        tokens: Tokens in the blocks, document-start tokens and repeated ones included.
        blocks: Blocks.
        repeated_tokens: Tokens at the ends of blocks that are another document's beginning, to fill them.
        dropped_tokens: Tokens of the last, partial block, which is dropped.
        bytes: UTF-8 bytes of the documents.
    """

    documents: int
    tokens: int
    blocks: int
    repeated_tokens: int
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
    """Pack documents into blocks that begin where documents do; see `pack_with_counts`.

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
    """Pack documents into blocks of one length, each of which begins with a document-start token.

    Before each document stands the document-start token that `bits_per_byte` scores from (`document_start`), so
    training sees documents begin as measuring does, and at the first position as it does: what a model says there is
    learned there alone.

    A block takes the oldest document waiting, then the longest of those waiting that fits what is left ("best fit",
    arXiv 2404.10830, here with a bounded view, so that any corpus can be read through). Where none fits,
    the beginning of the next document fills the block; that document still comes whole later, or, where it is longer
    than a block, goes on from there. What goes on stands after a document-start token, as in scoring's windows. Inside
    a block attention crosses the borders of documents, as is usual.

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
    packer = Packer(block_length, document_start(tokenizer, start_token))
    pieces = packer.run(texts, tokenizer, BLOCKS_AT_ONCE)
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
    counts = PackingCounts(
        documents=packer.documents,
        tokens=int(blocks.size),
        blocks=len(blocks),
        repeated_tokens=packer.repeated,
        dropped_tokens=packer.left,
        bytes=packer.bytes,
    )
    return blocks, counts


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
