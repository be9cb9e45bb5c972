"""Donor vectors for the tokens of any vocabulary: the donor's own row where it has the token, else a mean of pieces."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lingraft.errors import TransferError
from lingraft.tokenizers.overlap import match_vocabularies
from lingraft.tokenizers.pieces import Piece, read_pieces
from lingraft.tokenizers.splitting import split_pieces
from lingraft.vocabulary.mixtures import mixture_from_lists
from lingraft.vocabulary.problem import DonorSpace


def donor_vectors(
    pieces: Sequence[Piece | None], embeddings: Tensor, donor_tokenizer: PreTrainedTokenizerBase
) -> tuple[Tensor, NDArray[np.bool_], NDArray[np.bool_]]:
    """A donor vector for each piece.

    Args:
        pieces: Tokens of any vocabulary.
        embeddings: `[V_donor, h_t]` float32.
        donor_tokenizer: The tokenizer of `embeddings`.

    Returns:
        `[len(pieces), h_t]` float32 vectors, `[len(pieces)]` whether any was found that is not zero, and whether it is
        the donor's own row of this very token (never for special tokens, whose rows mean what the donor learnt).

    Raises:
        TransferError: The donor's matrix and tokenizer disagree, or its rows hold NaN.
    """
    largest = max(donor_tokenizer.get_vocab().values())
    if largest >= len(embeddings):
        raise TransferError(
            f"donor tokenizer with id {largest} beside a matrix of {len(embeddings)} rows",
            "a row for every id",
            "give the tokenizer that belongs to the donor",
        )
    if not bool(torch.isfinite(embeddings).all()):
        bad = int((~torch.isfinite(embeddings)).any(dim=1).nonzero()[0])
        raise TransferError(
            f"NaN or infinity in donor row {bad}", "finite embeddings", "check the donor's checkpoint"
        )
    donor_pieces = read_pieces(donor_tokenizer, len(embeddings))
    match = match_vocabularies(pieces, donor_pieces)
    exact = np.zeros(len(pieces), dtype=np.bool_)
    exact[match.target_ids[~match.by_role]] = True
    vectors = torch.zeros(len(pieces), embeddings.shape[1])
    own = ~match.by_role
    vectors[match.target_ids[own]] = embeddings[match.source_ids[own]].float()
    others = np.array(
        [i for i, piece in enumerate(pieces) if piece and not piece.role and not exact[i]], np.int64
    )
    splits = split_pieces([piece for i in others if (piece := pieces[i])], donor_tokenizer)
    usable = np.array([len(split) > 0 for split in splits], dtype=np.bool_)
    mixture = mixture_from_lists([split for split in splits if len(split)])
    mixture.fill(embeddings.float(), vectors, others[usable])
    known = exact.copy()
    known[others[usable]] = True
    # A row of zeros (padding, or never trained) has no direction and would regress to nothing.
    nonzero = vectors.any(dim=1).numpy()
    return vectors, known & nonzero, exact & nonzero


def donor_space(
    source_pieces: Sequence[Piece | None],
    target_pieces: Sequence[Piece | None],
    embeddings: Tensor,
    donor_tokenizer: PreTrainedTokenizerBase,
) -> DonorSpace:
    """Donor vectors of both vocabularies.

    Raises:
        TransferError: The donor's matrix and tokenizer disagree, or its rows hold NaN.
    """
    target, target_known, _ = donor_vectors(target_pieces, embeddings, donor_tokenizer)
    source, source_known, source_exact = donor_vectors(source_pieces, embeddings, donor_tokenizer)
    return DonorSpace(target, target_known, source, source_known, source_exact)
