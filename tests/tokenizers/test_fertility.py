import dataclasses

import pytest
from tokenizers import Regex, pre_tokenizers

from lingraft.errors import CorpusError
from lingraft.tokenizers.digits import PATTERNS, digit_scheme
from lingraft.tokenizers.fertility import digit_warning, measure_fertility


def test_counts(byte_bpe_tokenizer):
    texts = ["Größere Straße", "", "the the"]
    report = measure_fertility(byte_bpe_tokenizer, texts)
    assert (report.texts, report.words, report.utf8_bytes) == (2, 4, 24)
    assert report.tokens == sum(len(byte_bpe_tokenizer(text)["input_ids"]) for text in texts)
    assert report.tokens_per_word == report.tokens / 4
    assert report.tokens_per_byte * report.bytes_per_token == pytest.approx(1)
    assert report.round_trip == 1 and report.failures == () and report.unknown_rate == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.words = 1


def test_whole_words(unigram_tokenizer):
    # Not every token of a Unigram vocabulary is the best way to write its own text.
    words = (text[1:] for text in unigram_tokenizer.get_vocab() if text[0] == "▁" and text[1:].isalpha())
    whole = next(word for word in words if len(unigram_tokenizer.tokenize(word)) == 1)
    assert "▁zzz" not in unigram_tokenizer.get_vocab()
    report = measure_fertility(unigram_tokenizer, [f"{whole} {whole} {whole} zzz"])
    assert report.whole_words == 0.75


def test_losses_are_seen(unigram_tokenizer):
    report = measure_fertility(unigram_tokenizer, ["eta ☃", "two  spaces", "eta"])
    assert report.unknown_tokens == 1
    assert report.round_trip < 1
    assert report.failures[0] == ("eta ☃", "eta <unk>")


@pytest.mark.parametrize("scheme", ["single", "threes-from-left", "threes-from-right"])
def test_digit_schemes(scheme, byte_bpe_tokenizer):
    from lingraft.tokenizers.training import train_tokenizer

    byte_bpe_tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[scheme]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    numbers = [f"{number:03d}" for number in range(1000)] * 3 + [f"{number:02d}" for number in range(100)] * 3
    texts = [" ".join(numbers), "eta"]
    if scheme == "single":
        assert digit_scheme(byte_bpe_tokenizer) == "single"
        return
    backend = byte_bpe_tokenizer.backend_tokenizer
    from tokenizers import trainers

    trainer = trainers.BpeTrainer(
        vocab_size=1600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(numbers).replace(" ", "x")], trainer)
    assert digit_scheme(byte_bpe_tokenizer) == scheme
    trained = train_tokenizer(texts, vocabulary_size=1700, kind="bpe", source_tokenizer=byte_bpe_tokenizer)
    assert digit_warning(trained, byte_bpe_tokenizer) is None


def test_learned_digits_are_warned_of(unigram_tokenizer, byte_bpe_tokenizer):
    byte_bpe_tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert digit_scheme(unigram_tokenizer) == "learned"
    assert "'learned'" in digit_warning(unigram_tokenizer, byte_bpe_tokenizer)
    assert digit_warning(byte_bpe_tokenizer, byte_bpe_tokenizer) is None


def test_empty_corpus(byte_bpe_tokenizer):
    with pytest.raises(CorpusError, match="an empty corpus"):
        measure_fertility(byte_bpe_tokenizer, ["", ""])
