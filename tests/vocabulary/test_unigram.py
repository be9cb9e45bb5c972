"""The unigram shift: exact logits at the mean state, the right rows of the right matrix, honest notes."""

import numpy as np
import pytest
import torch

from lingraft.models.embeddings import read_embeddings
from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.vocabulary.building import build_problem
from lingraft.vocabulary.final_states import LENGTH, SEQUENCES, measure_final_states
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.problem import FinalStates
from lingraft.vocabulary.transfer import transfer_vocabulary
from lingraft.vocabulary.unigram import SMOOTHING, unigram_shift, whitened_direction


@pytest.fixture
def problem_of(unigram_tokenizer, multilingual_texts):
    """A function that makes the problem of giving a loaded model the unigram vocabulary."""

    def make(model, corpus=True, states=True):
        return build_problem(
            read_embeddings(model.model).input.float(),
            model.tokenizer,
            adapt_tokenizer(unigram_tokenizer, model.tokenizer),
            corpus=multilingual_texts if corpus else None,
            final_states=measure_final_states(model.model, model.tokenizer, multilingual_texts)
            if states
            else None,
        )

    return make


def level_by_hand(problem, matrix):
    """Mean over shared ordinary tokens, weighted by count, of logit minus log frequency."""
    counts = problem.target_counts
    whole = sum(int(count) for count in counts) + SMOOTHING * len(counts)
    total = weight = 0.0
    match = problem.match
    for target_id, source_id, role in zip(match.target_ids, match.source_ids, match.by_role, strict=True):
        if role:
            continue
        logit = float(matrix[source_id].double() @ problem.final_states.mean.double())
        total += counts[target_id] * (logit - np.log((counts[target_id] + SMOOTHING) / whole))
        weight += counts[target_id]
    return total / weight, np.log((counts + SMOOTHING) / whole)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_at_the_mean_state_are_frequencies_and_level(load, problem_of, tied):
    model = load(tied=tied)
    problem = problem_of(model)
    matrices = read_embeddings(model.model)
    head = matrices.input if tied else matrices.output
    plain, moved = (find_initializer(name)(problem) for name in ("random", "random+unigram"))
    which = "input" if tied else "output"
    rows = {}
    for name, rule in (("plain", plain), ("moved", moved)):
        rows[name] = torch.full((len(problem.target_pieces), head.shape[1]), 7.0)
        rule.fill(which, head, rows[name])
    new = torch.from_numpy(problem.new_ids)
    level, frequencies = level_by_hand(problem, head)
    logits = rows["moved"][new].double() @ problem.final_states.mean.double()
    wanted = torch.from_numpy(frequencies[problem.new_ids] + level)
    assert torch.allclose(logits, wanted, atol=1e-4)
    assert not torch.allclose(
        rows["plain"][new].double() @ problem.final_states.mean.double(), wanted, atol=1
    )
    others = torch.ones(len(problem.target_pieces), dtype=torch.bool)
    others[new] = False
    assert (rows["moved"][others] == 7.0).all()
    # Only along one direction, so that what the method made of the row stays in all others.
    change = (rows["moved"] - rows["plain"])[new].double()
    direction = whitened_direction(problem.final_states).double()
    along = change @ direction / (direction @ direction)
    assert torch.allclose(change, along.unsqueeze(1) * direction, atol=1e-4)
    assert moved.notes["unigram_shift"] == "applied"


@pytest.mark.parametrize(
    ("tied", "which"), [(True, "output"), (True, "bias"), (False, "input"), (False, "bias")]
)
def test_what_makes_no_logits_stays(load, problem_of, tied, which):
    problem = problem_of(load(tied=tied))
    matrix = torch.randn(640, 1 if which == "bias" else 32)
    rows = []
    for name in ("random", "random+unigram"):
        out = torch.zeros(len(problem.target_pieces), matrix.shape[1])
        find_initializer(name)(problem).fill(which, matrix, out)
        rows.append(out)
    assert torch.equal(*rows) and rows[0].any()


