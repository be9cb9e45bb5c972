"""Donors of every kind, and donors whose tokenizer is not the target's."""

import pytest
import torch

from lingraft.errors import TransferError
from lingraft.models.embeddings import read_embeddings
from lingraft.models.loading import LoadedDonor, load_donor
from lingraft.tokenizers.pieces import read_pieces
from lingraft.vocabulary.donors import donor_space
from lingraft.vocabulary.transfer import transfer_vocabulary


def tiny_model(kind, rows):
    from transformers import (
        BertConfig,
        BertModel,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "bert":
        return BertModel(BertConfig(vocab_size=rows, **sizes))
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(vocab_size=rows, d_model=24, d_ff=32, d_kv=12, num_layers=1, num_heads=2)
        )
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=rows, n_embd=24, n_layer=1, n_head=2))
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=rows, num_key_value_heads=2, tie_word_embeddings=False, **sizes)
    )


@pytest.mark.parametrize("kind", ["bert", "t5", "gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_kind_of_model_is_a_donor(tmp_path, load, unigram_tokenizer, kind, dtype):
    """Encoder, encoder-decoder and decoders, tied and untied, with padding rows: their input rows are taken."""
    whole = tiny_model(kind, 304).to(dtype)
    whole.save_pretrained(tmp_path / kind)
    unigram_tokenizer.save_pretrained(tmp_path / kind)
    donor = load_donor(str(tmp_path / kind))
    rows = whole.get_input_embeddings().weight.detach().float()
    assert donor.embeddings.dtype == torch.float32 and torch.equal(donor.embeddings, rows)
    result = transfer_vocabulary(load(), unigram_tokenizer, donor=donor)
    assert result.counts["regressed"] > 100
    assert torch.isfinite(read_embeddings(result.model).input).all()


def test_a_token_that_the_donor_lacks_is_the_mean_over_its_pieces(
    byte_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer
):
    """Word by word: what the donor's tokenizer makes of the token's text, inside a word or at its start."""
    rows = torch.randn(610, 12)
    target, source = read_pieces(unigram_tokenizer), read_pieces(wordpiece_tokenizer)
    space = donor_space(source, target, rows, byte_bpe_tokenizer)
    donor_ids = {piece.key: piece.token_id for piece in read_pieces(byte_bpe_tokenizer) if not piece.role}
    own = means = 0
    for pieces, vectors, known in (
        (target, space.target, space.target_known),
        (source, space.source, space.source_known),
    ):
        for piece in pieces:
            if piece.role:
                assert not known[piece.token_id] and not vectors[piece.token_id].any()
                continue
            assert known[piece.token_id]
            if piece.key in donor_ids:
                wanted = rows[donor_ids[piece.key]]
                own += 1
            else:
                text = (" " if piece.word_start else "") + piece.text
                ids = byte_bpe_tokenizer(text, add_special_tokens=False)["input_ids"]
                wanted = rows[ids].mean(dim=0)
                means += 1
            assert torch.allclose(vectors[piece.token_id], wanted, atol=1e-6)
    assert own > 100 and means > 100
    assert [piece.key in donor_ids and not piece.role for piece in source] == space.source_exact.tolist()


def test_text_that_the_donor_cannot_write_has_no_vector(unigram_tokenizer, byte_bpe_tokenizer):
    """A unigram donor without bytes writes no half characters; those tokens of the source stay unknown."""
    pieces = read_pieces(byte_bpe_tokenizer)
    space = donor_space(pieces, pieces, torch.randn(294, 4), unigram_tokenizer)
    broken = [piece.token_id for piece in pieces if not piece.role and "\ufffd" in piece.text]
    assert len(broken) > 50 and not space.target_known[broken].any()
    assert not space.target[broken].any()


def test_zero_rows_are_no_vectors(load, unigram_tokenizer):
    rows = torch.randn(294, 24)
    rows[100:140] = 0
    pieces = read_pieces(unigram_tokenizer)
    space = donor_space(pieces, pieces, rows, unigram_tokenizer)
    assert not space.target_known[100:140].any() and not space.source_exact[100:140].any()
    result = transfer_vocabulary(
        load(), unigram_tokenizer, donor=LoadedDonor(rows, unigram_tokenizer, "d", "n")
    )
    origins = result.provenance["origin"].to_pylist()[100:140]
    assert set(origins) == {"copied", "drawn"}
    norms = result.provenance["norm"].to_pylist()[100:140]
    assert min(norms) > 0.1


def test_donor_whose_tokenizer_and_matrix_disagree(load, unigram_tokenizer):
    donor = LoadedDonor(torch.randn(200, 8), unigram_tokenizer, "small", "none")
    with pytest.raises(TransferError, match="id 293 beside a matrix of 200 rows"):
        transfer_vocabulary(load(), unigram_tokenizer, donor=donor)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_donor_rows_that_are_not_finite(load, donor, unigram_tokenizer, value):
    donor.embeddings[77, 3] = value
    donor.embeddings[78, 3] = value
    with pytest.raises(TransferError, match=r"donor row 77 \(2 such rows\)"):
        transfer_vocabulary(load(), unigram_tokenizer, donor=donor)
