"""From loaded objects to a TransferProblem: pieces, overlap, donor vectors, auxiliary space."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lingraft.errors import ConfigError, TransferError
from lingraft.models.loading import LoadedDonor
from lingraft.tokenizers.overlap import Normalisation, VocabularyMatch, match_vocabularies
from lingraft.tokenizers.pieces import Piece, read_pieces
from lingraft.vocabulary.auxiliary import (
    aligned_word_space,
    space_from_corpus,
    space_from_donor,
    space_from_words,
)
from lingraft.vocabulary.config import Mode
from lingraft.vocabulary.donors import donor_space
from lingraft.vocabulary.fasttext import WordVectors
from lingraft.vocabulary.problem import DonorSpace, FinalStates, TransferProblem, VectorSpace

ENCODE_BATCH = 2048


@dataclass(frozen=True, slots=True)
class AuxiliaryOptions:
    """How the auxiliary space is made.

    Attributes:
        kind: `donor`, `fasttext`, or `words`.
        words: Target-language word vectors, for `words`.
        source_words: Source-language word vectors, for `wechsel`.
        dimension: Width of trained fastText vectors.
        epochs: fastText's passes over the corpus.
        minimum_count: Tokens seen less often get no fastText vector.
    """

    kind: str = "donor"
    words: WordVectors | None = None
    source_words: WordVectors | None = None
    dimension: int = 300
    epochs: int = 5
    minimum_count: int = 10


def build_problem(
    source_matrix: torch.Tensor,
    source_tokenizer: PreTrainedTokenizerBase,
    target_tokenizer: PreTrainedTokenizerBase,
    *,
    mode: Mode = "replace",
    donor: LoadedDonor | None = None,
    corpus: Iterable[str] | None = None,
    auxiliary: AuxiliaryOptions | None = None,
    lexicon: Mapping[str, Sequence[str]] | None = None,
    final_states: FinalStates | None = None,
    normalise: Normalisation = "exact",
    seed: int = 0,
) -> TransferProblem:
    """Everything that any initialiser may ask for, from the loaded inputs.

    Args:
        source_matrix: `[V_s, h_s]` input embeddings.
        source_tokenizer: The model's tokenizer.
        target_tokenizer: The tokenizer to give it, already carrying the source's special tokens.
        mode: In `extend` every source id must stand in the target tokenizer for the same token.
        donor: Target-language model.
        corpus: Target-language documents, for token counts and fastText.
        auxiliary: How neighbours are sought; by default in the donor's space.
        lexicon: Target-language word to source-language translations.
        final_states: From `measure_final_states`, for `fused`.
        normalise: Overlap normalisation.
        seed: Of every draw.

    Returns:
        The problem.

    Raises:
        TransferError: Inputs that do not fit each other.
        ConfigError: An auxiliary kind that does not exist or lacks its input, or a corpus that can be read only once.
    """
    options = auxiliary or AuxiliaryOptions()
    if isinstance(corpus, Iterator):
        raise ConfigError(
            f"a corpus that can be read only once ({type(corpus).__name__})",
            "documents that can be gone through again",
            "give a list, or an object whose __iter__ starts over",
        )
    source_pieces = read_pieces(source_tokenizer, len(source_matrix))
    target_pieces = read_pieces(target_tokenizer)
    if mode == "extend":
        match = _extended_match(target_pieces, source_pieces)
    else:
        match = match_vocabularies(target_pieces, source_pieces, normalise=normalise)
        match = _prefer_own_ids(match, target_pieces, source_pieces)
    ordinary = np.array([piece is not None and not piece.role for piece in target_pieces])
    ordinary[match.target_ids] = False
    donor_view = None
    if donor is not None:
        donor_view = donor_space(source_pieces, target_pieces, donor.embeddings, donor.tokenizer)
    space = _auxiliary_space(options, target_tokenizer, target_pieces, donor_view, corpus, seed)
    return TransferProblem(
        source_pieces=source_pieces,
        target_pieces=target_pieces,
        source_tokenizer=source_tokenizer,
        match=match,
        new_ids=np.nonzero(ordinary)[0],
        source_input=source_matrix,
        donor=donor_view,
        auxiliary=space,
        target_counts=None if corpus is None else count_tokens(target_tokenizer, corpus, len(target_pieces)),
        final_states=final_states,
        lexicon=lexicon or {},
        aligned_words=_aligned_space(options, source_tokenizer, source_pieces, space, lexicon or {}),
        seed=seed,
    )


def without_overlap_copy(problem: TransferProblem) -> TransferProblem:
    """The same problem with every ordinary target token new: WECHSEL's, which copies special tokens only."""
    kept = problem.match.by_role
    ordinary = [i for i, piece in enumerate(problem.target_pieces) if piece is not None and not piece.role]
    match = VocabularyMatch(
        problem.match.target_ids[kept], problem.match.source_ids[kept], problem.match.by_role[kept]
    )
    return replace(problem, match=match, new_ids=np.array(ordinary, dtype=np.int64), neighbour_cache={})


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], size: int) -> NDArray[np.int64]:
    """`[size]` occurrences of each token in the texts."""
    counts = np.zeros(size, dtype=np.int64)
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == ENCODE_BATCH:
            _add_counts(counts, tokenizer, batch)
            batch = []
    if batch:
        _add_counts(counts, tokenizer, batch)
    return counts


