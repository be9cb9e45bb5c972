"""The other methods by hand: each expected number is derived in the test's docstring."""

import numpy as np
import pytest
import torch

from lingraft.errors import TransferError
from lingraft.vocabulary.donor_maps import clp, omp, sava
from lingraft.vocabulary.draws import mean, multivariate, random
from lingraft.vocabulary.lexical import lexicon, subword_mean, wechsel
from lingraft.vocabulary.neighbours import sparsemax

SOURCE = torch.tensor([[1.0, 10.0, 100.0], [2.0, 0.0, -1.0]])
DONOR = torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 4.0]])


def test_sparsemax_by_hand():
    """0.9, 0.5, -2: one is in (1 + 0.9 > 0.9), two are (1 + 2 * 0.5 > 1.4), three are not (1 - 6 < -0.6).

    The threshold is (1.4 - 1) / 2 = 0.2, so the weights are 0.7, 0.3, 0.
    """
    assert sparsemax(torch.tensor([0.5, -2.0, 0.9])).tolist() == pytest.approx([0.3, 0.0, 0.7])


def test_clp_by_hand(hand_problem, new_rows):
    """Cosines 0.6 and 0.8, whatever the donor rows' lengths; divided by 1.4 they are 3/7 and 4/7."""
    problem = hand_problem(SOURCE, DONOR)
    row = new_rows(clp(problem), problem, SOURCE)[0]
    assert row.tolist() == pytest.approx([11 / 7, 30 / 7, (300 - 4) / 7])


def test_clp_with_cancelling_weights(hand_problem, new_rows):
    """Cosines 1 and -1 sum to zero: the plain average, and the note says so."""
    problem = hand_problem(SOURCE, torch.tensor([[1.0, 0.0], [-1.0, 0.0], [4.0, 0.0]]))
    rule = clp(problem)
    assert rule.notes["cancelling_weights"] == 1
    assert new_rows(rule, problem, SOURCE)[0].tolist() == pytest.approx([1.5, 5.0, 49.5])


def test_sava_by_hand(hand_problem, new_rows):
    """Donor rows (2, 0) and (0, 5): the map's rows are E_1 / 2 and E_2 / 5; (3, 4) gives 1.5 E_1 + 0.8 E_2."""
    problem = hand_problem(SOURCE, DONOR)
    assert new_rows(sava(problem), problem, SOURCE)[0].tolist() == pytest.approx([3.1, 15.0, 149.2])


def test_sava_is_least_squares_over_all_anchors(hand_problem, new_rows):
    problem = hand_problem(torch.randn(90, 12), torch.randn(120, 17))
    wanted = (
        problem.donor.target[90:].double()
        @ torch.linalg.lstsq(problem.donor.target[:90].double(), problem.source_input.double()).solution
    )
    assert torch.allclose(new_rows(sava(problem), problem, problem.source_input).double(), wanted, atol=1e-5)


def test_omp_finds_a_planted_combination(hand_problem, new_rows):
    """Donor rows of the new tokens are 2 d_3 - d_40: orthonormal atoms are found exactly, others weigh nothing."""
    atoms = torch.linalg.qr(torch.randn(100, 100)).Q
    problem = hand_problem(torch.randn(100, 6), torch.cat([atoms, (2 * atoms[3] - atoms[40]).unsqueeze(0)]))
    rule = omp(problem)
    wanted = 2 * problem.source_input[3] - problem.source_input[40]
    assert torch.allclose(new_rows(rule, problem, problem.source_input)[0], wanted, atol=1e-4)
    assert rule.neighbours.tolist() == [64]


def test_omp_with_a_donor_narrower_than_its_atoms(hand_problem, new_rows):
    """As many atoms as columns already write a row exactly; one more would fit rounding errors."""
    problem = hand_problem(torch.randn(100, 6), torch.randn(130, 10))
    rule = omp(problem)
    assert (rule.neighbours == 10).all()
    assert torch.isfinite(new_rows(rule, problem, problem.source_input)).all()
    fitted = new_rows(rule, problem, problem.donor.target[:100])
    assert torch.allclose(fitted, problem.donor.target[100:], atol=1e-3)


