"""`fused` against its formula written out, planted structure, and inputs that it must refuse."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lingraft.errors import TransferError
from lingraft.models.embeddings import read_embeddings
from lingraft.tokenizers.pieces import Piece
from lingraft.vocabulary import fused
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.transfer import transfer_vocabulary

ANCHORS, NEW, WIDTH, DONOR = 90, 12, 10, 6
BASE = 20
"""The first source tokens are what the others are split into; they have no splits themselves."""


@pytest.fixture
def problem(hand_problem):
    """90 source tokens, 12 new ones, random rows; pieces of one to three of the first 20 tokens."""
    generator = np.random.default_rng(5)
    source = torch.randn(ANCHORS, WIDTH) + 0.3
    contents = ["ñ" * (1 + i % 4) + str(i) for i in range(ANCHORS + NEW)]
    splits = [generator.integers(BASE, size=1 + i % 3).tolist() for i in range(NEW)]
    made = hand_problem(source, torch.randn(ANCHORS + NEW, DONOR) * 2, splits=splits, contents=contents)
    for place in range(0, ANCHORS + NEW, 3):
        piece = made.target_pieces[place]
        made.target_pieces[place] = Piece(piece.token_id, piece.content, False)
        if place < ANCHORS:
            made.source_pieces[place] = made.target_pieces[place]
    return with_anchor_splits(made)


def with_anchor_splits(problem, seed=6):
    """Splits for the anchors from the seed and their own id alone; none for the base tokens."""
    problem.__dict__["anchor_splits"] = [
        np.random.default_rng([seed, i]).integers(BASE, size=(0 if i < BASE else 1 + i % 3)).astype(np.int64)
        for i in problem.donor_anchors
    ]
    return problem


def by_hand(problem, matrix, bandwidth, ridge):
    """The module's formula in float64 and plain loops."""
    anchors = [int(i) for i in problem.donor_anchors if i >= BASE]
    splits = [s for s in problem.anchor_splits if len(s)]
    inputs = problem.source_input.double().numpy()
    centre = inputs.mean(axis=0)
    donor_rows = problem.donor.source.double().numpy()[anchors]
    donor_new = problem.donor.target.double().numpy()[problem.new_ids]

    def squared_size(rows):
        return np.mean([sum(x * x for x in row) for row in rows])

    first, last = ([inputs[s[place]] - centre for s in splits] for place in (0, -1))
    middle = donor_rows.mean(axis=0)
    sizes = squared_size(first), squared_size(last), squared_size(donor_rows - middle)

    def shape(piece):
        return np.array([1.0 if piece.word_start else -1.0, math.log(len(piece.content))])

    def point(split, donor, piece):
        return inputs[split[0]], inputs[split[-1]], donor, shape(piece)

    ours = [
        point(s, d, problem.source_pieces[i]) for s, d, i in zip(splits, donor_rows, anchors, strict=True)
    ]
    theirs = [
        point(s, d, problem.target_pieces[i])
        for s, d, i in zip(problem.splits, donor_new, problem.new_ids, strict=True)
    ]

    def kernel(a, b):
        squares = [((x - y) ** 2).sum() for x, y in zip(a, b, strict=True)]
        weights = 0.5 / sizes[0], 0.5 / sizes[1], 1.0 / sizes[2], 0.1
        return math.exp(-bandwidth * sum(w * s for w, s in zip(weights, squares, strict=True)))

    gram = np.array([[kernel(a, b) for b in ours] for a in ours])
    values = matrix.double().numpy()
    average = values.mean(axis=0)
    dual = np.linalg.solve(gram + ridge * np.eye(len(gram)), values[anchors] - average)
    out = []
    for place, split in zip(theirs, problem.splits, strict=True):
        regressed = sum(kernel(place, b) * row for b, row in zip(ours, dual, strict=True))
        out.append(average + regressed + 0.3 * (values[split].mean(axis=0) - average))
    return torch.tensor(np.array(out))