def _add_counts(counts: NDArray[np.int64], tokenizer: PreTrainedTokenizerBase, batch: list[str]) -> None:
    ids = [i for row in tokenizer(batch, add_special_tokens=False)["input_ids"] for i in row]
    counts += np.bincount(np.array(ids, dtype=np.int64), minlength=len(counts))[: len(counts)]


def _same(ours: Piece | None, theirs: Piece | None) -> bool:
    """Whether two pieces are the same token: by bytes, or both special with the same text."""
    if ours is None or theirs is None:
        return False
    return ours.key == theirs.key and bool(ours.role) == bool(theirs.role)


def _prefer_own_ids(
    match: VocabularyMatch, target_pieces: Sequence[Piece | None], source_pieces: Sequence[Piece | None]
) -> VocabularyMatch:
    """Where several source tokens have a target token's bytes, take the one with its very id.

    Without this a tokenizer with twin tokens would not map onto itself, and its logits would change.
    """
    source_ids = match.source_ids.copy()
    for place, target_id in enumerate(match.target_ids):
        if target_id < len(source_pieces) and _same(target_pieces[target_id], source_pieces[target_id]):
            source_ids[place] = target_id
    return VocabularyMatch(match.target_ids, source_ids, match.by_role)


def _extended_match(
    target_pieces: Sequence[Piece | None], source_pieces: Sequence[Piece | None]
) -> VocabularyMatch:
    """The source's tokens onto themselves, and nothing else: what `extend` promises.

    Args:
        target_pieces: Pieces of the target vocabulary, by id.
        source_pieces: Pieces of the source vocabulary, by id.

    Returns:
        Every source id matched with itself.

    Raises:
        TransferError: A source token stands under another id, or not at all.
    """
    kept = np.array([i for i, piece in enumerate(source_pieces) if piece is not None], dtype=np.int64)
    for token_id in kept:
        ours = source_pieces[token_id]
        theirs = target_pieces[token_id] if token_id < len(target_pieces) else None
        if not _same(theirs, ours):
            found = "nothing" if theirs is None else repr(theirs.surface)
            raise TransferError(
                f"the target tokenizer has {found} at id {token_id}, where the model's has"
                f" {ours.surface if ours else ''!r}",
                "every token of the model's tokenizer under its own id for --mode extend",
                "extend the model's own tokenizer (leave out --tokenizer), or use --mode replace",
            )
    roles = np.array([bool(piece.role) for i in kept if (piece := source_pieces[i])], dtype=np.bool_)
    return VocabularyMatch(kept, kept.copy(), roles)


def _auxiliary_space(
    options: AuxiliaryOptions,
    tokenizer: PreTrainedTokenizerBase,
    pieces: Sequence[Piece | None],
    donor: DonorSpace | None,
    corpus: Iterable[str] | None,
    seed: int,
) -> VectorSpace | None:
    if options.kind == "donor":
        return None if donor is None else space_from_donor(donor)
    if options.kind == "words" and options.words is not None:
        return space_from_words(tokenizer, pieces, options.words)
    if options.kind == "fasttext" and corpus is not None:
        return space_from_corpus(
            tokenizer,
            pieces,
            corpus,
            dimension=options.dimension,
            epochs=options.epochs,
            minimum_count=options.minimum_count,
            seed=seed,
        )
    raise ConfigError(
        f"auxiliary {options.kind!r} without its input",
        "fasttext with a corpus, words:FILE, or donor with a donor model",
        "give --corpus FILE, a file after words:, or --auxiliary donor with --donor",
    )


def _aligned_space(
    options: AuxiliaryOptions,
    source_tokenizer: PreTrainedTokenizerBase,
    source_pieces: Sequence[Piece | None],
    space: VectorSpace | None,
    lexicon: Mapping[str, Sequence[str]],
) -> VectorSpace | None:
    """WECHSEL's space, where word vectors of both languages and a dictionary are at hand."""
    if options.words is None or options.source_words is None or space is None or not lexicon:
        return None
    dictionary = [(theirs, ours) for ours, translations in lexicon.items() for theirs in translations]
    source_space = space_from_words(source_tokenizer, source_pieces, options.source_words)
    return aligned_word_space(space, source_space, options.source_words, options.words, dictionary)
