import json

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from lingraft.errors import TokenizerError
from lingraft.tokenizers.pieces import Piece, read_pieces
from lingraft.tokenizers.splitting import split_by_merge_parents, split_pieces, split_without_itself


def raw(pieces, ids):
    return b"".join(pieces[token_id].raw for token_id in ids)


def test_splits_spell_the_pieces(any_tokenizer, byte_bpe_tokenizer, sentencepiece_bpe_tokenizer):
    """Whatever the target's kind, both sources with bytes can write every piece, partial characters included."""
    pieces = [*read_pieces(any_tokenizer), None]
    for source in (byte_bpe_tokenizer, sentencepiece_bpe_tokenizer):
        source_pieces = read_pieces(source)
        splits = split_pieces(pieces, source)
        assert len(splits) == len(pieces)
        for piece, ids in zip(pieces, splits, strict=True):
            assert ids.dtype == np.int64
            if piece is None or piece.role:
                assert len(ids) == 0
            else:
                assert raw(source_pieces, ids) == piece.raw


def test_split_is_what_the_tokenizer_does_inside_a_text(unigram_tokenizer, byte_bpe_tokenizer):
    pieces = [piece for piece in read_pieces(unigram_tokenizer) if not piece.role]
    for piece, ids in zip(pieces, split_pieces(pieces, byte_bpe_tokenizer), strict=True):
        assert byte_bpe_tokenizer(piece.raw.decode(), add_special_tokens=False)["input_ids"] == ids.tolist()


def test_no_space_is_put_in_front(byte_bpe_tokenizer, unigram_tokenizer):
    """XLM-R's tokenizer puts `▁` before any text; a piece inside a word must not get one."""
    source = {piece.surface: piece.token_id for piece in read_pieces(unigram_tokenizer)}
    assert "a" in source
    inside, start = split_pieces([Piece(0, b"a", False), Piece(1, b"a", True)], unigram_tokenizer)
    assert inside.tolist() == [source["a"]]
    names = unigram_tokenizer.convert_ids_to_tokens(start.tolist())
    assert names in (["▁a"], ["▁", "a"])


def test_spaces_that_a_pre_tokenizer_eats(unigram_tokenizer):
    """The hub's XLM-R and T5 split at white space before Metaspace: a word's start is in the split all the same."""
    description = json.loads(unigram_tokenizer.backend_tokenizer.to_str())
    eating = description | {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, description["pre_tokenizer"]],
        }
    }
    hub = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(eating)), **unigram_tokenizer.special_tokens_map
    )
    texts = [" etxeko", " größe", " the", "größe", " кошка"]
    pieces = [Piece(number, text.strip().encode(), text.startswith(" ")) for number, text in enumerate(texts)]
    found, expected = split_pieces(pieces, hub), split_pieces(pieces, unigram_tokenizer)
    assert [list(row) for row in found] == [list(row) for row in expected]
    assert sum(map(len, found)) < sum(map(len, texts))


def test_impossible_splits_are_empty(unigram_tokenizer):
    pieces = [Piece(0, "☃".encode(), False), Piece(1, b"\xc3", False), Piece(2, "ﬁ".encode(), True)]
    assert [ids.tolist() for ids in split_pieces(pieces, unigram_tokenizer)] == [[], [], []]


def test_partial_characters_by_bytes(sentencepiece_bpe_tokenizer):
    ids = split_pieces([Piece(0, b"n\xc3", True)], sentencepiece_bpe_tokenizer)[0]
    names = sentencepiece_bpe_tokenizer.convert_ids_to_tokens(ids.tolist())
    assert names in (["▁n", "<0xC3>"], ["▁", "n", "<0xC3>"])


def test_word_piece_continues_inside_words(wordpiece_tokenizer):
    inside, start = split_pieces([Piece(0, b"ab", False), Piece(1, b"ab", True)], wordpiece_tokenizer)
    assert all(name.startswith("##") for name in wordpiece_tokenizer.convert_ids_to_tokens(inside.tolist()))
    names = wordpiece_tokenizer.convert_ids_to_tokens(start.tolist())
    assert not names[0].startswith("##") and all(name.startswith("##") for name in names[1:])