def test_the_regression_is_the_formula(problem, new_rows):
    rule = fused.fused_plain(problem)
    assert rule.notes["anchors"] == ANCHORS - BASE
    wanted = by_hand(problem, problem.source_input, rule.notes["bandwidth"], rule.notes["ridge"])
    assert torch.allclose(new_rows(rule, problem, problem.source_input).double(), wanted, atol=1e-4)
    assert set(rule.origin) == {"regressed"}
    assert rule.neighbours.tolist() == [len(split) for split in problem.splits]


@pytest.mark.parametrize("which", ["output", "bias"])
def test_other_matrices_use_the_inputs_kernel_and_their_own_rows(problem, new_rows, which):
    matrix = torch.randn(ANCHORS, 1 if which == "bias" else WIDTH)
    rule = fused.fused_plain(problem)
    wanted = by_hand(problem, matrix, rule.notes["bandwidth"], rule.notes["ridge"])
    assert torch.allclose(new_rows(rule, problem, matrix, which).double(), wanted, atol=1e-4)


def test_bf16_differs_by_rounding_alone(problem):
    matrix = problem.source_input.bfloat16()
    same = with_anchor_splits(replace(problem, source_input=matrix.float()))
    rule = fused.fused_plain(same)
    out = torch.zeros(ANCHORS + NEW, WIDTH, dtype=torch.bfloat16)
    rule.fill("input", matrix, out)
    wanted = by_hand(same, matrix.float(), rule.notes["bandwidth"], rule.notes["ridge"])
    assert torch.allclose(out[same.new_ids].double(), wanted, atol=0.05)
    assert not out[:ANCHORS].any()


def test_bandwidth_and_ridge_have_the_least_error_of_the_grid(problem, monkeypatch):
    chosen = fused.fused_plain(problem).notes
    errors = {}
    for bandwidth in fused.BANDWIDTHS:
        for ridge in fused.RIDGES:
            monkeypatch.setattr(fused, "BANDWIDTHS", (bandwidth,))
            monkeypatch.setattr(fused, "RIDGES", (ridge,))
            errors[bandwidth, ridge] = fused.fused_plain(problem).notes["held_out_error"]
            monkeypatch.undo()
    assert len(errors) == 9
    assert min(errors, key=lambda key: errors[key]) == (chosen["bandwidth"], chosen["ridge"])
    assert chosen["held_out_error"] == pytest.approx(min(errors.values()))


def planted(hand_problem, anchors=420, new=60):
    """Rows that are a smooth, curved function of both pieces and the donor vector."""
    base, size = 60, anchors + new
    generator = np.random.default_rng(2)
    rows = torch.randn(base, 8)
    donor = torch.randn(base + size, 5)
    pairs = torch.from_numpy(generator.integers(base, size=(size, 2)))
    bend = torch.randn(5, 8) * 0.6
    truth = 0.4 * rows[pairs[:, 0]] + 0.4 * rows[pairs[:, 1]] + torch.sin(donor[base:] @ bend)
    made = hand_problem(torch.cat([rows, truth[:anchors]]), donor, splits=pairs[anchors:].tolist())
    made.__dict__["anchor_splits"] = [
        np.zeros(0, np.int64) if i < base else pairs[i - base].numpy() for i in made.donor_anchors
    ]
    return made, truth[anchors:]


def test_planted_structure_is_recovered_better_than_by_pieces_or_neighbours_alone(hand_problem, new_rows):
    problem, truth = planted(hand_problem)
    errors = {}
    for method in ("fused-plain", "subword-mean", "focus", "mean"):
        rows = new_rows(find_initializer(method)(problem), problem, problem.source_input)
        errors[method] = float((rows - truth).square().mean())
    assert errors["fused-plain"] < 0.75 * min(errors["subword-mean"], errors["focus"])
    assert errors["fused-plain"] < 0.5 * errors["mean"]


