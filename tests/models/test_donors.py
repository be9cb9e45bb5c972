"""Donors: whose input embeddings are read, and as what."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    MT5Config,
    MT5Model,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
)

from lingraft.errors import ModelError
from lingraft.models.loading import load_donor, load_model
from lingraft.models.saving import save_checkpoint


def encoder(rows: int) -> Any:
    return BertModel(BertConfig(vocab_size=rows, hidden_size=12, num_hidden_layers=1, num_attention_heads=2))


def t5(kind: Any, config: Any, rows: int) -> Any:
    return kind(config(vocab_size=rows, d_model=20, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


DONORS = {
    "bert": encoder,
    "mt5": lambda rows: t5(MT5Model, MT5Config, rows),
    "t5-encoder": lambda rows: t5(T5EncoderModel, T5Config, rows),
}


@pytest.mark.parametrize("kind", sorted(DONORS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_donors_of_every_kind(kind: str, dtype: torch.dtype, tmp_path: Path, unigram_tokenizer: Any) -> None:
    rows = len(unigram_tokenizer) + 13
    model = DONORS[kind](rows).to(dtype)
    model.save_pretrained(tmp_path)
    unigram_tokenizer.save_pretrained(tmp_path)
    donor = load_donor(str(tmp_path))
    assert donor.embeddings.dtype == torch.float32
    assert torch.equal(donor.embeddings, model.get_input_embeddings().weight.detach().float())


def test_donor_as_stored_in_a_decoder(
    tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any, architecture: str
) -> None:
    model = tiny(architecture, tied=True)
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    donor = load_donor(str(tmp_path / "out"))
    assert torch.equal(donor.embeddings, model.get_input_embeddings().weight.detach())


def test_donor_with_a_name_we_do_not_know_is_loaded_whole(tmp_path: Path, unigram_tokenizer: Any) -> None:
    from transformers import XLNetConfig, XLNetModel

    model = XLNetModel(XLNetConfig(vocab_size=600, d_model=16, n_layer=1, n_head=2, d_inner=8))
    model.save_pretrained(tmp_path)
    unigram_tokenizer.save_pretrained(tmp_path)
    assert torch.equal(load_donor(str(tmp_path)).embeddings, model.get_input_embeddings().weight.detach())


def test_donor_whose_tokenizer_is_another(tmp_path: Path, unigram_tokenizer: Any) -> None:
    encoder(len(unigram_tokenizer) - 3).save_pretrained(tmp_path)
    unigram_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="a row for every token") as caught:
        load_donor(str(tmp_path))
    assert str(len(unigram_tokenizer) - 1) in str(caught.value)


def test_donor_with_a_marker_beyond_its_rows(tmp_path: Path, unigram_tokenizer: Any) -> None:
    encoder(len(unigram_tokenizer)).save_pretrained(tmp_path)
    unigram_tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    unigram_tokenizer.save_pretrained(tmp_path)
    assert load_donor(str(tmp_path)).embeddings.shape[0] == len(unigram_tokenizer) - 1
    unigram_tokenizer.add_tokens(["ordinary"])
    unigram_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="ordinary"):
        load_donor(str(tmp_path))


def test_an_encoder_is_no_model_to_graft_on(tmp_path: Path, unigram_tokenizer: Any) -> None:
    encoder(600).save_pretrained(tmp_path)
    unigram_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="an encoder can only be a donor"):
        load_model(str(tmp_path), device="cpu")


def test_a_donor_that_reads_no_tokens_is_refused(tmp_path: Path, byte_bpe_tokenizer: Any) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4)).save_pretrained(tmp_path)
    byte_bpe_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_donor(str(tmp_path))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
