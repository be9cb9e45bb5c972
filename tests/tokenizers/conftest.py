"""Tokenizers of further kinds, trained in memory."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from lingraft.tokenizers.lossless import BYTE_PIECES


@pytest.fixture(scope="session")
def sentencepiece_bpe_backend(multilingual_texts):
    """Gemma style: spaces replaced by `▁`, no prefix, BPE with byte fallback and no pre-tokenizer."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    words = [
        piece
        for text in multilingual_texts
        for piece in text.replace(" ", " ▁").split(" ")
        if "\n" not in piece
    ]
    backend.train_from_iterator(
        words * 4,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"], show_progress=False
        ),
    )
    description = json.loads(backend.to_str())
    vocabulary = description["model"]["vocab"]
    for text in [*BYTE_PIECES, "\n"]:
        vocabulary[text] = len(vocabulary)
    description["model"]["byte_fallback"] = True
    backend = Tokenizer.from_str(json.dumps(description))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


@pytest.fixture
def sentencepiece_bpe_tokenizer(sentencepiece_bpe_backend):
    return PreTrainedTokenizerFast(
        tokenizer_object=sentencepiece_bpe_backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


@pytest.fixture(params=["byte-bpe", "sentencepiece-bpe", "unigram", "wordpiece"])
def any_tokenizer(request):
    names = {
        "byte-bpe": "byte_bpe_tokenizer",
        "sentencepiece-bpe": "sentencepiece_bpe_tokenizer",
        "unigram": "unigram_tokenizer",
        "wordpiece": "wordpiece_tokenizer",
    }
    return request.getfixturevalue(names[request.param])


def surfaces(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens([int(token_id) for token_id in ids])
