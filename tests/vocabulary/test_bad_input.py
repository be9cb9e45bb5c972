"""What does not fit is refused in one line with its values, and the model stays as it was."""

import pytest
import torch

from lingraft.errors import ConfigError, LingraftError, TokenizerError, TransferError
from lingraft.models.loading import LoadedDonor
from lingraft.tokenizers.backend import rebuild
from lingraft.vocabulary.initializers import INITIALIZERS
from lingraft.vocabulary.problem import Rule
from lingraft.vocabulary.transfer import transfer_vocabulary


@pytest.fixture
def refused(load, unigram_tokenizer):
    """A function that transfers, and asserts that this is refused in one line and changes nothing."""

    def check(error, match, *, model=None, tokenizer=None, **options):
        model = load() if model is None else model
        before = [parameter.detach().clone() for parameter in model.model.parameters()]
        config = model.model.config.to_dict()
        with pytest.raises(error, match=match) as caught:
            transfer_vocabulary(model, unigram_tokenizer if tokenizer is None else tokenizer, **options)
        assert isinstance(caught.value, LingraftError) and "\n" not in str(caught.value)
        after = list(model.model.parameters())
        assert len(after) == len(before) and model.model.config.to_dict() == config
        for ours, theirs in zip(after, before, strict=True):
            assert torch.equal(ours.nan_to_num(-7), theirs.nan_to_num(-7))

    return check


@pytest.mark.parametrize("method", ["salt", "salt-safe", "clp", "sava", "omp", "fused"])
def test_no_donor(refused, method):
    refused(TransferError, rf"no donor model for {method}|no donor model for anchors", method=method)


def test_no_auxiliary_vectors(refused):
    refused(TransferError, "no auxiliary vectors for focus", method="focus")


@pytest.mark.parametrize("which", ["input", "output"])
@pytest.mark.parametrize("method", ["multivariate", "salt", "mean"])
def test_source_rows_that_are_not_finite(refused, load, donor, which, method):
    model = load(tied=False)
    module = getattr(model.model, f"get_{which}_embeddings")()
    with torch.no_grad():
        module.weight[41:43, 5] = torch.nan
    refused(
        TransferError, rf"the model's {which} row 41 \(2 such rows\)", model=model, donor=donor, method=method
    )


def test_overlap_too_small(refused, unigram_tokenizer, byte_bpe_tokenizer, load, wordpiece_tokenizer):
    """A donor that has no token of the overlap, and one that is wider than the overlap is large."""
    from tokenizers import Tokenizer, models

    description = {"vocab": [["<unk>", 0.0], ["☃", -1.0], ["☂", -2.0]], "unk_id": 0}
    backend = Tokenizer(models.Unigram([tuple(entry) for entry in description["vocab"]], unk_id=0))
    import json

    stranger = rebuild(json.loads(backend.to_str()), wordpiece_tokenizer, unk_token="<unk>")
    donor = LoadedDonor(torch.randn(20, 8), stranger, "stranger", "none")
    for method, needed in (("salt", 2), ("focus", 2), ("clp", 1), ("omp", 8), ("sava", 8)):
        refused(TransferError, rf"only 0 shared tokens.*at least {needed}", donor=donor, method=method)
    wide = LoadedDonor(torch.randn(294, 4000), unigram_tokenizer, "wide", "none")
    refused(TransferError, r"only 145 shared tokens.*at least 4000 for sava", donor=wide, method="sava")


def test_extend_with_a_moved_token(refused, load, byte_bpe_tokenizer, unigram_tokenizer):
    import json

    description = json.loads(byte_bpe_tokenizer.backend_tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[500:502]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    moved = rebuild(description, byte_bpe_tokenizer)
    refused(TransferError, "at id 500, where the model's has", tokenizer=moved, mode="extend", method="mean")
    refused(TransferError, "at id 0, where the model's has", mode="extend", method="mean")


def test_extend_with_a_vocabulary_that_ends_early(refused, load, twin_tokenizer):
    import json

    description = json.loads(twin_tokenizer.backend_tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    size = len(vocabulary)
    description["model"]["vocab"] = {text: i for text, i in vocabulary.items() if i < size - 1}
    description["model"]["byte_fallback"] = False
    shorter = rebuild(description, twin_tokenizer)
    refused(
        TransferError,
        f"has nothing at id {size - 1}",
        model=load(tokenizer=twin_tokenizer),
        tokenizer=shorter,
        mode="extend",
        method="mean",
    )


@pytest.mark.parametrize(
    ("texts", "found"), [([], "0 documents"), (["", " "], "documents"), (["Egun on"], "1 documents")]
)
def test_corpus_too_small_for_fasttext(refused, donor, texts, found):
    refused(
        TransferError,
        f"no token occurs 10 times in .*{found}",
        donor=donor,
        corpus=texts,
        auxiliary="fasttext",
    )


def test_fasttext_without_a_corpus(refused, donor):
    refused(ConfigError, "auxiliary 'fasttext' without its input", donor=donor, auxiliary="fasttext")


def test_unknown_auxiliary(refused, donor):
    refused(ConfigError, "auxiliary 'word2vec'", donor=donor, auxiliary="word2vec")


def test_corpus_that_can_be_read_once(refused, donor, multilingual_texts):
    refused(
        ConfigError,
        r"can be read only once \(generator\)",
        donor=donor,
        corpus=(text for text in multilingual_texts),
        auxiliary="fasttext",
    )


def test_source_tokenizer_without_eos(refused, load, byte_bpe_tokenizer, donor):
    byte_bpe_tokenizer.eos_token = None
    refused(TokenizerError, "without an eos", model=load(tokenizer=byte_bpe_tokenizer), donor=donor)


def test_tokenizer_with_more_ids_than_the_model_has_rows(refused, load, donor):
    refused(TokenizerError, "ids up to 599, and a matrix of 500 rows", model=load(rows=500), donor=donor)


def test_wechsel_vectors_of_two_widths(refused, tmp_path, write_vec):
    from lingraft.vocabulary.fasttext import read_word_vectors

    ours = read_word_vectors(write_vec(tmp_path / "a.vec", {"document": [1.0, 2.0], "open": [0.0, 1.0]}))
    theirs = read_word_vectors(write_vec(tmp_path / "b.vec", {"dokumentua": [1.0, 2.0, 3.0]}))
    options = {"method": "wechsel", "auxiliary": theirs, "source_words": ours}
    refused(TransferError, "2 and 3 wide", lexicon={"dokumentua": ["document"]}, **options)
    same = {**options, "source_words": theirs}
    refused(TransferError, "none of 1 dictionary pairs", lexicon={"etxe": ["house"]}, **same)
    refused(TransferError, "no vector space that holds both vocabularies", **options)


def test_a_rule_that_leaves_rows_out(refused, monkeypatch):
    def forgetful(problem):
        rule = INITIALIZERS["mean"](problem)

        def fill(which, source, out):
            out[problem.new_ids[1:]] = 0

        return Rule(fill, rule.origin, rule.neighbours, rule.residual)

    monkeypatch.setitem(INITIALIZERS, "forgetful", forgetful)
    refused(TransferError, "NaN or infinity in the new input row", method="forgetful")