def test_subword_mean_by_hand(hand_problem, new_rows):
    """Pieces of three bytes and of one: input 1/2 and 1/2, head and bias 3/4 and 1/4. `é` has two bytes."""
    contents = ["abc", "d", "é", "neu", "neu2", "neu3"]
    source = torch.tensor([[4.0], [8.0], [12.0]])
    problem = hand_problem(source, torch.randn(6, 2), contents=contents, splits=[[0, 1], [2, 1], []])
    rule = subword_mean(problem)
    assert rule.origin.tolist() == ["averaged", "averaged", "drawn"] and rule.neighbours.tolist() == [2, 2, 0]
    rows = new_rows(rule, problem, source, "input")[:2, 0]
    assert rows.tolist() == pytest.approx([6.0, 10.0])
    for which in ("output", "bias"):
        rows = new_rows(rule, problem, source, which)[:2, 0]
        assert rows.tolist() == pytest.approx([5.0, (2 * 12 + 8) / 3])


def test_wechsel_by_hand(hand_problem, new_rows):
    """One source token with cosine 1, ten with 0, one with -1: the ten nearest are the first and nine of the zeros.

    Softmax at temperature 0.1: e^10 = 22026.4658 against nine times e^0 = 1, so 0.99959157 and 4.5381e-5 each.
    Rows: the first token's is 1, those with cosine 0 have 1000, the last 1e9. The new row is 0.99959157 + 0.408429.
    """
    donor = torch.zeros(13, 3)
    donor[0] = torch.tensor([2.0, 0.0, 0.0])
    donor[1:11, 1] = 3.0
    donor[11] = torch.tensor([-1.0, 0.0, 0.0])
    donor[12] = torch.tensor([0.5, 0.0, 0.0])
    source = torch.tensor([[1.0]] + [[1000.0]] * 10 + [[1e9]])
    problem = hand_problem(source, donor)
    rule = wechsel(problem)
    assert new_rows(rule, problem, source)[0, 0].item() == pytest.approx(0.99959157 + 9 * 4.5381e-2, rel=1e-5)
    assert rule.neighbours.tolist() == [10] and rule.origin.tolist() == ["averaged"]


def test_multivariate_has_the_source_rows_statistics(hand_problem, new_rows):
    """Of 40,000 draws mean and covariance are within sampling error (about 1 in 200) of the source rows' own."""
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.7, 0.0], [-1.0, 0.4, 0.2]])
    source = torch.randn(3000, 3) @ mixing.T + torch.tensor([5.0, -3.0, 0.5])
    problem = hand_problem(source, torch.ones(43_000, 1), contents=["x"] * 43_000)
    rows = new_rows(multivariate(problem), problem, source)
    covariance = torch.cov(source.T)
    error = (covariance.diagonal() / 40_000).sqrt()
    assert ((rows.mean(dim=0) - source.mean(dim=0)).abs() < 5 * error).all()
    scale = covariance.diagonal().sqrt()
    assert ((torch.cov(rows.T) - covariance).abs() < 0.03 * torch.outer(scale, scale)).all()


def test_random_draws_columns_on_their_own(hand_problem, new_rows):
    """The columns' means and deviations are the source's; their correlation (0.9 there) is gone."""
    first = torch.randn(3000)
    source = torch.stack([3 + 2 * first, 0.9 * first + 0.436 * torch.randn(3000)], dim=1)
    problem = hand_problem(source, torch.ones(23_000, 1), contents=["x"] * 23_000)
    rule = random(problem)
    rows = new_rows(rule, problem, source)
    assert rows.mean(dim=0).tolist() == pytest.approx(source.mean(dim=0).tolist(), abs=0.07)
    assert rows.std(dim=0).tolist() == pytest.approx(source.std(dim=0).tolist(), rel=0.03)
    assert abs(torch.corrcoef(rows.T)[0, 1]) < 0.03
    assert set(rule.origin) == {"drawn"}


