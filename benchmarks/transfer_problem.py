"""The problems that the benchmark of vocabulary transfer is run on: a synthetic one, and a real one."""

from dataclasses import dataclass

import numpy as np
import torch

from lingraft.assets.catalog import find_asset
from lingraft.models.embeddings import read_embeddings
from lingraft.models.loading import load_donor, load_model
from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.tokenizers.overlap import VocabularyMatch
from lingraft.tokenizers.pieces import Piece
from lingraft.vocabulary.building import build_problem
from lingraft.vocabulary.problem import DonorSpace, TransferProblem, VectorSpace


@dataclass(frozen=True)
class Size:
    target: int = 250_000
    shared: int = 40_000
    source: int = 128_256
    donor_width: int = 768
    model_width: int = 4096
    literal_sample: int = 48
    pursuit_sample: int = 1024

    @property
    def new(self):
        return self.target - self.shared


QUICK = Size(6000, 4000, 6000, 256, 512, literal_sample=16, pursuit_sample=256)


def donor_rows(count, width, seed):
    """Vectors like a multilingual encoder's: a common direction, topics, senses of unequal size, noise of unequal size.

    The sizes of the four parts are set so that sparsemax supports are like those of multilingual-E5-small's own
    vocabulary (mean 38, largest 86). Topics and senses are the same for every `seed`.
    """
    shared, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)

    def normal(rows, generator):
        return torch.randn(rows, width, generator=generator) / width**0.5

    common, topics = 1.2 * normal(1, shared), 0.8 * normal(400, shared)
    senses = topics[torch.randint(400, (900,), generator=shared)] + 0.4 * normal(900, shared)
    frequency = (0.6 * torch.randn(900, generator=shared)).exp()
    rows = torch.empty(count, width)
    for start in range(0, count, 8192):
        part = rows[start : start + 8192]
        which = torch.multinomial(frequency, len(part), replacement=True, generator=own)
        strength = 1.3 * (0.25 * torch.randn(len(part), 1, generator=own)).exp()
        part.copy_(common + senses[which] + strength * normal(len(part), own))
    return rows


def make_problem(size):
    """A transfer problem, the source matrix included, whose auxiliary space is the donor's own."""
    generator = np.random.default_rng(0)
    target = donor_rows(size.target, size.donor_width, 1)
    known = np.ones(size.target, dtype=bool)
    target_ids = np.sort(generator.permutation(size.target)[: size.shared])
    source_ids = generator.permutation(size.source)[: size.shared]
    source = torch.randn(size.source, size.model_width, generator=torch.Generator().manual_seed(2))
    nothing = torch.zeros(0, size.donor_width)
    donor = DonorSpace(target, known, nothing, known[:0], known[:0])
    return TransferProblem(
        source_pieces=[Piece(i, str(i).encode(), True, "") for i in range(size.source)],
        target_pieces=[Piece(i, str(i).encode(), True, "") for i in range(size.target)],
        source_tokenizer=None,
        match=VocabularyMatch(target_ids, source_ids, np.zeros(size.shared, dtype=bool)),
        new_ids=np.setdiff1d(np.arange(size.target), target_ids),
        source_input=source,
        donor=donor,
        auxiliary=VectorSpace(target, known),
    )


def real_problem():
    """SmolLM2-135M with multilingual-E5-small's whole vocabulary, or None where they are not cached."""
    paths = [find_asset(name) for name in ("smollm2-135m-instruct", "multilingual-e5-small")]
    if None in paths:
        return None
    model, donor = load_model(str(paths[0])), load_donor(str(paths[1]))
    matrix = read_embeddings(model.model).input.float().cpu().clone()
    adapted = adapt_tokenizer(donor.tokenizer, model.tokenizer)
    return build_problem(matrix, model.tokenizer, adapted, donor=donor)
