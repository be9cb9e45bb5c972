"""Donor vectors for the tokens of any vocabulary: the donor's own row where it has the token, else a mean of pieces."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lingraft.errors import TokenizerError, TransferError
from lingraft.tokenizers.overlap import match_vocabularies
from lingraft.tokenizers.pieces import Piece, read_pieces
from lingraft.tokenizers.splitting import split_pieces
from lingraft.vocabulary.mixtures import mixture_from_lists
from lingraft.vocabulary.problem import DonorSpace


def donor_space(
    source_pieces: Sequence[Piece | None],
    target_pieces: Sequence[Piece | None],
    embeddings: Tensor,
    donor_tokenizer: PreTrainedTokenizerBase,
) -> DonorSpace:
    """Donor vectors of both vocabularies.

    Args:
        source_pieces: Pieces of the source vocabulary, by id.
        target_pieces: Pieces of the target vocabulary, by id.
        embeddings: `[V_donor, h_t]` in any float dtype.
        donor_tokenizer: The tokenizer of `embeddings`.

    Returns:
        Float32 vectors of both, with what is known of each.

    Raises:
        TransferError: The donor's matrix and tokenizer disagree, or its rows hold NaN.
    """
    donor_pieces = read_donor_pieces(embeddings, donor_tokenizer)
    target, target_known, target_exact = donor_vectors(
        target_pieces, embeddings, donor_pieces, donor_tokenizer
    )
    source, source_known, source_exact = donor_vectors(
        source_pieces, embeddings, donor_pieces, donor_tokenizer
    )
    return DonorSpace(target, target_known, source, source_known, source_exact, target_exact)


def read_donor_pieces(embeddings: Tensor, donor_tokenizer: PreTrainedTokenizerBase) -> list[Piece | None]:
    """The donor's pieces, where matrix and tokenizer fit each other.

    Args:
        embeddings: `[V_donor, h_t]`.
        donor_tokenizer: The tokenizer of `embeddings`.

    Returns:
        `[V_donor]` pieces; None for padding rows.

    Raises:
        TransferError: An id without a row, or a row with NaN or infinity.
    """
    try:
        pieces = read_pieces(donor_tokenizer, len(embeddings))
    except TokenizerError as error:
        largest = max(donor_tokenizer.get_vocab().values())
        raise TransferError(
            f"donor tokenizer with id {largest} beside a matrix of {len(embeddings)} rows",
            "a row for every id",
            "give the tokenizer that belongs to the donor",
        ) from error
    finite = torch.isfinite(embeddings.sum(dim=1, dtype=torch.float32))
    if not bool(finite.all()):
        raise TransferError(
            f"NaN or infinity in donor row {int((~finite).nonzero()[0])} ({int((~finite).sum())} such rows)",
            "finite embeddings",
            "check the donor's checkpoint",
        )
    return pieces


def donor_vectors(
    pieces: Sequence[Piece | None],
    embeddings: Tensor,
    donor_pieces: Sequence[Piece | None],
    donor_tokenizer: PreTrainedTokenizerBase,
) -> tuple[Tensor, NDArray[np.bool_], NDArray[np.bool_]]:
    """A donor vector for each piece: the donor's own row, or the mean over the donor's pieces of its text.

    Args:
        pieces: Tokens of any vocabulary.
        embeddings: `[V_donor, h_t]` in any float dtype.
        donor_pieces: The donor's pieces, by id.
        donor_tokenizer: The tokenizer of `embeddings`.

    Returns:
        `[len(pieces), h_t]` float32 vectors, `[len(pieces)]` whether any was found that is not zero, and whether it is
        the donor's own row of this very token (never for special tokens, whose rows mean what the donor learnt).
    """
    match = match_vocabularies(pieces, donor_pieces)
    own = ~match.by_role
    exact = np.zeros(len(pieces), dtype=np.bool_)
    exact[match.target_ids[own]] = True
    vectors = torch.zeros(len(pieces), embeddings.shape[1])
    vectors[match.target_ids[own]] = embeddings[match.source_ids[own]].float()
    others = np.array(
        [i for i, piece in enumerate(pieces) if piece and not piece.role and not exact[i]], np.int64
    )
    splits = split_pieces([pieces[i] for i in others], donor_tokenizer)
    usable = np.array([len(split) > 0 for split in splits], dtype=np.bool_)
    mixture = mixture_from_lists([split for split in splits if len(split)])
    mixture.fill(embeddings.float(), vectors, others[usable])
    known = exact.copy()
    known[others[usable]] = True
    # A row of zeros (padding, or never trained) has no direction and would regress to nothing.
    nonzero = vectors.any(dim=1).numpy()
    return vectors, known & nonzero, exact & nonzero
