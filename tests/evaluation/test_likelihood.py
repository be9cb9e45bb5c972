"""Bits per byte against a slow plain loop, and the conventions that make tokenizers comparable."""

import math
import unicodedata

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
)

from lingraft.errors import CorpusError, ModelError, TokenizerError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.evaluation.windows import Window, batch_windows

TEXTS = [
    "Kaixo mundua, zer moduz zaude gaur?",
    "",
    "Größenänderung über alle Maße — 안녕하세요 세계! नमस्ते",
    "a",
    "Etxe zuri bat ikusi dut mendian. " * 6,
]


def byte_tokenizer(**roles: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(roles or {"bos_token": "<s>"}))


def word_tokenizer(*, lowercase: bool = False) -> PreTrainedTokenizerFast:
    words = ["<unk>", "<s>", "etxe", "zuri", "bat", "▁etxe", "▁zuri", "▁bat"]
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


def tiny_llama(rows: int = 310, *, positions: int = 256, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.3,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def slow_nats(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, text: str, start: int) -> float:
    """One forward pass a token, nothing shared with the code under test."""
    ids = [start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    total = 0.0
    with torch.no_grad():
        for position in range(1, len(ids)):
            logits = model(torch.tensor([ids[:position]])).logits[0, -1].double()
            total -= torch.log_softmax(logits, dim=0)[ids[position]].item()
    return total


@pytest.mark.parametrize("tied", [False, True])
def test_equals_a_plain_loop(tied: bool) -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama(tied=tied)
    result = bits_per_byte(model, tokenizer, TEXTS)
    kept = [text for text in TEXTS if text]
    expected = [slow_nats(model, tokenizer, text, tokenizer.bos_token_id) for text in kept]
    np.testing.assert_allclose(result.document_nats, expected, rtol=1e-5)
    size = sum(len(text.encode()) for text in kept)
    assert result.bytes == size
    assert result.document_bytes.tolist() == [len(text.encode()) for text in kept]
    assert result.documents == 4
    assert result.tokens == sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in kept)
    assert result.bits_per_byte == pytest.approx(sum(expected) / math.log(2) / size, rel=1e-5)
    assert result.unknown_tokens == result.unknown_bytes == result.altered_bytes == 0


def test_gpt2_with_absolute_positions_and_padding() -> None:
    torch.manual_seed(1)
    tokenizer = byte_tokenizer()
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=305, n_embd=32, n_layer=2, n_head=4, n_positions=256)
    ).eval()
    result = bits_per_byte(model, tokenizer, TEXTS)
    expected = [slow_nats(model, tokenizer, text, tokenizer.bos_token_id) for text in TEXTS if text]
    np.testing.assert_allclose(result.document_nats, expected, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_batch_size_changes_nothing(batch_size: int) -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    reference = bits_per_byte(model, tokenizer, TEXTS, context=16, batch_size=8)
    other = bits_per_byte(model, tokenizer, TEXTS, context=16, batch_size=batch_size)
    np.testing.assert_allclose(other.document_nats, reference.document_nats, rtol=1e-5)


def test_stride_changes_nothing_where_the_context_holds_the_document() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    values = [
        bits_per_byte(model, tokenizer, TEXTS, context=200, stride=s).bits_per_byte for s in (1, 7, 200)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_long_documents_count_every_token_once_with_the_stated_context() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    text, context, stride = TEXTS[-1], 12, 5
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = tokenizer.bos_token_id
    total, done = 0.0, 0
    while done < len(ids):
        end = min(len(ids), context if done == 0 else done + stride)
        begin = max(0, end - context)
        with torch.no_grad():
            logits = model(torch.tensor([[start, *ids[begin : end - 1]]])).logits[0].double()
        for position in range(done, end):
            total -= torch.log_softmax(logits[position - begin], 0)[ids[position]].item()
        done = end
    result = bits_per_byte(model, tokenizer, [text], context=context, stride=stride)
    assert result.document_nats[0] == pytest.approx(total, rel=1e-5)
    assert result.tokens == len(ids) > context
    assert (result.context, result.stride) == (context, stride)


def test_documents_do_not_leak_into_each_other() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    alone = bits_per_byte(model, tokenizer, [TEXTS[2]]).document_nats[0]
    together = bits_per_byte(model, tokenizer, [TEXTS[0], TEXTS[2], TEXTS[4]]).document_nats[1]
    assert together == pytest.approx(alone, rel=1e-5)


def test_unknown_tokens_are_charged_by_the_bytes_they_hide() -> None:
    tokenizer, model = word_tokenizer(), tiny_llama(8)
    text = "etxe 안녕 bat"
    result = bits_per_byte(model, tokenizer, [text])
    assert (result.unknown_tokens, result.unknown_bytes, result.altered_bytes) == (
        1,
        len(" 안녕".encode()),
        0,
    )
    nats = slow_nats(model, tokenizer, text, tokenizer.bos_token_id)
    bits = nats / math.log(2) + 8 * result.unknown_bytes
    assert result.bits_per_byte == pytest.approx(bits / len(text.encode()), rel=1e-5)
    assert result.model_bits_per_byte < result.bits_per_byte


def test_text_that_the_normaliser_folds_away_is_charged() -> None:
    tokenizer, model = word_tokenizer(lowercase=True), tiny_llama(8)
    lower = bits_per_byte(model, tokenizer, ["etxe zuri"])
    upper = bits_per_byte(model, tokenizer, ["ETXE zuri"])
    assert (lower.altered_bytes, upper.altered_bytes) == (0, 4)
    assert upper.document_nats[0] == pytest.approx(lower.document_nats[0])
    assert upper.document_bits[0] == pytest.approx(lower.document_bits[0] + 32)


def test_canonically_equal_text_is_not_charged() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    apart = unicodedata.normalize("NFD", "Größe 한국")
    assert apart != "Größe 한국"
    for text in (apart, "য়"):  # NFC writes the Bengali letter as two characters
        result = bits_per_byte(model, tokenizer, [text])
        assert result.altered_bytes == 0 and result.bits_per_byte == result.model_bits_per_byte
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents()]
    )
    assert bits_per_byte(model, tokenizer, ["größe"]).altered_bytes == len("ö".encode())