def test_mean(hand_problem, new_rows):
    problem = hand_problem(SOURCE, DONOR)
    assert new_rows(mean(problem), problem, SOURCE)[0].tolist() == pytest.approx([1.5, 5.0, 49.5])


# ------------------------------------------------------------------------------- lexicon, on real tokenizers


@pytest.fixture
def extended_problem(byte_bpe_tokenizer, multilingual_texts):
    """A problem whose new tokens are among others whole Basque and German words."""
    from lingraft.tokenizers.extending import extend_tokenizer
    from lingraft.vocabulary.building import build_problem

    def make(entries):
        extended = extend_tokenizer(byte_bpe_tokenizer, multilingual_texts * 3, new_tokens=150)
        return build_problem(
            torch.randn(600, 8), byte_bpe_tokenizer, extended, mode="extend", lexicon=entries
        )

    return make


def test_lexicon(extended_problem, new_rows, byte_bpe_tokenizer):
    """A word is the mean over its translations, each the mean of its pieces; all else is `subword-mean`."""
    new = extended_problem({})
    pieces = [new.target_pieces[i] for i in new.new_ids]
    words = [piece.text for piece in pieces if piece.word_start and piece.text.isalpha()]
    first = next(word for word in words if not word.isascii())
    second = next(word for word in words if word != first and word != word.casefold())
    inner = next(piece.text for piece in pieces if not piece.word_start and piece.text not in words)
    translations = {first: ["document", "sheet of paper"], second: ["street"]}
    problem = extended_problem(
        {first: translations[first], second.casefold(): translations[second], inner: ["x"]}
    )
    rule, plain = lexicon(problem), subword_mean(problem)
    rows = new_rows(rule, problem, problem.source_input)
    others = new_rows(plain, problem, problem.source_input)
    found = 0
    for row, piece in enumerate(pieces):
        if not piece.word_start or piece.text not in translations:
            assert torch.equal(rows[row], others[row])
            continue
        split = [
            byte_bpe_tokenizer(" " + phrase, add_special_tokens=False)["input_ids"]
            for phrase in translations[piece.text]
        ]
        wanted = torch.stack([problem.source_input[ids].mean(dim=0) for ids in split]).mean(dim=0)
        assert torch.allclose(rows[row], wanted, atol=1e-6)
        assert rule.neighbours[row] == sum(len(ids) for ids in split)
        found += 1
    assert found == rule.notes["translated"] == 2
    assert rule.notes["fell_back"] == len(pieces) - 2


def test_lexicon_of_a_metaspace_source_adds_no_second_space(unigram_tokenizer, new_rows):
    """A tokenizer that puts a space in front of every text must not see two."""
    from lingraft.vocabulary.lexical import _phrase_splits

    class Problem:
        source_tokenizer = unigram_tokenizer

    found = _phrase_splits(Problem, ["dokumentua", "Egun on", "☃☃"])
    for phrase in ("dokumentua", "Egun on"):
        ids = unigram_tokenizer(phrase, add_special_tokens=False)["input_ids"]
        assert found[phrase].tolist() == ids
    assert found["☃☃"].tolist() == []


def test_lexicon_is_refused_without_one(hand_problem):
    with pytest.raises(TransferError, match="no lexicon"):
        lexicon(hand_problem(SOURCE, DONOR))


def test_wechsel_uses_the_donor_where_the_auxiliary_space_knows_the_target_only(hand_problem, new_rows):
    from dataclasses import replace

    from lingraft.vocabulary.problem import VectorSpace

    problem = hand_problem(torch.randn(30, 4), torch.randn(40, 6))
    blind = replace(problem, auxiliary=VectorSpace(torch.randn(40, 6), np.ones(40, np.bool_)))
    expected = new_rows(wechsel(problem), problem, problem.source_input)
    assert torch.equal(new_rows(wechsel(blind), blind, problem.source_input), expected)
    with pytest.raises(TransferError, match="no vector space that holds both"):
        wechsel(replace(blind, donor=None))
