"""Auxiliary spaces: token-level fastText, word vectors from files, dictionaries."""

from collections import Counter

import numpy as np
import pytest
import torch

from lingraft.errors import TransferError
from lingraft.models.embeddings import read_embeddings
from lingraft.tokenizers.pieces import read_pieces
from lingraft.vocabulary import auxiliary
from lingraft.vocabulary.auxiliary import read_dictionary, space_from_corpus, space_from_words
from lingraft.vocabulary.fasttext import read_word_vectors
from lingraft.vocabulary.transfer import transfer_vocabulary

FAST = {"dimension": 8, "epochs": 2, "minimum_count": 3}
OPTIONS = {"fasttext_dimension": 8, "fasttext_epochs": 2, "fasttext_minimum_count": 3}


@pytest.fixture
def corpus(multilingual_texts):
    return multilingual_texts * 2


def test_tokens_seen_often_enough_have_vectors(unigram_tokenizer, corpus):
    pieces = read_pieces(unigram_tokenizer)
    space = space_from_corpus(unigram_tokenizer, pieces, corpus, **FAST)
    counts = Counter(
        token_id
        for text in corpus
        for token_id in unigram_tokenizer(text, add_special_tokens=False)["input_ids"]
    )
    wanted = [counts[piece.token_id] >= 3 and not piece.role for piece in pieces]
    assert space.target_known.tolist() == wanted and 50 < sum(wanted) < len(wanted) - 20
    assert space.target.shape == (len(pieces), 8) and space.source is None
    assert (space.target.any(dim=1).numpy() == space.target_known).all()


def test_fasttext_repeats_by_seed(unigram_tokenizer, corpus):
    pieces = read_pieces(unigram_tokenizer)
    first, again, other = (
        space_from_corpus(unigram_tokenizer, pieces, corpus, seed=seed, **FAST).target for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_long_documents_are_read_whole(monkeypatch, unigram_tokenizer, corpus):
    """gensim reads the first 10,000 tokens of a sentence only: one document is as good as its parts."""
    pieces = read_pieces(unigram_tokenizer)
    long = " ".join(corpus * 20)
    length = len(unigram_tokenizer(long, add_special_tokens=False)["input_ids"])
    assert length > 20_000
    seen = []

    def train(sentences, names, **_):
        seen.extend(list(sentences))
        return torch.ones(len(names), 2), np.ones(len(names), np.bool_)

    monkeypatch.setattr(auxiliary, "train_token_vectors", train)
    space_from_corpus(unigram_tokenizer, pieces, ["", long, "Egun on"])
    assert [len(sentence) for sentence in seen[:3]] == [10_000, 10_000, length - 20_000]
    assert len(seen) == 4 and max(map(len, seen)) == 10_000


def test_transfer_with_fasttext(load, donor, unigram_tokenizer, corpus):
    """Tokens too rare for a vector are drawn, and counted; a seed repeats all of it."""
    rows = []
    for _ in range(2):
        result = transfer_vocabulary(
            load(), unigram_tokenizer, donor=donor, corpus=corpus, auxiliary="fasttext", **OPTIONS
        )
        rows.append(read_embeddings(result.model).input.clone())
    assert torch.equal(*rows)
    assert result.counts["drawn"] == result.notes["without_vector"] > 10
    assert result.counts["regressed"] > 20


def test_focus_needs_no_donor(load, unigram_tokenizer, corpus):
    result = transfer_vocabulary(
        load(), unigram_tokenizer, corpus=corpus, auxiliary="fasttext", method="focus", **OPTIONS
    )
    assert result.counts["averaged"] > 20


@pytest.fixture
def facebook_bin(tmp_path):
    """A small fastText model in the format of the fastText program."""
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    sentences = [["dokumentua", "ireki", "größere", "Straße", "안녕하세요"], ["eta", "gaur", "ireki"]] * 5
    model = FastText(sentences, vector_size=6, min_count=1, min_n=2, max_n=4, bucket=200, epochs=2, workers=1)
    save_facebook_model(model, str(tmp_path / "words.bin"))
    return tmp_path / "words.bin", model


def test_bin_gives_unseen_tokens_vectors_from_their_characters(facebook_bin, unigram_tokenizer):
    path, model = facebook_bin
    words = read_word_vectors(path)
    assert words.has_subwords and words.dimension == 6
    assert words.knows("größere") and not words.knows("größe")
    pieces = read_pieces(unigram_tokenizer)
    space = space_from_words(unigram_tokenizer, pieces, words)
    unseen = next(
        piece for piece in pieces if not piece.role and len(piece.text) > 2 and not words.knows(piece.text)
    )
    assert torch.allclose(space.target[unseen.token_id], torch.from_numpy(model.wv[unseen.text]), atol=1e-6)
    assert not space.target_known[[piece.token_id for piece in pieces if piece.role]].any()
    assert space.target_known.sum() > 200


def test_transfer_with_word_vectors(load, donor, unigram_tokenizer, facebook_bin, tmp_path, write_vec):
    words = read_word_vectors(facebook_bin[0])
    result = transfer_vocabulary(load(), unigram_tokenizer, donor=donor, auxiliary=words)
    assert result.counts["regressed"] > 100
    names = ["dokumentua", "Ireki", "größere", "Änderungen", "eta", "the", "document", "dog"]
    table = dict(zip(names, torch.randn(8, 5).tolist(), strict=True))
    vectors = read_word_vectors(write_vec(tmp_path / "w.vec", table))
    assert not vectors.has_subwords and list(vectors.words) == names
    result = transfer_vocabulary(load(), unigram_tokenizer, donor=donor, auxiliary=vectors, method="focus")
    assert 0 < result.counts["averaged"] < 60 and result.counts["drawn"] > 50


def test_dictionary(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("etxe\thouse\n\nno tab\nZuhaitz \t tree\textra\n\tempty\n", encoding="utf-8")
    assert read_dictionary(path) == [("etxe", "house"), ("Zuhaitz", "tree\textra")]


# -------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"2 3\na 1 2 3\n", "cannot be read"),  # the second word is missing
        (b"2 3\na 1 2 3\nb 1 2\n", "cannot be read"),  # its last number is
        (b"no header\n", "cannot be read"),
        (b"1 3\na 1 x 3\n", "cannot be read"),
        (b"0 3\n", "no word"),
        (b"1 2\na nan 1\n", "NaN or infinity"),
    ],
)
def test_damaged_vec(tmp_path, content, message):
    path = tmp_path / "words.vec"
    path.write_bytes(content)
    with pytest.raises(TransferError, match=message) as caught:
        read_word_vectors(path)
    assert "words.vec" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.05, 0.3, 0.9])