def test_special_text_in_a_piece_is_plain_text(byte_bpe_tokenizer):
    ids = split_pieces([Piece(0, b"<|im_end|>", False)], byte_bpe_tokenizer)[0]
    assert byte_bpe_tokenizer.eos_token_id not in ids.tolist() and len(ids) > 1


def test_without_itself(any_tokenizer):
    pieces = read_pieces(any_tokenizer)
    splits = split_without_itself(range(len(pieces)), any_tokenizer)
    split = 0
    for piece, ids in zip(pieces, splits, strict=True):
        assert piece.token_id not in ids.tolist()
        if piece.role:
            assert len(ids) == 0
        elif len(ids):
            split += 1
            assert raw(pieces, ids).replace(b" ", b"") == piece.raw.replace(b" ", b"")
            if piece.style != "wordpiece":  # which has no space before a CJK character alone
                assert pieces[int(ids[0])].word_start == piece.word_start
    assert split > 100


def test_without_itself_is_bpe_with_the_merge_removed(byte_bpe_tokenizer):
    """The literal way: delete the merge that makes the token, and tokenise its text."""
    import json

    from tokenizers import Tokenizer

    description = json.loads(byte_bpe_tokenizer.backend_tokenizer.to_str())
    pieces = read_pieces(byte_bpe_tokenizer)
    made = [piece for piece in pieces if not piece.role and len(piece.surface) > 1]
    splits = split_without_itself([piece.token_id for piece in made], byte_bpe_tokenizer)
    for piece, ids in list(zip(made, splits, strict=True))[::9]:
        model = dict(description["model"])
        model["merges"] = [merge for merge in model["merges"] if "".join(merge) != piece.surface]
        without = Tokenizer.from_str(json.dumps({**description, "model": model}))
        assert [token.id for token in without.model.tokenize(piece.surface)] == ids.tolist()


def test_merge_parents(byte_bpe_tokenizer, unigram_tokenizer):
    parents = split_by_merge_parents(byte_bpe_tokenizer)
    pieces = read_pieces(byte_bpe_tokenizer)
    splits = split_without_itself(range(len(pieces)), byte_bpe_tokenizer)
    assert sum(pair is not None for pair in parents) > 300
    for pair, ids in zip(parents, splits, strict=True):
        assert pair is None or pair == tuple(ids)
    with pytest.raises(TokenizerError, match="a Unigram tokenizer"):
        split_by_merge_parents(unigram_tokenizer)


def test_several_ways_to_one_token():
    """Gemma and Llama 2 list several merges for one token; the one that is really run is the parent split."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {text: place for place, text in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Replace("▁", " ")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert split_without_itself([5], tokenizer)[0].tolist() == [0, 4]
    assert split_by_merge_parents(tokenizer)[5] == (3, 2)


def test_ids_out_of_range_are_empty(byte_bpe_tokenizer):
    assert [len(ids) for ids in split_without_itself([-1, 10**6], byte_bpe_tokenizer)] == [0, 0]


def test_llama_prefix_is_left_out(sentencepiece_bpe_tokenizer, byte_bpe_tokenizer):
    """Llama 2 puts `▁` before every text by its normalizer."""
    from tokenizers import normalizers

    pieces = read_pieces(byte_bpe_tokenizer)
    expected = split_pieces(pieces, sentencepiece_bpe_tokenizer)
    sentencepiece_bpe_tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    assert sentencepiece_bpe_tokenizer.tokenize("a")[0].startswith("▁")
    found = split_pieces(pieces, sentencepiece_bpe_tokenizer)
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in expected]


def test_normalised_text_falls_back_to_bytes(byte_bpe_tokenizer):
    """Qwen's NFC would write another text; the exact bytes are kept."""
    from tokenizers import normalizers

    byte_bpe_tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    content = "e\u0301".encode()
    ids = split_pieces([Piece(0, content, False)], byte_bpe_tokenizer)[0]
    assert raw(read_pieces(byte_bpe_tokenizer), ids) == content