def test_a_written_special_token_is_text() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    assert bits_per_byte(model, tokenizer, ["<s>"]).tokens > 1


def test_start_token_roles() -> None:
    model = tiny_llama()
    both = byte_tokenizer(bos_token="<s>", eos_token="</s>")
    only_eos = byte_tokenizer(eos_token="</s>")
    ends = slow_nats(model, both, "abc", both.eos_token_id)
    begins = slow_nats(model, both, "abc", both.bos_token_id)
    assert bits_per_byte(model, both, ["abc"]).document_nats[0] == pytest.approx(begins, rel=1e-5)
    assert bits_per_byte(model, only_eos, ["abc"]).document_nats[0] == pytest.approx(ends, rel=1e-5)
    assert bits_per_byte(model, both, ["abc"], start_token=1).document_nats[0] == pytest.approx(
        ends, rel=1e-5
    )
    with pytest.raises(TokenizerError, match="neither a bos nor an eos"):
        bits_per_byte(model, byte_tokenizer(unk_token="<s>"), ["abc"])


def test_precisions_agree_roughly_and_sums_are_exact() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    exact = bits_per_byte(model, tokenizer, TEXTS).bits_per_byte
    assert bits_per_byte(model, tokenizer, TEXTS, precision="bf16-autocast").bits_per_byte == pytest.approx(
        exact, rel=0.03
    )
    assert bits_per_byte(model.bfloat16(), tokenizer, TEXTS).bits_per_byte == pytest.approx(exact, rel=0.05)


def test_training_mode_is_put_back_and_dropout_is_off() -> None:
    torch.manual_seed(2)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=305, n_embd=32, n_layer=1, n_head=4, n_positions=64, resid_pdrop=0.5)
    )
    model.train()
    values = {bits_per_byte(model, byte_tokenizer(), ["Kaixo"]).bits_per_byte for _ in range(3)}
    assert len(values) == 1
    assert model.training


