"""SALT's rows are those of the literal formula; its guarded variant and FOCUS by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lingraft.vocabulary.building import build_problem
from lingraft.vocabulary.salt import focus, salt, salt_safe
from lingraft.vocabulary.transfer import transfer_vocabulary


def literal_sparsemax(scores):
    """Sparsemax by its definition: sort all scores, find the support, subtract the threshold."""
    ordered = np.sort(scores)[::-1]
    ranks = np.arange(1, len(ordered) + 1)
    support = ranks[1 + ranks * ordered > np.cumsum(ordered)].max()
    return np.maximum(scores - (ordered[:support].sum() - 1) / support, 0)


def literal_salt(problem, matrix):
    """Section 3 word for word in float64: one sort over all anchors and one pinv a token; None where not regressed."""
    known = problem.auxiliary.target_known & problem.donor.target_known
    usable = ~problem.match.by_role & known[problem.match.target_ids]
    anchor_ids, source_ids = problem.match.target_ids[usable], problem.match.source_ids[usable]
    vectors = problem.auxiliary.target.double().numpy()
    anchors = vectors[anchor_ids] / np.linalg.norm(vectors[anchor_ids], axis=1, keepdims=True)
    rows = []
    for token_id in problem.new_ids:
        if not known[token_id]:
            rows.append(None)
            continue
        weights = literal_sparsemax(anchors @ (vectors[token_id] / np.linalg.norm(vectors[token_id])))
        chosen = weights > 0
        donor_rows = problem.donor.target[torch.from_numpy(anchor_ids[chosen])].double()
        source_rows = matrix[torch.from_numpy(source_ids[chosen])].double()
        linear_map = torch.linalg.pinv(donor_rows) @ source_rows
        rows.append(problem.donor.target[token_id].double() @ linear_map)
    return rows


def worst_error(ours, literal):
    """Largest relative distance over the rows that were regressed, and their number."""
    errors = [
        float((row.double() - wanted).norm() / wanted.norm())
        for row, wanted in zip(ours, literal, strict=True)
        if wanted is not None
    ]
    return max(errors), len(errors)


@pytest.mark.parametrize("donor_width", [7, 48, 400])
def test_rows_equal_the_literal_formula(hand_problem, new_rows, donor_width):
    """With fewer, about as many, and more donor columns than neighbours; some anchors stand twice."""
    donor = torch.randn(420, donor_width) + 0.3 * torch.randn(donor_width)
    donor[40:60] = donor[20:40]
    problem = hand_problem(torch.randn(300, 20), donor)
    rule = salt(problem)
    head = torch.randn(300, 20)
    for which, matrix in (("input", problem.source_input), ("output", head)):
        error, count = worst_error(new_rows(rule, problem, matrix, which), literal_salt(problem, matrix))
        assert error < 1e-5 and count == 120
    assert set(rule.origin) == {"regressed"}
    assert (rule.neighbours > 1).all() and np.isfinite(rule.residual).all()


def test_neighbours_in_one_space_and_regression_in_another(hand_problem, new_rows):
    """Auxiliary vectors for some tokens only: anchors without are dropped, new tokens without are drawn."""
    known = np.random.default_rng(1).random(260) < 0.7
    auxiliary = torch.randn(260, 12) * torch.from_numpy(known).unsqueeze(1)
    problem = hand_problem(
        torch.randn(200, 16), torch.randn(260, 30), auxiliary=auxiliary, auxiliary_known=known
    )
    rule = salt(problem)
    error, count = worst_error(
        new_rows(rule, problem, problem.source_input), literal_salt(problem, problem.source_input)
    )
    assert error < 1e-5 and count == known[200:].sum()
    assert ((rule.origin == "regressed") == known[200:]).all()
    assert ((rule.origin == "drawn") == ~known[200:]).all()
    assert rule.notes["without_vector"] == (~known[200:]).sum()
    assert (rule.neighbours[~known[200:]] == 0).all() and np.isnan(rule.residual[~known[200:]]).all()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transferred_model_has_the_literal_rows(load, donor, unigram_tokenizer, tied, dtype):
    model = load(tied=tied, dtype=dtype)
    before = {
        "input": model.model.get_input_embeddings().weight.detach().clone(),
        "output": model.model.get_output_embeddings().weight.detach().clone(),
    }
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor)
    problem = build_problem(before["input"].float(), model.tokenizer, result.tokenizer, donor=donor)
    after = {
        "input": result.model.get_input_embeddings().weight.detach(),
        "output": result.model.get_output_embeddings().weight.detach(),
    }
    tolerance = 1e-5 if dtype == torch.float32 else 2**-8
    for which, matrix in before.items():
        rows = after[which][torch.from_numpy(problem.new_ids)]
        assert rows.dtype == dtype
        error, count = worst_error(rows, literal_salt(problem, matrix.float()))
        assert error < tolerance and count > 100
    assert torch.equal(after["input"], after["output"]) == tied


@pytest.mark.slow
@pytest.mark.real
def test_real_model_and_donor(real_asset):
    """SmolLM2 with multilingual-E5-small as donor and target vocabulary: 40 new tokens, all anchors each."""
    from lingraft.models.loading import load_donor, load_tokenizer
    from lingraft.tokenizers.adapting import adapt_tokenizer

    smol, e5 = real_asset("smollm2-135m-instruct"), real_asset("multilingual-e5-small")
    source, donor = load_donor(str(smol)), load_donor(str(e5))
    tokenizer = adapt_tokenizer(load_tokenizer(str(e5)), source.tokenizer)
    problem = build_problem(source.embeddings, source.tokenizer, tokenizer, donor=donor)
    assert len(problem.new_ids) > 200_000 and (~problem.match.by_role).sum() > 10_000
    sample = np.sort(np.random.default_rng(7).choice(problem.new_ids, size=40, replace=False))
    problem = replace(problem, new_ids=sample)
    rule = salt(problem)
    out = torch.zeros(len(problem.target_pieces), source.embeddings.shape[1])
    rule.fill("input", source.embeddings, out)
    error, count = worst_error(out[torch.from_numpy(sample)], literal_salt(problem, source.embeddings))
    assert error < 1e-5 and count >= 38


SOURCE = torch.tensor([[1.0, 10.0, 100.0], [2.0, 0.0, -1.0], [7.0, 7.0, 7.0]])
DONOR = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [3.0, 4.0]])


def test_salt_by_hand(hand_problem, new_rows):
    """Cosines of (3, 4) to (1, 0), (0, 1), (-1, 0): 0.6, 0.8, -0.6; sparsemax keeps the first two.

    Their donor rows are the unit matrix, so X = E'_s and the new row is 3 (1, 10, 100) + 4 (2, 0, -1).
    """
    problem = hand_problem(SOURCE, DONOR)
    rule = salt(problem)
    assert new_rows(rule, problem, SOURCE).tolist()[0] == pytest.approx([11.0, 30.0, 296.0])
    assert rule.neighbours.tolist() == [2] and rule.residual[0] == pytest.approx(0, abs=1e-12)
    bias = torch.tensor([[0.5], [-1.0], [9.0]])
    assert new_rows(rule, problem, bias, "bias").tolist()[0] == pytest.approx([1.5 - 4.0])


def test_focus_by_hand(hand_problem, new_rows):
    """Sparsemax of 0.8, 0.6: 1 + 2 * 0.6 > 1.4, so both; threshold (1.4 - 1) / 2 = 0.2; weights 0.6, 0.4."""
    problem = hand_problem(SOURCE, DONOR)
    rule = focus(problem)
    row = 0.4 * SOURCE[0] + 0.6 * SOURCE[1]
    assert new_rows(rule, problem, SOURCE).tolist()[0] == pytest.approx(row.tolist())
    assert rule.origin.tolist() == ["averaged"] and np.isnan(rule.residual).all()


def test_salt_safe_with_few_neighbours_by_hand(hand_problem, new_rows):
    """Two neighbours are under five: FOCUS's average (1.6, 4, 39.4), scaled to 0.4 |E_1| + 0.6 |E_2|.

    |E_1| = sqrt(10101) = 100.50373, |E_2| = sqrt(5) = 2.23607: together 41.54313. |average| = 39.63483.
    """
    problem = hand_problem(SOURCE, DONOR)
    rule = salt_safe(problem)
    wanted = torch.tensor([1.6, 4.0, 39.4]) * 41.54313 / 39.63483
    assert new_rows(rule, problem, SOURCE).tolist()[0] == pytest.approx(wanted.tolist(), rel=1e-5)
    assert rule.origin.tolist() == ["averaged"] and rule.notes["below_minimum_support"] == 1
    bias = torch.tensor([[0.5], [-1.0], [9.0]])
    assert new_rows(rule, problem, bias, "bias").tolist()[0] == pytest.approx([0.4 * 0.5 - 0.6])


def test_salt_safe_norms_and_ridge(hand_problem, new_rows):
    """Rows have their neighbours' weighted mean norm, and a ridge leaves a larger residual than none."""
    problem = hand_problem(3 * torch.randn(200, 16), torch.randn(230, 60))
    plain, safe = salt(problem), salt_safe(problem)
    assert (safe.neighbours >= 5).all() and (safe.residual > plain.residual).all()
    average_norms = new_rows(
        focus(problem), problem, problem.source_input.norm(dim=1, keepdim=True)
    ).squeeze()
    assert torch.allclose(new_rows(safe, problem, problem.source_input).norm(dim=1), average_norms, rtol=1e-5)


def test_one_search_serves_three_methods(hand_problem):
    problem = hand_problem(torch.randn(100, 8), torch.randn(120, 9))
    salt(problem)
    salt_safe(problem)
    focus(problem)
    assert len(problem.neighbour_cache) == 1
