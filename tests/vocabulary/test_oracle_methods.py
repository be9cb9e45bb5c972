"""Our rows beside those of the packages that the methods were released with, each on a small case."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.tokenizers.backend import rebuild
from lingraft.vocabulary.auxiliary import aligned_word_space, space_from_words
from lingraft.vocabulary.building import AuxiliaryOptions, build_problem, without_overlap_copy
from lingraft.vocabulary.donor_maps import omp
from lingraft.vocabulary.fasttext import read_word_vectors
from lingraft.vocabulary.lexical import wechsel
from lingraft.vocabulary.neighbours import sparsemax, unit_rows
from lingraft.vocabulary.problem import VectorSpace
from lingraft.vocabulary.salt import focus

WIDTH = 16


@pytest.fixture
def problem(byte_bpe_tokenizer, unigram_tokenizer):
    """Byte-level source, unigram target, overlap by FOCUS's canonical forms, a random source matrix."""
    description = json.loads(unigram_tokenizer.backend_tokenizer.to_str())
    # deepfocus knows a SentencePiece vocabulary by its having more than a hundred pieces with a mark.
    description["model"]["vocab"] += [[f"▁größe{number}", -20.0] for number in range(101)]
    target = adapt_tokenizer(rebuild(description, unigram_tokenizer), byte_bpe_tokenizer)
    return build_problem(torch.randn(600, WIDTH), byte_bpe_tokenizer, target, normalise="focus"), target


def ordinary(pieces):
    return np.array([piece is not None and not piece.role for piece in pieces])


def random_space(problem, width=20):
    """Random vectors for nine in ten ordinary tokens of both vocabularies."""
    parts = []
    for pieces in (problem.target_pieces, problem.source_pieces):
        known = ordinary(pieces) & (torch.rand(len(pieces)) < 0.9).numpy()
        parts += [torch.randn(len(pieces), width) * torch.from_numpy(known).unsqueeze(1), known]
    return VectorSpace(*parts)


def test_sparsemax(oracle):
    entmax = oracle("entmax")
    scores = torch.randn(50, 200, dtype=torch.float64) * torch.logspace(-3, 1, 50).unsqueeze(1)
    assert torch.allclose(sparsemax(scores), entmax.sparsemax(scores), atol=1e-12)


def test_focus(oracle, monkeypatch, problem, new_rows):
    """The whole of deepfocus' FOCUS, with the same vectors in place of its fastText model."""
    package = oracle("deepfocus.focus")
    problem, target = problem
    space = random_space(problem)
    problem = replace(problem, auxiliary=space)
    vectors = {
        piece.surface: space.target[piece.token_id].numpy()
        for piece in problem.target_pieces
        if space.target_known[piece.token_id]
    }
    monkeypatch.setattr(package, "load_target_token_embedding", lambda **_: vectors)
    expected = package.FOCUS(
        target, problem.source_tokenizer, problem.source_input, fasttext_model_path="-", verbosity="silent"
    )
    rule = focus(problem)
    ours = new_rows(rule, problem, problem.source_input)
    averaged = rule.origin == "averaged"
    assert averaged.sum() > 100 and (rule.origin == "drawn").sum() > 5
    assert torch.allclose(ours[averaged], expected[problem.new_ids[averaged]], atol=1e-5)
    shared = ~problem.match.by_role
    copies = problem.source_input[problem.match.source_ids[shared]]
    assert torch.equal(expected[problem.match.target_ids[shared]], copies)


def test_wechsel_rows(oracle, problem, new_rows):
    """`create_target_embeddings` on the same vectors; special source tokens have none on either side."""
    package = oracle("wechsel")
    problem, target = problem
    space = random_space(problem)
    problem = without_overlap_copy(replace(problem, auxiliary=space))
    expected, not_found, _ = package.create_target_embeddings(
        space.source.numpy(),
        space.target.numpy(),
        problem.source_tokenizer,
        target,
        problem.source_input.numpy(),
        neighbors=10,
        temperature=0.1,
        verbose=False,
    )
    rule = wechsel(problem)
    averaged = rule.origin == "averaged"
    assert averaged.sum() > 200
    ours = new_rows(rule, problem, problem.source_input)[torch.from_numpy(averaged)]
    assert np.allclose(ours, expected[problem.new_ids[averaged]], atol=1e-5)
    drawn = {problem.target_pieces[i].surface for i in problem.new_ids[~averaged]}
    assert drawn <= set(not_found)


def word_model(words, width=6):
    """A Word2Vec model whose counts are to each other as 1 to 1/2 to 1/3, as the ranks in a .vec stand for."""
    from gensim.models import Word2Vec

    model = Word2Vec(vector_size=width, min_count=1)
    model.build_vocab_from_freq({word: round(1e12 / rank) for rank, word in enumerate(words, start=1)})
    model.wv.vectors = torch.randn(len(words), width).numpy()
    assert model.wv.index_to_key == words
    return model


def as_word_vectors(model, path, write_vec):
    """The same vectors by way of a .vec file."""
    return read_word_vectors(write_vec(path, dict(zip(model.wv.index_to_key, model.wv.vectors, strict=True))))


