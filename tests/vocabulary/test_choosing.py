"""`--method auto` takes the method that a planted relation favours, and says why; the options are one thing."""

import inspect

import numpy as np
import pytest
import torch

from lingraft.errors import ConfigError
from lingraft.models.embeddings import read_embeddings
from lingraft.models.loading import LoadedDonor
from lingraft.tokenizers.pieces import read_pieces
from lingraft.vocabulary.building import build_problem
from lingraft.vocabulary.choosing import CANDIDATES, choose_method, held_out_problem
from lingraft.vocabulary.config import TransferConfig
from lingraft.vocabulary.initializers import INITIALIZERS, find_initializer
from lingraft.vocabulary.transfer import transfer_vocabulary


@pytest.fixture
def planted(load, unigram_tokenizer, byte_bpe_tokenizer):
    """A model whose rows are a linear image of the donor's rows for the same text: `sava` predicts them exactly."""

    def make(noise=0.0):
        from lingraft.vocabulary.donors import donor_space

        model = load(rows=600)
        rows = torch.randn(294, 10)
        pieces = read_pieces(byte_bpe_tokenizer)
        vectors = donor_space(pieces, pieces, rows, unigram_tokenizer).source
        matrices = read_embeddings(model.model)
        planted = vectors @ torch.randn(10, 32)
        matrices.input.copy_(planted + noise * torch.randn(600, 32))
        return model, LoadedDonor(rows, unigram_tokenizer, "planted", "none")

    return make


def test_auto_finds_the_planted_method(planted, unigram_tokenizer):
    model, donor = planted(noise=0.05)
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor, method="auto")
    assert result.method == "sava"
    assert result.reason.startswith("smallest error on 14 held-out shared tokens")
    errors = {}
    for part in result.reason.partition("variance: ")[2].rstrip(")").split(", "):
        name, _, value = part.rpartition(" ")
        errors[name] = float(value)
    assert list(errors.values()) == sorted(errors.values()) and next(iter(errors)) == "sava"
    assert errors["sava"] < 0.01 and 0.5 < errors["mean"] < 1.5
    assert set(errors) == set(CANDIDATES)


def test_auto_without_a_donor_leaves_out_what_needs_one(load, unigram_tokenizer):
    result = transfer_vocabulary(load(), unigram_tokenizer, method="auto")
    assert result.method in {"mean", "subword-mean"}
    assert "sava" not in result.reason and "salt" not in result.reason


def test_auto_passes_over_results_that_are_not_finite(monkeypatch, load, donor, unigram_tokenizer):
    def broken(problem):
        rule = INITIALIZERS["mean"](problem)
        return type(rule)(
            lambda which, source, out: out.fill_(torch.nan), rule.origin, rule.neighbours, rule.residual
        )

    monkeypatch.setitem(INITIALIZERS, "fused", broken)
    result = transfer_vocabulary(load(), unigram_tokenizer, donor=donor, method="auto")
    assert result.method != "fused" and "nan" not in result.reason


def test_held_out_tokens_are_hidden_everywhere(planted, unigram_tokenizer, byte_bpe_tokenizer):
    """From the overlap with all twins, from the donor's wider anchors, and from their own splits."""
    _, donor = planted()
    problem = build_problem(
        torch.randn(600, 32), byte_bpe_tokenizer, unigram_tokenizer, donor=donor, normalise="focus-fuzzy"
    )
    repeated = np.unique(problem.match.source_ids, return_counts=True)[1]
    assert (repeated > 1).any()  # `focus-fuzzy` gives several target tokens one source row
    trial, source_ids = held_out_problem(problem)
    assert len(trial.new_ids) == len(source_ids) >= 14
    assert not np.isin(trial.match.source_ids[~trial.match.by_role], source_ids).any()
    assert not np.isin(trial.donor_anchors, source_ids).any()
    assert all(source_id not in split for source_id, split in zip(source_ids, trial.splits, strict=True))
    assert (trial.match.by_role.sum()) == problem.match.by_role.sum()


def test_auto_compares_rows_before_they_are_shifted(planted, unigram_tokenizer, multilingual_texts):
    """`fused` moves its rows to the corpus's frequencies afterwards; its held-out error must not see that."""
    reasons = []
    for corpus in (None, multilingual_texts):
        torch.manual_seed(0)
        model, donor = planted(noise=0.05)
        options = {"donor": donor, "corpus": corpus, "method": "auto"}
        reasons.append(transfer_vocabulary(model, unigram_tokenizer, **options).reason)
    assert reasons[0] == reasons[1] and "fused" in reasons[0]


def test_auto_repeats_by_seed(load, donor, unigram_tokenizer):
    reasons = {
        transfer_vocabulary(load(), unigram_tokenizer, donor=donor, method="auto", seed=4).reason
        for _ in range(2)
    }
    assert len(reasons) == 1


def test_overlap_too_small_to_choose_by(hand_problem):
    with pytest.raises(ConfigError, match="only 12 shared tokens to validate on"):
        choose_method(hand_problem(torch.randn(12, 4), torch.randn(20, 4)))


# ---------------------------------------------------------------------------------------- options


def test_config_fields_are_the_functions_keywords():
    parameters = inspect.signature(transfer_vocabulary).parameters
    fields = TransferConfig.model_fields
    assert list(fields) == list(parameters)
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert fields[name].default == parameter.default, name
    assert TransferConfig.model_config["frozen"] and TransferConfig.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mode", "insert"),
        ("normalise", "fuzzy"),
        ("seed", -1),
        ("fasttext_dimension", 0),
        ("fasttext_epochs", 0),
        ("fasttext_minimum_count", 0),
        ("methd", "salt"),
    ],
)
def test_bad_options(load, unigram_tokenizer, option, value):
    with pytest.raises(ConfigError, match=f"{option} = {value!r}") as caught:
        TransferConfig.read({"model": "m", option: value})
    assert "\n" not in str(caught.value)
    if option != "methd":
        with pytest.raises(ConfigError, match=f"{option} = {value!r}"):
            transfer_vocabulary(load(), unigram_tokenizer, method="mean", **{option: value})


@pytest.mark.parametrize(
    "name", ["sallt", "no_such_module:f", "json:no_such_function", ":f", "json:", "json:__name__", ".x:f"]
)
def test_unknown_methods(load, unigram_tokenizer, name):
    with pytest.raises(ConfigError, match="method") as caught:
        find_initializer(name)
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        transfer_vocabulary(load(), unigram_tokenizer, method=name)
