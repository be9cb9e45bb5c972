"""Blocks begin where documents do, every document is in them once, and the order comes from the seed alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lingraft.errors import CorpusError, TokenizerError, TrainingError
from lingraft.training import best_fit, packing
from lingraft.training.packing import block_order, pack_blocks, pack_with_counts

TEXTS = ["Kaixo mundua", "", "안녕하세요 세계", "Größe", "<s> is text here"]


def byte_tokenizer(**roles: str) -> PreTrainedTokenizerFast:
    symbols = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({s: i for i, s in enumerate(symbols)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(roles or {"bos_token": "<s>"}))


def documents_of(tokenizer: PreTrainedTokenizerFast, texts: list[str], start: int) -> list[list[int]]:
    table = {byte: tokenizer.convert_tokens_to_ids(char) for byte, char in byte_characters().items()}
    return [[start, *(table[byte] for byte in text.encode())] for text in texts if text]


def plainly_packed(
    documents: list[list[int]], length: int, lookahead: int, most: int
) -> tuple[list[list[int]], int, int]:
    """Best fit as one would say it: blocks, repeated tokens, dropped tokens."""
    start = documents[0][0]
    coming, waiting, blocks, repeated = list(documents), [], [], 0
    while coming or waiting:
        while coming and (
            sum(map(len, waiting)) < 4 * length
            or (len(waiting) <= lookahead and sum(map(len, waiting)) < most * length)
        ):
            waiting.append(coming.pop(0))
        block = waiting.pop(0)
        if len(block) > length:
            waiting.insert(0, [start, *block[length:]])
            block = block[:length]
        while len(block) < length and waiting:
            room = length - len(block)
            fitting = max((one for one in waiting if len(one) <= room), key=len, default=None)
            if fitting is None and len(waiting[0]) > length:
                block = block + waiting[0][:room]
                waiting[0] = [start, *waiting[0][room:]]
            elif fitting is None:
                block = block + waiting[0][:room]
                repeated += room
            else:
                del waiting[next(place for place, one in enumerate(waiting) if one is fitting)]
                block = block + fitting
        if len(block) < length:
            return blocks, repeated, len(block)
        blocks.append(block)
    return blocks, repeated, 0


def byte_characters() -> dict[int, str]:
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + n) for n, b in enumerate(others)}


def many_texts() -> list[str]:
    """Texts of 0 to 40 characters, some of one length, none equal."""
    generator = np.random.default_rng(3)
    return ["".join(generator.choice(list("abñ안ö "), size)) for size in generator.integers(0, 41, 300)]


@pytest.mark.parametrize("texts", [TEXTS, many_texts()], ids=["few", "many"])
@pytest.mark.parametrize("block_length", [2, 5, 16, 64])
@pytest.mark.parametrize(("lookahead", "most"), [(1, 1024), (3, 1024), (128, 1024), (128, 6)])
def test_equals_best_fit_said_plainly(
    texts: list[str], block_length: int, lookahead: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_fit, "LOOKAHEAD", lookahead)
    monkeypatch.setattr(best_fit, "MOST_BLOCKS", most)
    tokenizer = byte_tokenizer()
    expected, repeated, dropped = plainly_packed(
        documents_of(tokenizer, texts, tokenizer.bos_token_id), block_length, lookahead, most
    )
    if not expected:
        pytest.skip("too little text for a block")
    blocks, counts = pack_with_counts(texts, tokenizer, block_length)
    assert blocks.dtype == np.int32
    assert blocks.tolist() == expected
    assert (counts.repeated_tokens, counts.dropped_tokens) == (repeated, dropped)
    assert counts.documents == sum(1 for text in texts if text)
    assert (counts.blocks, counts.tokens) == (len(expected), len(expected) * block_length)
    assert counts.bytes == sum(len(text.encode()) for text in texts)


def test_blocks_begin_with_documents_and_hold_each_once() -> None:
    """Text of a document's own characters: what is in the blocks is every document, and beginnings that repeat."""
    tokenizer, length = byte_tokenizer(), 64
    texts = [chr(0x4E00 + number) * (1 + number % 15) for number in range(400)]
    blocks, counts = pack_with_counts(texts, tokenizer, length)
    assert (blocks[:, 0] == tokenizer.bos_token_id).all()
    held = Counter(
        text
        for block in blocks
        for text in tokenizer.decode(block, skip_special_tokens=False).split("<s>")
        if text in set(texts)
    )
    gone = sum(len(text.encode()) + 1 for text in texts if text not in held)
    assert gone == counts.dropped_tokens < length
    assert sum(held.values()) - len(held) <= 8, "a beginning that fills a block may be a whole short document"
    assert 0 < counts.repeated_tokens < 0.05 * counts.tokens


def test_a_document_longer_than_a_block_goes_on_after_a_start_token() -> None:
    tokenizer = byte_tokenizer()
    blocks, counts = pack_with_counts(["abcdefgh", "xy"], tokenizer, 4)
    assert [tokenizer.decode(block) for block in blocks] == ["<s>abc", "<s>def", "<s>gh<s>"]
    assert (counts.repeated_tokens, counts.dropped_tokens) == (1, 3)
    blocks, counts = pack_with_counts(["a", "bcdef", "gh"], tokenizer, 4)
    assert [tokenizer.decode(block) for block in blocks] == ["<s>a<s>b", "<s>cde", "<s>f<s>g"]
    assert (counts.repeated_tokens, counts.dropped_tokens) == (2, 3)


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