def test_the_direction_has_unit_effect_on_the_mean_and_least_on_the_rest():
    states = torch.randn(500, 12) @ torch.randn(12, 12) + 2
    moments = FinalStates(states.mean(dim=0), states.T @ states / len(states), True)
    direction = whitened_direction(moments)
    assert float(direction @ moments.mean) == pytest.approx(1, abs=1e-5)
    regularised = moments.second_moment.double()
    regularised += 0.1 * torch.trace(regularised) / 12 * torch.eye(12)
    cost = direction.double() @ regularised @ direction.double()
    for _ in range(20):
        other = torch.randn(12).double()
        other /= other @ moments.mean.double()
        assert other @ regularised @ other >= cost - 1e-9


@pytest.mark.parametrize(("corpus", "states"), [(False, True), (True, False)])
def test_without_a_corpus_or_states_nothing_is_shifted_and_the_notes_say_so(load, problem_of, corpus, states):
    problem = problem_of(load(), corpus, states)
    assert unigram_shift(problem) is None
    rows, notes = [], []
    for name in ("subword-mean", "subword-mean+unigram"):
        rule = find_initializer(name)(problem)
        out = torch.zeros(len(problem.target_pieces), 32)
        rule.fill("input", problem.source_input, out)
        rows.append(out)
        notes.append(rule.notes)
    assert torch.equal(*rows)
    assert "not applied" in notes[1]["unigram_shift"] and "unigram_shift" not in notes[0]


def test_a_transfer_keeps_shared_rows_bit_for_bit(load, unigram_tokenizer, multilingual_texts):
    model = load(tied=True, dtype=torch.bfloat16)
    source = read_embeddings(model.model).input.clone()
    problem = build_problem(
        source.float(), model.tokenizer, adapt_tokenizer(unigram_tokenizer, model.tokenizer)
    )
    result = transfer_vocabulary(
        model, unigram_tokenizer, corpus=multilingual_texts, method="mean+unigram", mode="replace"
    )
    rows = read_embeddings(result.model).input
    assert torch.equal(
        rows[torch.from_numpy(problem.match.target_ids)], source[torch.from_numpy(problem.match.source_ids)]
    )
    new = rows[torch.from_numpy(problem.new_ids)].float()
    assert new.std(dim=0).max() > 0.001, "all new rows alike: nothing was shifted"
    assert result.notes["unigram_shift"] == "applied"


@pytest.mark.parametrize("repeat", [1, 12])
def test_final_states_are_what_the_head_is_multiplied_with(load, multilingual_texts, repeat):
    model = load()
    texts = multilingual_texts * repeat
    found = measure_final_states(model.model, model.tokenizer, texts)
    ids = [i for text in texts for i in model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    count = min(SEQUENCES, len(ids) // LENGTH)
    assert count == SEQUENCES if repeat == 12 else 1 < count < SEQUENCES
    states = []
    for start in range(0, count * LENGTH, LENGTH):
        with torch.no_grad():
            out = model.model(torch.tensor([ids[start : start + LENGTH]]), output_hidden_states=True)
        states += list(out.hidden_states[-1][0].double())
        head = model.model.get_output_embeddings().weight.double()
        assert torch.allclose(states[-1] @ head.T, out.logits[0, -1].double(), atol=1e-4)
    mean = sum(states) / len(states)
    moment = sum(torch.outer(state, state) for state in states) / len(states)
    assert torch.allclose(found.mean.double(), mean, atol=1e-5)
    assert torch.allclose(found.second_moment.double(), moment, atol=1e-4)
    assert found.tied


def test_a_short_text_gives_one_short_sequence(load):
    model = load(tied=False)
    found = measure_final_states(model.model, model.tokenizer, ["Egun on!"])
    ids = model.tokenizer("Egun on!", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        states = model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    assert torch.allclose(found.mean, states.mean(dim=0), atol=1e-5)
    assert not found.tied
