import pytest
from transformers import AutoTokenizer

from lingraft.errors import TokenizerError
from lingraft.tokenizers.adapting import adapt_tokenizer, surrounding_tokens
from lingraft.tokenizers.overlap import match_vocabularies
from lingraft.tokenizers.pieces import read_pieces

MESSAGES = [
    {"role": "user", "content": "Kaixo, mundua! Ñandú 🙂"},
    {"role": "assistant", "content": "Egun on."},
]


@pytest.fixture(params=["unigram_tokenizer", "sentencepiece_bpe_tokenizer", "wordpiece_tokenizer"])
def target(request):
    return request.getfixturevalue(request.param)


def test_source_manners_on_target_vocabulary(target, byte_bpe_tokenizer):
    adapted = adapt_tokenizer(target, byte_bpe_tokenizer)
    assert adapted.convert_ids_to_tokens(range(len(target))) == target.convert_ids_to_tokens(
        range(len(target))
    )
    assert len(adapted) == len(target) + 3
    for role in ("bos_token", "eos_token", "pad_token", "chat_template"):
        assert getattr(adapted, role) == getattr(byte_bpe_tokenizer, role)
    assert adapted.unk_token == target.unk_token  # its model gives this one itself
    chat = adapted.apply_chat_template(MESSAGES, tokenize=False)
    assert chat == byte_bpe_tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    ids = adapted(chat)["input_ids"]
    assert ids.count(adapted.eos_token_id) == 2
    plain = target("Kaixo, mundua", add_special_tokens=False)["input_ids"]
    assert adapted("Kaixo, mundua")["input_ids"] == plain  # the source adds nothing


def test_saves_and_reloads_the_same(target, byte_bpe_tokenizer, multilingual_texts, tmp_path):
    adapted = adapt_tokenizer(target, byte_bpe_tokenizer)
    adapted.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    texts = [*multilingual_texts, adapted.apply_chat_template(MESSAGES, tokenize=False)]
    assert again(texts)["input_ids"] == adapted(texts)["input_ids"]
    assert again.special_tokens_map == adapted.special_tokens_map
    assert again.chat_template == adapted.chat_template and len(again) == len(adapted)


def test_adapted_specials_match_the_source(unigram_tokenizer, byte_bpe_tokenizer):
    adapted = adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer)
    target_pieces, source_pieces = read_pieces(adapted), read_pieces(byte_bpe_tokenizer)
    match = match_vocabularies(target_pieces, source_pieces)
    found = {
        target_pieces[t].surface: source_pieces[s].surface
        for t, s, by_role in zip(match.target_ids, match.source_ids, match.by_role, strict=True)
        if by_role
    }
    for marker in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        assert found[marker] == marker


def test_bos_and_eos_adding_follow_the_source(byte_bpe_tokenizer, unigram_tokenizer):
    adapted = adapt_tokenizer(byte_bpe_tokenizer, unigram_tokenizer)
    before, after = surrounding_tokens(adapted)
    assert adapted.convert_ids_to_tokens(before) == ["<s>"]
    assert adapted.convert_ids_to_tokens(after) == ["</s>"]
    assert adapted.decode(adapted("a b")["input_ids"]) == "<s>a b</s>"


def test_chat_token_override(unigram_tokenizer, byte_bpe_tokenizer):
    adapted = adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer, chat_tokens={"<|im_start|>": "<turn>"})
    chat = adapted.apply_chat_template(MESSAGES, tokenize=False)
    assert chat.startswith("<turn>user\n") and "<|im_start|>" not in chat
    assert adapted.bos_token == "<turn>" and "<|im_start|>" not in adapted.get_vocab()
    with pytest.raises(TokenizerError, match="chat token '<nothing>'"):
        adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer, chat_tokens={"<nothing>": "x"})


def test_markers_that_a_template_puts_together(unigram_tokenizer, byte_bpe_tokenizer):
    """Phi's template writes `'<|' + role + '|>'`: no marker stands in it, and all of them in what it writes."""
    byte_bpe_tokenizer.add_special_tokens(
        {"extra_special_tokens": ["<|user|>", "<|system|>", "<|assistant|>", "<|end|>", "<|tool|>"]}
    )
    byte_bpe_tokenizer.chat_template = (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    adapted = adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer)
    known = adapted.get_vocab()
    assert {"<|user|>", "<|system|>", "<|assistant|>", "<|end|>"} <= set(known) and "<|tool|>" not in known
    tool = byte_bpe_tokenizer.convert_tokens_to_ids("<|tool|>")
    adapted = adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer, needed_ids=[tool])
    assert "<|tool|>" in adapted.get_vocab()


def test_live_overrides_of_the_source_count(unigram_tokenizer, byte_bpe_tokenizer):
    byte_bpe_tokenizer.eos_token = "<|endoftext|>"
    byte_bpe_tokenizer.chat_template = "{{ messages[0]['content'] }}<|endoftext|>"
    adapted = adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer)
    assert adapted.eos_token == "<|endoftext|>"
    assert adapted.apply_chat_template(MESSAGES[:1], tokenize=False).endswith("🙂<|endoftext|>")
    assert "<|im_end|>" not in adapted.get_vocab()  # nothing needs it now


def test_source_without_eos(unigram_tokenizer, byte_bpe_tokenizer):
    byte_bpe_tokenizer.eos_token = None
    with pytest.raises(TokenizerError, match="without an eos token"):
        adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer)


def test_inputs_are_not_changed(unigram_tokenizer, byte_bpe_tokenizer):
    before = unigram_tokenizer.backend_tokenizer.to_str(), byte_bpe_tokenizer.backend_tokenizer.to_str()
    adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer)
    assert before == (
        unigram_tokenizer.backend_tokenizer.to_str(),
        byte_bpe_tokenizer.backend_tokenizer.to_str(),
    )