def test_wechsel_with_word_vectors_and_dictionary(
    oracle, tmp_path, write_vec, multilingual_texts, byte_bpe_tokenizer, unigram_tokenizer, new_rows
):
    """All of the package: token vectors from words, Procrustes on case variants of the dictionary, rows.

    Where the tenth and the eleventh source token are equally near (tokens of one word only have one vector), either
    may be taken: such rows are left out.
    """
    package = oracle("wechsel")
    words = list(dict.fromkeys(" ".join(multilingual_texts).split()))
    ours, theirs = word_model(words[:60]), word_model(words[30:])
    pairs = [(words[i], words[i + 40]) for i in range(0, 30, 3)]
    pairs += [(words[31].upper(), words[50]), ("nothing", "ezer")]
    dictionary = tmp_path / "pairs.txt"
    dictionary.write_text("".join(f"{left}\t{right}\n" for left, right in pairs), encoding="utf-8")
    lexicon = {}
    for left, right in pairs:
        lexicon.setdefault(right, []).append(left)
    target = adapt_tokenizer(unigram_tokenizer, byte_bpe_tokenizer)
    options = AuxiliaryOptions(
        kind="words",
        words=as_word_vectors(theirs, tmp_path / "target.vec", write_vec),
        source_words=as_word_vectors(ours, tmp_path / "source.vec", write_vec),
    )
    problem = without_overlap_copy(
        build_problem(torch.randn(600, WIDTH), byte_bpe_tokenizer, target, auxiliary=options, lexicon=lexicon)
    )
    rule = wechsel(problem)
    method = package.WECHSEL(ours, theirs, bilingual_dictionary=str(dictionary))
    expected, _ = method.apply(
        byte_bpe_tokenizer, target, problem.source_input.numpy(), use_subword_info=False
    )
    space = problem.aligned_words
    cosines = unit_rows(space.target[problem.new_ids]) @ unit_rows(space.source[space.source_known]).T
    nearest = cosines.topk(11, dim=1).values
    clear = (rule.origin == "averaged") & (nearest[:, 9] - nearest[:, 10] > 1e-4).numpy()
    assert clear.sum() > 40
    rows = new_rows(rule, problem, problem.source_input)[torch.from_numpy(clear)]
    assert np.allclose(rows, expected[problem.new_ids[clear]], atol=1e-4)


def test_procrustes(oracle, tmp_path, write_vec):
    """The turned source vectors are the package's `source_transform` of them."""
    package = oracle("wechsel")
    source_words, target_words = ["One", "two", "three"], ["Eins", "zwei", "drei", "Zwei"]
    ours, theirs = word_model(source_words, 3), word_model(target_words, 3)
    pairs = [("one", "eins"), ("two", "zwei"), ("three", "drei")]
    dictionary = tmp_path / "pairs.txt"
    dictionary.write_text("".join(f"{left}\t{right}\n" for left, right in pairs))
    transform = package.WECHSEL(ours, theirs, bilingual_dictionary=str(dictionary)).source_transform
    words = [
        read_word_vectors(
            write_vec(
                tmp_path / f"{name}.vec", dict(zip(model.wv.index_to_key, model.wv.vectors, strict=True))
            )
        )
        for name, model in (("s", ours), ("t", theirs))
    ]
    source = VectorSpace(torch.randn(7, 3), np.ones(7, np.bool_))
    space = aligned_word_space(VectorSpace(torch.randn(5, 3), np.ones(5, np.bool_)), source, *words, pairs)
    assert np.allclose(space.source, transform(source.target.numpy()), atol=1e-5)


def test_omp(oracle, hand_problem, new_rows):
    """Rows from mergekit's indices and coefficients at k = 64, the donor wide enough for our bfloat16 search."""
    package = oracle("mergekit.tokensurgeon.omp")
    problem = hand_problem(torch.randn(400, 12), torch.randn(430, 160))
    anchors, targets = problem.donor.target[:400], problem.donor.target[400:]
    indices, coefficients = package.batch_omp(targets, anchors, 64)
    expected = torch.bmm(coefficients.unsqueeze(1), problem.source_input[indices]).squeeze(1)
    ours = new_rows(omp(problem), problem, problem.source_input)
    assert torch.allclose(ours, expected, atol=1e-3, rtol=1e-3)


def test_words_space_is_a_mean_over_words(tmp_path, write_vec, unigram_tokenizer):
    """By hand: ` Egun` and ` egun` share no token with one another; a token of both words is their 1/rank mean."""
    from lingraft.tokenizers.pieces import read_pieces

    table = {"Egun": [1.0, 0.0], "on": [0.0, 1.0], "Egunon": [1.0, 1.0]}
    words = read_word_vectors(write_vec(tmp_path / "eu.vec", table))
    pieces = read_pieces(unigram_tokenizer)
    space = space_from_words(unigram_tokenizer, pieces, words)
    sums, weights = np.zeros((len(pieces), 2)), np.zeros(len(pieces))
    for rank, (word, row) in enumerate(table.items(), start=1):
        for spelling in (word, " " + word):
            for token_id in set(unigram_tokenizer(spelling, add_special_tokens=False)["input_ids"]):
                sums[token_id] += np.array(row) / rank
                weights[token_id] += 1 / rank
    weights[[i for i, piece in enumerate(pieces) if piece.role]] = 0
    known = weights > 0
    assert (space.target_known == known).all() and 2 < known.sum() < 30
    assert np.allclose(space.target[torch.from_numpy(known)], sums[known] / weights[known, None])
    assert (space.target[torch.from_numpy(~known)] == 0).all()