def test_truncated_bin(facebook_bin, share):
    path, _ = facebook_bin
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TransferError, match=r"words\.bin") as caught:
        read_word_vectors(path)
    assert "\n" not in str(caught.value)


def test_bin_of_another_kind(facebook_bin):
    """The old format has no magic number; a quantised model says so before its vectors."""
    path, model = facebook_bin
    whole = bytearray(path.read_bytes())
    path.write_bytes(b"\x01\x00\x00\x00" + whole[4:])
    with pytest.raises(TransferError, match="do not begin as a fastText"):
        read_word_vectors(path)
    rows, width = len(model.wv.index_to_key) + 200, 6
    place = whole.index(rows.to_bytes(8, "little") + width.to_bytes(8, "little"))
    whole[place - 1] = 1
    path.write_bytes(whole)
    with pytest.raises(TransferError, match="quantised"):
        read_word_vectors(path)


@pytest.mark.parametrize("name", ["missing.vec", "words.txt", "folder.bin"])
def test_not_word_vectors(tmp_path, name):
    (tmp_path / "words.txt").write_text("1 1\na 1\n")
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(TransferError, match=r"expected a \.vec"):
        read_word_vectors(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"one two\nthree\n", b"\t\n \t \n", b"\xff\xfea\tb\n"])
def test_dictionary_without_pairs(tmp_path, content):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(TransferError, match=r"pairs\.tsv"):
        read_dictionary(path)


def test_missing_dictionary(tmp_path):
    with pytest.raises(TransferError, match=r"nowhere\.tsv"):
        read_dictionary(tmp_path / "nowhere.tsv")
