"""Small vocabulary transfers: problems made by hand, and loaded inputs around the tokenizers made in memory."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from lingraft.models.loading import LoadedDonor, LoadedModel
from lingraft.tokenizers.overlap import VocabularyMatch
from lingraft.tokenizers.pieces import Piece
from lingraft.vocabulary.problem import DonorSpace, TransferProblem, VectorSpace

DONOR_WIDTH = 24


@pytest.fixture
def hand_problem() -> Callable[..., TransferProblem]:
    """A function that makes a problem from matrices alone.

    Source tokens 0 .. n-1 are the anchors, and target token i is source token i; the target tokens after them are
    new. `donor [n + n_new, h_t]` holds the target tokens' donor vectors, the same as the auxiliary ones if none are
    given.
    """

    def make(
        source: torch.Tensor,
        donor: torch.Tensor,
        *,
        auxiliary: torch.Tensor | None = None,
        auxiliary_known: Sequence[bool] | None = None,
        splits: list[list[int]] | None = None,
        contents: Sequence[str] | None = None,
        seed: int = 0,
    ) -> TransferProblem:
        anchors, size = len(source), len(donor)
        names = list(contents or ()) or [f"größe{i}" for i in range(size)]
        pieces = [Piece(i, name.encode(), True) for i, name in enumerate(names)]
        ids = np.arange(anchors)
        everything = np.ones(size, dtype=np.bool_)
        space = donor if auxiliary is None else auxiliary
        known = everything if auxiliary_known is None else np.array(auxiliary_known)
        return TransferProblem(
            source_pieces=pieces[:anchors],
            target_pieces=pieces,
            source_tokenizer=None,  # type: ignore[arg-type]
            match=VocabularyMatch(ids, ids, np.zeros(anchors, np.bool_)),
            new_ids=np.arange(anchors, size),
            source_input=source,
            donor=DonorSpace(
                donor, everything, donor[:anchors], everything[:anchors], everything[:anchors].copy()
            ),
            auxiliary=VectorSpace(space, known, space[:anchors], known[:anchors]),
            known_splits=None if splits is None else [np.array(split, dtype=np.int64) for split in splits],
            seed=seed,
        )

    return make


@pytest.fixture
def new_rows() -> Callable[..., torch.Tensor]:
    """A function that gives a rule's rows for the new tokens: `rows(rule, problem, matrix, which="input")`."""

    def fill(rule: Any, problem: TransferProblem, matrix: torch.Tensor, which: str = "input") -> torch.Tensor:
        out = torch.full((len(problem.target_pieces), matrix.shape[1]), torch.nan)
        rule.fill(which, matrix, out)
        return out[torch.from_numpy(problem.new_ids)]

    return fill


@pytest.fixture
def load(make_tiny_llama: Callable[..., Any], byte_bpe_tokenizer: Any) -> Callable[..., LoadedModel]:
    """A function that makes a tiny Llama (600 tokens, 640 rows) with the byte-level tokenizer."""

    def make(*, rows: int = 640, tokenizer: Any = None, **options: Any) -> LoadedModel:
        tokenizer = byte_bpe_tokenizer if tokenizer is None else tokenizer
        return LoadedModel(make_tiny_llama(rows, **options), tokenizer, "tiny", "none")

    return make


@pytest.fixture
def donor(unigram_tokenizer: Any) -> LoadedDonor:
    """A random donor of another width, with the unigram tokenizer and some padding rows."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(520, DONOR_WIDTH, generator=generator)
    return LoadedDonor(rows, unigram_tokenizer, "donor", "none")


@pytest.fixture(scope="session")
def twin_backend(multilingual_texts: list[str]) -> Any:
    """A SentencePiece style BPE that has every ASCII letter twice: `a` and `<0x61>`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    words = [word for text in multilingual_texts for word in text.replace(" ", " ▁").split()]
    backend.train_from_iterator(
        words,
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False),
    )
    description = json.loads(backend.to_str())
    vocabulary = description["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    description["model"]["byte_fallback"] = True
    backend = Tokenizer.from_str(json.dumps(description))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


@pytest.fixture
def twin_tokenizer(twin_backend: Any) -> Any:
    """A fresh transformers tokenizer of `twin_backend`, with bos, eos and unk and no pad."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=twin_backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture
def write_vec() -> Callable[..., Any]:
    """A function that writes word vectors in the word2vec text format."""

    def write(path: Any, vectors: dict[str, Sequence[float]]) -> Any:
        width = len(next(iter(vectors.values())))
        lines = [f"{len(vectors)} {width}"]
        lines += [f"{word} {' '.join(repr(float(value)) for value in row)}" for word, row in vectors.items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
