"""Packing keeps every token but the last partial block, and the order comes from the seed alone."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lingraft.errors import CorpusError, TokenizerError, TrainingError
from lingraft.training import packing
from lingraft.training.packing import block_order, pack_blocks, pack_with_counts

TEXTS = ["Kaixo mundua", "", "안녕하세요 세계", "Größe", "<s> is text here"]


def byte_tokenizer(**roles: str) -> PreTrainedTokenizerFast:
    symbols = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({s: i for i, s in enumerate(symbols)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(roles or {"bos_token": "<s>"}))


def expected_stream(tokenizer: PreTrainedTokenizerFast, texts: list[str], start: int) -> list[int]:
    table = {byte: tokenizer.convert_tokens_to_ids(char) for byte, char in byte_characters().items()}
    return [i for text in texts if text for i in [start, *(table[b] for b in text.encode())]]


def byte_characters() -> dict[int, str]:
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + n) for n, b in enumerate(others)}


@pytest.mark.parametrize("block_length", [2, 5, 16])
def test_blocks_are_the_joined_documents(block_length: int) -> None:
    tokenizer = byte_tokenizer()
    blocks, counts = pack_with_counts(TEXTS, tokenizer, block_length)
    stream = expected_stream(tokenizer, TEXTS, tokenizer.bos_token_id)
    whole = len(stream) // block_length * block_length
    assert blocks.dtype == np.int32
    assert blocks.ravel().tolist() == stream[:whole]
    assert counts.dropped_tokens == len(stream) - whole
    assert (counts.documents, counts.blocks, counts.tokens) == (4, whole // block_length, whole)
    assert counts.bytes == sum(len(text.encode()) for text in TEXTS)


def test_start_token_is_bos_else_eos_else_given() -> None:
    assert pack_blocks(["ab"], byte_tokenizer(bos_token="<s>", eos_token="</s>"), 2)[0, 0] == 0
    assert pack_blocks(["ab"], byte_tokenizer(eos_token="</s>"), 2)[0, 0] == 1
    assert pack_blocks(["ab"], byte_tokenizer(), 2, start_token=1)[0, 0] == 1
    with pytest.raises(TokenizerError, match="neither"):
        pack_blocks(["ab"], byte_tokenizer(unk_token="<s>"), 2)


def test_a_file_holds_the_same_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCKS_AT_ONCE", 3)
    monkeypatch.setattr("lingraft.corpora.encoding.ENCODE_TOGETHER", 2)
    texts = TEXTS * 20
    in_memory, counts = pack_with_counts(texts, byte_tokenizer(), 7)
    mapped, mapped_counts = pack_with_counts(texts, byte_tokenizer(), 7, file=tmp_path / "blocks.npy")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, in_memory)
    assert mapped_counts == counts
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.npy"]


def test_too_little_text() -> None:
    with pytest.raises(CorpusError, match="enough text for one block of 64"):
        pack_blocks(["ab"], byte_tokenizer(), 64)
    with pytest.raises(CorpusError, match="0 documents"):
        pack_blocks(["", ""], byte_tokenizer(), 4)
    with pytest.raises(TrainingError, match="block length of 1"):
        pack_blocks(["ab"], byte_tokenizer(), 1)


def test_order_is_whole_permutations_from_the_seed() -> None:
    order = block_order(10, 25, seed=4)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert len(order) == 25
    assert not np.array_equal(order[:10], order[10:20])
    np.testing.assert_array_equal(block_order(10, 12, seed=4), order[:12])
    assert not np.array_equal(block_order(10, 25, seed=5), order)
