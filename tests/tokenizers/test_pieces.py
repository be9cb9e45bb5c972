import copy
import json

import pytest
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from lingraft.errors import TokenizerError
from lingraft.tokenizers.backend import classify, rebuild
from lingraft.tokenizers.pieces import Piece, read_pieces


def by_surface(tokenizer):
    return {piece.surface: piece for piece in read_pieces(tokenizer) if piece is not None}


def test_ids_are_places(any_tokenizer):
    pieces = read_pieces(any_tokenizer)
    assert len(pieces) == len(any_tokenizer)
    assert all(piece is not None and piece.token_id == place for place, piece in enumerate(pieces))


def test_kinds_are_told_from_the_description(
    byte_bpe_tokenizer, sentencepiece_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer
):
    tokenizers = [byte_bpe_tokenizer, sentencepiece_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer]
    styles = [next(piece for piece in read_pieces(tokenizer) if piece).style for tokenizer in tokenizers]
    assert styles == ["byte-level", "sentencepiece", "sentencepiece", "wordpiece"]


def test_pieces_spell_the_text_they_encode(any_tokenizer, multilingual_texts):
    """The bytes of the pieces of a text, joined, are the text (WordPiece: without its spaces)."""
    pieces = read_pieces(any_tokenizer)
    for text in multilingual_texts[:12]:
        ids = any_tokenizer(text, add_special_tokens=False)["input_ids"]
        if any(pieces[token_id].role for token_id in ids):
            continue  # an unknown word stands for no bytes
        joined = b"".join(pieces[token_id].raw for token_id in ids).decode()
        if any_tokenizer.backend_tokenizer.normalizer is not None and "…" in text:
            continue
        if pieces[5].style == "wordpiece":
            assert joined.replace(" ", "") == text.replace(" ", "")
        else:
            assert joined.removeprefix(" ") == text


def test_byte_level_partial_characters(byte_bpe_tokenizer):
    pieces = by_surface(byte_bpe_tokenizer)
    assert pieces["Ã"].content == b"\xc3"
    assert pieces["Ã"].text == "\ufffd"
    assert (pieces["Ġ"].content, pieces["Ġ"].word_start) == (b"", True)


def test_byte_pieces_and_spaces(sentencepiece_bpe_tokenizer):
    pieces = by_surface(sentencepiece_bpe_tokenizer)
    assert pieces["<0xC3>"] == Piece(
        pieces["<0xC3>"].token_id, b"\xc3", False, "", (), True, "<0xC3>", "sentencepiece"
    )
    assert pieces["<0x20>"].key == pieces["▁"].key == (b"", True)
    assert pieces["<0x0A>"].key == pieces["\n"].key


def test_word_piece_marks(wordpiece_tokenizer):
    pieces = by_surface(wordpiece_tokenizer)
    assert not pieces["##a"].word_start and pieces["##a"].content == b"a"
    assert pieces["a"].word_start
    assert not pieces[","].word_start  # set apart wherever it stands


def test_roles_follow_live_attributes(byte_bpe_tokenizer):
    byte_bpe_tokenizer.eos_token = "<|endoftext|>"
    pieces = by_surface(byte_bpe_tokenizer)
    assert pieces["<|endoftext|>"].roles == ("eos", "pad", "special:<|endoftext|>")
    assert pieces["<|im_start|>"].roles == ("bos", "special:<|im_start|>")
    assert pieces["<|im_end|>"].roles == ("special:<|im_end|>",)


def test_padding_rows_holes_and_added_text(sentencepiece_bpe_tokenizer):
    description = json.loads(sentencepiece_bpe_tokenizer.backend_tokenizer.to_str())
    description["model"]["vocab"]["▁farther"] = len(sentencepiece_bpe_tokenizer) + 3
    tokenizer = rebuild(description, sentencepiece_bpe_tokenizer)
    pieces = read_pieces(tokenizer, 1000)
    hole = len(sentencepiece_bpe_tokenizer)
    assert len(pieces) == 1000
    assert pieces[hole : hole + 3] == [None] * 3
    assert pieces[hole + 3].key == (b"farther", True)
    assert pieces[hole + 4 :] == [None] * (1000 - hole - 4)


def test_added_ordinary_tokens_are_their_text(byte_bpe_tokenizer):
    byte_bpe_tokenizer.add_tokens(["  é"])
    piece = read_pieces(byte_bpe_tokenizer)[-1]
    assert piece.key == (" é".encode(), True)


def test_matrix_smaller_than_tokenizer(unigram_tokenizer):
    with pytest.raises(
        TokenizerError, match=f"ids up to {len(unigram_tokenizer) - 1}, and a matrix of 10 rows"
    ):
        read_pieces(unigram_tokenizer, 10)


def test_python_tokenizer_is_refused():
    class Slow(PreTrainedTokenizer):
        @property
        def vocab_size(self):
            return 1

        def get_vocab(self):
            return {"a": 0}

    with pytest.raises(TokenizerError, match="Slow has no fast backend"):
        read_pieces(Slow())


def test_end_of_word_marks_are_refused(byte_bpe_tokenizer):
    description = copy.deepcopy(json.loads(byte_bpe_tokenizer.backend_tokenizer.to_str()))
    description["model"]["end_of_word_suffix"] = "</w>"
    with pytest.raises(TokenizerError, match="ends of words"):
        classify(description)


def test_generic_class(byte_bpe_tokenizer):
    description = json.loads(byte_bpe_tokenizer.backend_tokenizer.to_str())
    assert type(rebuild(description, byte_bpe_tokenizer)) is PreTrainedTokenizerFast
