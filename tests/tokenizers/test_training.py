import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lingraft.errors import CorpusError, TokenizerError
from lingraft.tokenizers.digits import digit_scheme
from lingraft.tokenizers.pieces import read_pieces
from lingraft.tokenizers.training import extend_tokenizer, train_tokenizer, trim_tokenizer

BASQUE = [
    "Egun on! Zer moduz zaude gaur? Euskal Herriko mendiak ederrak dira, eta itsasoa ere bai.",
    "Ireki dokumentua eta aukeratu Formatua - Orrialdea paperaren tamaina ezartzeko.",
    "Dokumentuaren orrialdeak eta paperaren tamaina: añ ü 1987 eta 2345.",
] * 3

# `▁` reads back as a space in every vocabulary that writes spaces so; lone surrogates are no text.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=40)
ODD = [
    "",
    " ",
    "\n",
    "\n\n  a\n b\t\r\n ",
    " lead  two ",
    "<0x0A>\n<0xFF>",
    "🙂👩‍👩‍👧 ﬁ ½ Å Å …",
    "<|im_start|>user\nKaixo<|im_end|>\n",
]


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def comes_back(tokenizer, text):
    return tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text


@pytest.fixture(scope="module")
def made(byte_bpe_backend, unigram_backend):
    """One tokenizer of each making, shared by the round-trip test."""
    from transformers import PreTrainedTokenizerFast

    source = PreTrainedTokenizerFast(
        tokenizer_object=byte_bpe_backend, bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    multilingual = PreTrainedTokenizerFast(
        tokenizer_object=unigram_backend, unk_token="<unk>", eos_token="</s>"
    )
    return {
        "unigram": train_tokenizer(BASQUE, vocabulary_size=700, source_tokenizer=source),
        "bpe": train_tokenizer(BASQUE, vocabulary_size=400, kind="bpe", source_tokenizer=source),
        "trimmed": trim_tokenizer(multilingual, BASQUE),
        "extended": extend_tokenizer(source, BASQUE, new_tokens=20),
    }


@pytest.mark.parametrize("making", ["unigram", "bpe", "trimmed", "extended"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_any_text_comes_back(made, making, text):
    assert comes_back(made[making], text)


@pytest.mark.parametrize("making", ["unigram", "bpe", "trimmed", "extended"])
@pytest.mark.parametrize("text", ODD)
def test_odd_texts_come_back(made, making, text):
    assert comes_back(made[making], text)


@pytest.mark.parametrize("making", ["unigram", "bpe", "trimmed", "extended"])
def test_saved_and_reloaded(made, making, tmp_path, multilingual_texts):
    made[making].save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == made[making].get_vocab()
    assert [ids(again, text) for text in multilingual_texts] == [
        ids(made[making], text) for text in multilingual_texts
    ]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_train_sizes_digits_and_manners(kind, byte_bpe_tokenizer, multilingual_texts):
    trained = train_tokenizer(
        multilingual_texts, vocabulary_size=760, kind=kind, source_tokenizer=byte_bpe_tokenizer
    )
    assert 500 < len(trained) <= 760
    assert trained.eos_token == "<|im_end|>" and trained.chat_template == byte_bpe_tokenizer.chat_template
    assert max(piece.token_id for piece in read_pieces(trained)) == len(trained) - 1


def single_digit_source(tokenizer):
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_digits_as_in_the_source(kind, byte_bpe_tokenizer):
    source = single_digit_source(byte_bpe_tokenizer)
    assert digit_scheme(source) == "single"
    texts = [*BASQUE, *["1987 1987 1987 2345"] * 50]
    trained = train_tokenizer(texts, vocabulary_size=700, kind=kind, source_tokenizer=source)
    assert digit_scheme(trained) == "single"


def test_combining_marks_stay_with_their_letters(byte_bpe_tokenizer):
    texts = ["मेरा नाम भाषाएँ सीखता हूँ"] * 50
    trained = train_tokenizer(texts, vocabulary_size=420, kind="bpe", source_tokenizer=byte_bpe_tokenizer)
    assert any(piece.text == "भाषाएँ" for piece in read_pieces(trained))


def test_train_refusals(byte_bpe_tokenizer):
    with pytest.raises(CorpusError, match="an empty corpus"):
        train_tokenizer(["", " \n"], vocabulary_size=700, source_tokenizer=byte_bpe_tokenizer)
    for kind in ("unigram", "bpe"):
        with pytest.raises(TokenizerError, match="the bytes and characters"):
            train_tokenizer(BASQUE, vocabulary_size=100, kind=kind, source_tokenizer=byte_bpe_tokenizer)
    with pytest.raises(TokenizerError, match="kind='word'"):
        train_tokenizer(BASQUE, vocabulary_size=700, kind="word", source_tokenizer=byte_bpe_tokenizer)


def test_trim_unigram_keeps_what_the_corpus_uses(unigram_tokenizer):
    trimmed = trim_tokenizer(unigram_tokenizer, BASQUE, lossless=False)
    assert len(trimmed) < len(unigram_tokenizer)
    for text in BASQUE:
        assert trimmed.tokenize(text) == unigram_tokenizer.tokenize(text)
    assert trimmed("Egun on")["input_ids"][0] == trimmed.bos_token_id  # its own post-processor, renumbered
    surfaces = set(unigram_tokenizer.get_vocab())
    assert set(trimmed.get_vocab()) <= surfaces


def test_trim_keeps_the_order_of_ids(unigram_tokenizer):
    trimmed = trim_tokenizer(unigram_tokenizer, BASQUE)
    kept = [text for text in trimmed.convert_ids_to_tokens(range(len(trimmed))) if not text.startswith("<0x")]
    old = [unigram_tokenizer.get_vocab()[text] for text in kept if text in unigram_tokenizer.get_vocab()]
    assert old == sorted(old)


@pytest.mark.parametrize("name", ["byte_bpe_tokenizer", "sentencepiece_bpe_tokenizer"])
def test_trim_bpe_tokenises_the_corpus_as_before(name, request):
    tokenizer = request.getfixturevalue(name)
    trimmed = trim_tokenizer(tokenizer, BASQUE)
    assert len(trimmed) < len(tokenizer) + 100
    for text in BASQUE:
        before, after = tokenizer.tokenize(text), trimmed.tokenize(text)
        if any(token.startswith("<0x") for token in before):  # a character that now has a piece of its own
            assert len(after) <= len(before)
        else:
            assert after == before
    assert all(comes_back(trimmed, text) for text in ODD[:-1])


def test_trim_to_a_size(unigram_tokenizer, byte_bpe_tokenizer):
    assert len(trim_tokenizer(unigram_tokenizer, BASQUE, vocabulary_size=385)) == 385
    assert len(trim_tokenizer(byte_bpe_tokenizer, BASQUE, vocabulary_size=300)) <= 300
    with pytest.raises(TokenizerError, match="vocabulary_size=100; expected at least"):
        trim_tokenizer(unigram_tokenizer, BASQUE, vocabulary_size=100)


def test_trim_minimum_count(unigram_tokenizer):
    every = trim_tokenizer(unigram_tokenizer, BASQUE)
    often = trim_tokenizer(unigram_tokenizer, BASQUE, minimum_count=4)
    assert set(often.get_vocab()) < set(every.get_vocab())


def test_trim_digits(unigram_tokenizer):
    texts = [*BASQUE, "12345 12345"]
    assert digit_scheme(trim_tokenizer(unigram_tokenizer, texts, digits="single")) == "single"


def test_trim_refusals(wordpiece_tokenizer, unigram_tokenizer):
    with pytest.raises(TokenizerError, match="a WordPiece tokenizer"):
        trim_tokenizer(wordpiece_tokenizer, BASQUE)
    with pytest.raises(CorpusError, match="an empty corpus"):
        trim_tokenizer(unigram_tokenizer, [])


@pytest.mark.parametrize("name", ["byte_bpe_tokenizer", "sentencepiece_bpe_tokenizer"])
def test_extend_keeps_the_source_and_shortens_the_target(name, request, multilingual_texts):
    source = request.getfixturevalue(name)
    extended = extend_tokenizer(source, BASQUE, new_tokens=20)
    old = len(source)
    assert len(extended) == old + 20
    assert extended.convert_ids_to_tokens(range(old)) == source.convert_ids_to_tokens(range(old))
    assert extended.special_tokens_map == source.special_tokens_map
    merges = json.loads(extended.backend_tokenizer.to_str())["model"]["merges"]
    before = json.loads(source.backend_tokenizer.to_str())["model"]["merges"]
    assert merges[: len(before)] == before
    new = [ids(extended, text) for text in multilingual_texts]
    unchanged = [ids(source, text) for text in multilingual_texts]
    assert any(max(row) < old for row in new)  # else the next line says nothing
    assert all(a == b for a, b in zip(new, unchanged, strict=True) if max(a) < old)
    assert sum(len(ids(extended, text)) for text in BASQUE) < 0.9 * sum(
        len(ids(source, text)) for text in BASQUE
    )
    assert not any(digit in piece.text for piece in read_pieces(extended)[old:] for digit in "0123456789")


def test_extend_learns_the_merges_that_plain_counting_finds(byte_bpe_tokenizer):
    """Recount all pairs after every merge, the slow way."""
    from collections import Counter
    from itertools import pairwise

    from lingraft.tokenizers.backend import read_backend
    from lingraft.tokenizers.extending import split_words, word_ids
    from lingraft.tokenizers.merging import learn_merges, merged

    backend = read_backend(byte_bpe_tokenizer)
    words = word_ids(backend, split_words(backend, BASQUE))
    surfaces = {token_id: text for text, token_id in backend.vocabulary.items()}
    found = list(
        learn_merges(
            words, surfaces, new_tokens=30, first_id=600, minimum_count=2, prefix="", forbidden=frozenset()
        )
    )
    state = {index: (list(word), count) for index, (word, count) in enumerate(words.items())}
    texts, known = dict(surfaces), {text: token_id for token_id, text in surfaces.items()}
    for left, right, token_id, _ in found:
        counts = Counter()
        for word, count in state.values():
            for pair in pairwise(word):
                counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        assert (texts[best[0]], texts[best[1]]) == (left, right)
        texts[token_id] = left + right
        known.setdefault(left + right, token_id)
        state = {index: (merged(word, best, token_id), count) for index, (word, count) in state.items()}
    assert len(found) >= 30


def test_extend_goes_after_added_tokens(byte_bpe_tokenizer, tmp_path):
    byte_bpe_tokenizer.add_special_tokens({"extra_special_tokens": ["<|tool|>"]})
    tool = byte_bpe_tokenizer.convert_tokens_to_ids("<|tool|>")
    extended = extend_tokenizer(byte_bpe_tokenizer, BASQUE, new_tokens=5)
    extended.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (extended, again):
        assert ids(tokenizer, "a<|tool|>")[-1] == tool == 600
        assert len(tokenizer) == 606


def test_extend_merges_no_byte_pieces(sentencepiece_bpe_tokenizer):
    """A decoder knows single byte pieces: two in one token would be written out as `<0xE1><0x88>`."""
    texts = [*["ሰላም ለዓለም ሰላም ነው"] * 20, *BASQUE]
    extended = extend_tokenizer(sentencepiece_bpe_tokenizer, texts, new_tokens=20)
    old = len(sentencepiece_bpe_tokenizer)
    new = extended.convert_ids_to_tokens(range(old, len(extended)))
    assert len(new) == 20 and not any("<" in text for text in new)
    for text in dict.fromkeys(texts):
        assert comes_back(extended, text)


def test_extend_adds_the_characters_of_a_script_and_merges_them(sentencepiece_bpe_tokenizer):
    """Bytes cannot be merged, so a script that the vocabulary lacks would stay three tokens a character."""
    source = sentencepiece_bpe_tokenizer
    texts = [*["ሰላም ለዓለም። ሰላም ነው\n\t🦜 ፫ ዐ"] * 20, "አንድ"]
    extended = extend_tokenizer(source, texts, new_tokens=20)
    old = len(source)
    new = extended.convert_ids_to_tokens(range(old, len(extended)))
    # By count, then by code point; one that occurs once, line breaks and emoji stay as they were.
    assert "".join(new[:10]) == "ምለላሰነውዐዓ።፫"
    assert {"ሰላም", "▁ሰላም"} & set(new) and not {"አ", "\n", "\t", "🦜"} & set(new)
    assert len(ids(extended, "ሰላም")) == 1 < len(ids(source, "ሰላም")) == 9
    for text in [*texts[-2:], "ሰላም 123\n", *BASQUE]:
        assert comes_back(extended, text)
    for text in [*BASQUE, "a\n\tb 🦜", "አ"]:
        assert ids(extended, text) == ids(source, text)
    # A half of the new tokens at most.
    few = extend_tokenizer(source, texts, new_tokens=6).convert_ids_to_tokens(range(old, old + 6))
    assert sum(len(text) == 1 for text in few) == 3


def test_extend_adds_no_character_that_is_an_added_token(sentencepiece_bpe_tokenizer):
    sentencepiece_bpe_tokenizer.add_tokens(["ɓ"])
    own, old = sentencepiece_bpe_tokenizer.convert_tokens_to_ids("ɓ"), len(sentencepiece_bpe_tokenizer)
    extended = extend_tokenizer(sentencepiece_bpe_tokenizer, ["ɓala ɗala ɓaɗa"] * 9, new_tokens=6)
    assert extended.convert_tokens_to_ids("ɓ") == own
    assert sorted(extended.get_vocab().values()) == list(range(old + 6))


def test_extend_without_an_unknown_character(
    byte_bpe_tokenizer, sentencepiece_bpe_tokenizer, multilingual_texts
):
    """A byte-level vocabulary lacks no character, and one that has those of the corpus gets merges alone."""
    for source, texts in (
        (byte_bpe_tokenizer, ["ሰላም"] * 9),
        (sentencepiece_bpe_tokenizer, multilingual_texts * 2),
    ):
        extended = extend_tokenizer(source, texts, new_tokens=3)
        description = json.loads(extended.backend_tokenizer.to_str())["model"]
        before = json.loads(source.backend_tokenizer.to_str())["model"]
        assert len(description["merges"]) >= len(before["merges"]) + 3


def test_extend_behind_added_words_that_are_not_ascii(byte_bpe_tokenizer):
    """`ü` is a symbol of the byte alphabet too, where it stands for another byte: an added word is text as it is."""
    byte_bpe_tokenizer.add_tokens(["für", "ğöz"])
    extended = extend_tokenizer(byte_bpe_tokenizer, BASQUE, new_tokens=5)
    for text in ("für", "ğöz"):
        token_id = extended.convert_tokens_to_ids(text)
        assert token_id == byte_bpe_tokenizer.convert_tokens_to_ids(text)
        assert read_pieces(extended)[token_id].text == text == read_pieces(byte_bpe_tokenizer)[token_id].text


def test_extend_with_too_little_text(byte_bpe_tokenizer):
    with pytest.warns(UserWarning, match="new tokens of the 100000 asked for"):
        extend_tokenizer(byte_bpe_tokenizer, BASQUE, new_tokens=100_000)
    with pytest.raises(CorpusError, match="no pair of tokens occurs 1000 times"):
        extend_tokenizer(byte_bpe_tokenizer, BASQUE, new_tokens=10, minimum_count=1000)


def test_extend_refusals(byte_bpe_tokenizer, unigram_tokenizer):
    with pytest.raises(TokenizerError, match="a Unigram source tokenizer"):
        extend_tokenizer(unigram_tokenizer, BASQUE, new_tokens=10)
    with pytest.raises(CorpusError, match="an empty corpus"):
        extend_tokenizer(byte_bpe_tokenizer, [], new_tokens=10)
    with pytest.raises(TokenizerError, match="new_tokens=0"):
        extend_tokenizer(byte_bpe_tokenizer, BASQUE, new_tokens=0)


@pytest.mark.real
def test_extend_a_real_tokenizer_leaves_english(real_asset):
    source = AutoTokenizer.from_pretrained(real_asset("smollm2-135m-instruct"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extended = extend_tokenizer(source, BASQUE, new_tokens=100)
    english = "The quick brown fox jumps over the lazy dog, and 1234 more.\n\n  def f(x): return x"
    assert ids(extended, english) == ids(source, english)
    assert len(ids(extended, BASQUE[0])) < len(ids(source, BASQUE[0]))