def test_the_summary_has_the_numbers_alone() -> None:
    first = bits_per_byte(tiny_llama(), byte_tokenizer(), TEXTS)
    assert set(first.summary()) >= {"bits_per_byte", "bytes", "tokens", "unknown_bytes", "stride"}
    assert not any(name.startswith("document_") for name in first.summary())


def test_the_context_of_models_without_a_limit_and_with_an_inner_config() -> None:
    tokenizer = byte_tokenizer()
    free = BloomForCausalLM(BloomConfig(vocab_size=len(tokenizer), hidden_size=8, n_layer=1, n_head=2))
    assert bits_per_byte(free, tokenizer, ["abc"], context=4000).context == 4000
    with pytest.raises(ModelError, match="context of 0 tokens; expected at least 2"):
        bits_per_byte(free, tokenizer, ["abc"], context=0)


def test_longrope_takes_no_factors_from_a_neighbour() -> None:
    """transformers takes the long factors for a whole batch as soon as its longest row is beyond the short ones."""
    tokenizer = byte_tokenizer()
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64}
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        original_max_position_embeddings=64,
        rope_parameters=rope | {"short_factor": [1.0] * 4, "long_factor": [1.0, 8.0, 16.0, 32.0]},
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = Phi3ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    texts = ["q" * length for length in (60, 64, 65, 75)]
    assert [len(tokenizer(text).input_ids) for text in texts] == [60, 64, 65, 75]
    together = bits_per_byte(model, tokenizer, texts, context=128).document_nats
    alone = [bits_per_byte(model, tokenizer, [text], context=128).document_nats[0] for text in texts]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("rope", [None, {"type": "su", "short_factor": [1.0], "long_factor": [2.0]}])
def test_windows_are_parted_for_longrope_alone(rope: dict[str, object] | None) -> None:
    """The second config has the limit beside its factors, and an older name for their type."""
    tokenizer, model, widths = byte_tokenizer(), tiny_llama(), []
    model.config.original_max_position_embeddings = 64
    model.config.rope_parameters = rope
    model.model.register_forward_pre_hook(
        lambda _, __, given: widths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    bits_per_byte(model, tokenizer, ["q" * length for length in (60, 64, 65, 75)], context=128)
    assert widths == ([75, 64] if rope else [75])


def test_bad_input() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    with pytest.raises(CorpusError, match="no text"):
        bits_per_byte(model, tokenizer, ["", ""])
    with pytest.raises(TokenizerError, match="embedding matrix of 20 rows"):
        bits_per_byte(tiny_llama(20), tokenizer, ["abc"])
    with pytest.raises(ModelError, match="stride of 9"):
        bits_per_byte(model, tokenizer, ["abc"], context=8, stride=9)
    with pytest.raises(ModelError, match="context of 9999"):
        bits_per_byte(model, tokenizer, ["abc"], context=9999)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.encode("q", add_special_tokens=False)[0]] = float("nan")
    with pytest.raises(ModelError, match="document 1"):
        bits_per_byte(model, tokenizer, ["abc", "q and more"])


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_hold_windows_of_like_length_and_little_padding(seed):
    lengths = np.random.default_rng(seed).integers(2, 700, 200)
    windows = [Window(n, np.zeros(length), np.zeros(length), 1) for n, length in enumerate(lengths)]
    batches = list(batch_windows(windows, 4096, 1000))
    assert sorted(window.document for batch in batches for window in batch) == list(range(200))
    widths = [len(batch[0].inputs) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch) * width <= 4096
        beyond = [place for place, window in enumerate(batch) if len(window.inputs) < 0.75 * width]
        assert not beyond or beyond[0] * width < 512, "only to fill a small batch"
    padded = sum(len(batch) * width for batch, width in zip(batches, widths, strict=True))
    assert padded < 1.15 * lengths.sum()