def test_spellings_of_a_word_stay_on_one_side_of_the_fold(hand_problem):
    """Pairs with equal rows and equal features, and noise otherwise: a fold that parts them would look perfect."""
    words, width = 120, 8
    noise, donor = torch.randn(words, width), torch.randn(words, 5) * 4
    contents = [f"größe{i}" for i in range(words)] + [f"GRÖßE{i}" for i in range(words)] + ["neu"]
    problem = hand_problem(
        noise.repeat(2, 1), torch.cat([donor, donor, donor[:1]]), splits=[[0]], contents=contents
    )
    problem.__dict__["anchor_splits"] = [np.array([0])] * (2 * words)
    assert fused.fused_plain(problem).notes["held_out_error"] > 0.8


def test_held_out_source_tokens_are_no_anchors(problem, new_rows):
    held = np.array([30, 31, 50, 77, 89])
    shuffled = problem.source_input.clone()
    shuffled[held] = shuffled[np.roll(held, 1)]
    results = []
    for source in (problem.source_input, shuffled):
        validation = with_anchor_splits(replace(problem, source_input=source, held_out_source_ids=held))
        rule = fused.fused_plain(validation)
        assert rule.notes["anchors"] == ANCHORS - BASE - len(held)
        results.append((new_rows(rule, validation, source), rule.notes["held_out_error"]))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-5)


def test_tokens_without_vector_or_pieces_are_drawn_and_counted(problem, new_rows):
    known = problem.donor.target_known.copy()
    known[ANCHORS + 2] = False
    splits = [*problem.splits]
    splits[7] = np.zeros(0, np.int64)
    partial = with_anchor_splits(
        replace(problem, donor=replace(problem.donor, target_known=known), known_splits=splits)
    )
    rule = fused.fused_plain(partial)
    assert np.nonzero(rule.origin == "drawn")[0].tolist() == [2, 7]
    assert rule.notes["without_vector"] == 2
    assert rule.neighbours[[2, 7]].tolist() == [0, 0]
    rows, whole = (
        new_rows(made, case, problem.source_input)
        for made, case in ((rule, partial), (fused.fused_plain(problem), problem))
    )
    assert torch.isfinite(rows).all()
    others = [i for i in range(NEW) if i not in (2, 7)]
    assert torch.allclose(rows[others], whole[others], atol=1e-5)
    assert not torch.allclose(rows[[2, 7]], whole[[2, 7]], atol=0.1)
    other_seed = with_anchor_splits(replace(partial, seed=1))
    drawn = new_rows(fused.fused_plain(other_seed), other_seed, problem.source_input)[[2, 7]]
    assert not torch.equal(drawn, rows[[2, 7]])


def test_no_new_token_at_all(problem, new_rows):
    nothing = with_anchor_splits(replace(problem, new_ids=np.zeros(0, np.int64), known_splits=[]))
    assert new_rows(fused.fused_plain(nothing), nothing, problem.source_input).shape == (0, WIDTH)


def test_too_few_anchors_or_no_donor_are_one_line(problem):
    held = np.arange(BASE, BASE + 10)
    few = with_anchor_splits(replace(problem, held_out_source_ids=held))
    with pytest.raises(TransferError, match=r"only 60 shared tokens.*at least 64 for fused") as raised:
        fused.fused_plain(few)
    assert "\n" not in str(raised.value)
    with pytest.raises(TransferError, match=r"no donor model for fused.*--donor") as raised:
        fused.fused_plain(replace(problem, donor=None))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("mode", "options"), [("replace", {"tied": False}), ("replace", {"dtype": torch.bfloat16})]
)
def test_a_whole_transfer(load, donor, unigram_tokenizer, multilingual_texts, mode, options):
    model = load(**options)
    before = read_embeddings(model.model).input.clone()
    result = transfer_vocabulary(
        model, unigram_tokenizer, donor=donor, corpus=multilingual_texts, method="fused", mode=mode
    )
    matrices = read_embeddings(result.model)
    assert matrices.input.dtype == before.dtype
    assert torch.isfinite(matrices.input.float()).all()
    if matrices.output is not None:
        assert not torch.equal(matrices.output, matrices.input)
    assert result.counts["regressed"] > 50
    assert result.notes["unigram_shift"] == "applied"
