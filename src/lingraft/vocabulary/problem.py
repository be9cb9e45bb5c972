"""What an initialiser is given, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lingraft.errors import TransferError
from lingraft.tokenizers.overlap import VocabularyMatch
from lingraft.tokenizers.pieces import Piece
from lingraft.tokenizers.splitting import split_pieces, split_without_itself
from lingraft.vocabulary.neighbours import Neighbours

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Matrix = Literal["input", "output", "bias"]
"""Which of the source's matrices a rule is applied to; a tied head has no "output" of its own."""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """Vectors for the tokens of both vocabularies in one space.

    Attributes:
        target: `[V_t, d]` float32; a zero row where `target_known` is false.
        target_known: `[V_t]` bool.
        source: `[V_s, d]` float32, or None where the space knows the target vocabulary only (token-level fastText).
        source_known: `[V_s]` bool, or None likewise.
    """

    target: Tensor
    target_known: NDArray[np.bool_]
    source: Tensor | None = None
    source_known: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class DonorSpace:
    """Donor vectors of both vocabularies' tokens, and which of them are the donor's own rows.

    Attributes:
        target: `[V_t, h_t]` float32.
        target_known: `[V_t]` bool: some vector exists (own row, or mean over the donor's pieces of the text).
        source: `[V_s, h_t]` float32.
        source_known: `[V_s]` bool, likewise.
        source_exact: `[V_s]` bool: the donor has this very token, so (donor row, source row) is a labelled example.
        target_exact: `[V_t]` bool, the same for the target; None where every known vector is the donor's own row.
    """

    target: Tensor
    target_known: NDArray[np.bool_]
    source: Tensor
    source_known: NDArray[np.bool_]
    source_exact: NDArray[np.bool_]
    target_exact: NDArray[np.bool_] | None = None

    @property
    def target_anchors(self) -> NDArray[np.bool_]:
        """`[V_t]` tokens a regression may learn from: the donor's own rows.

        A mean over pieces is a linear combination of other anchors' rows; systems with such anchors are nearly
        singular, and SALT's coefficients grow without bound.
        """
        return self.target_known if self.target_exact is None else self.target_exact


@dataclass(frozen=True, slots=True)
class FinalStates:
    """Moments of the model's states after the final norm, on target-language text.

    Attributes:
        mean: `[h_s]` float32.
        second_moment: `[h_s, h_s]` float32, not centred.
        tied: Whether the model's head is its input matrix.
    """

    mean: Tensor
    second_moment: Tensor
    tied: bool


@dataclass(frozen=True)
class TransferProblem:
    """One vocabulary transfer, with every input that any initialiser may ask for.

    Not slotted, because what is costly and not always needed (splits) is computed once, when first asked for.

    Attributes:
        source_pieces: Piece of each source id; None for holes and padding rows.
        target_pieces: Piece of each target id.
        source_tokenizer: The tokenizer of `source_pieces`.
        match: The overlap; its target ids are copied and never passed to an initialiser.
        new_ids: `[n_new]` ordinary target ids outside the overlap.
        source_input: `[V_s, h_s]` float32 input embeddings: the rows whose statistics the rules fit.
        donor: Donor vectors, or None.
        auxiliary: The space in which neighbours are sought, or None.
        target_counts: `[V_t]` occurrences in the corpus; ones where there is no corpus.
        final_states: What the head is multiplied with on target-language text, or None.
        lexicon: Word in the target language to its translations in the source language.
        aligned_words: A space that holds both vocabularies (WECHSEL's), or None.
        held_out_source_ids: Source ids that no rule may learn from: the held-out anchors of a validation.
        known_splits: Splits to use instead of the source tokenizer's own, `[n_new]` arrays of source ids.
        seed: Seeds every draw.
        neighbour_cache: Neighbours already found, by the set of tokens that had vectors.
    """

    source_pieces: Sequence[Piece | None]
    target_pieces: Sequence[Piece | None]
    source_tokenizer: "PreTrainedTokenizerBase"
    match: VocabularyMatch
    new_ids: NDArray[np.int64]
    source_input: Tensor
    donor: DonorSpace | None = None
    auxiliary: VectorSpace | None = None
    target_counts: NDArray[np.int64] | None = None
    final_states: FinalStates | None = None
    lexicon: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aligned_words: VectorSpace | None = None
    held_out_source_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    known_splits: list[NDArray[np.int64]] | None = None
    seed: int = 0
    neighbour_cache: dict[bytes, Neighbours] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def splits(self) -> list[NDArray[np.int64]]:
        """For each new id, the source ids of its text; empty where the source cannot write it."""
        if self.known_splits is not None:
            return self.known_splits
        pieces = [self.target_pieces[i] for i in self.new_ids]
        return split_pieces([piece for piece in pieces if piece is not None], self.source_tokenizer)

    @cached_property
    def anchor_splits(self) -> list[NDArray[np.int64]]:
        """For each source id with a donor row of its own, the ids its text had if the token did not exist."""
        return split_without_itself(self.donor_anchors, self.source_tokenizer)

    @cached_property
    def donor_anchors(self) -> NDArray[np.int64]:
        """Source ids that the donor's whole vocabulary has too, special tokens left out."""
        donor = self.require_donor("anchors from the donor's vocabulary")
        ordinary = np.array([piece is not None and not piece.role for piece in self.source_pieces])
        usable = donor.source_exact & ordinary
        usable[self.held_out_source_ids] = False
        return np.nonzero(usable)[0]

    @cached_property
    def keeps_source_ids(self) -> bool:
        """Whether every source token stands in the target vocabulary under its own id."""
        kept = self.match.source_ids[self.match.target_ids == self.match.source_ids]
        held = np.array([piece is not None for piece in self.source_pieces])
        held[kept] = False
        return not bool(held.any())

    def require_donor(self, purpose: str) -> DonorSpace:
        """The donor's vectors.

        Args:
            purpose: What needs it, for the message.

        Returns:
            The donor's vectors.

        Raises:
            TransferError: No donor was given.
        """
        if self.donor is None:
            raise TransferError(
                f"no donor model for {purpose}", "--donor REF", "name a target-language model"
            )
        return self.donor

    def require_auxiliary(self, purpose: str) -> VectorSpace:
        """The auxiliary space.

        Args:
            purpose: What needs it, for the message.

        Returns:
            The space.

        Raises:
            TransferError: There is none.
        """
        if self.auxiliary is None:
            raise TransferError(
                f"no auxiliary vectors for {purpose}",
                "--auxiliary fasttext (with --corpus), words:FILE, or donor (with --donor)",
                "give one of them",
            )
        return self.auxiliary

    def shared_ordinary(self, known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Target and source ids of the anchors: shared by bytes, not by role, and with a vector (`known [V_t]`)."""
        usable = ~self.match.by_role & known[self.match.target_ids]
        return self.match.target_ids[usable], self.match.source_ids[usable]


@dataclass(frozen=True, slots=True)
class Rule:
    """How the new rows are made, ready to be applied to any of the source's matrices.

    Attributes:
        fill: `fill(which, source_matrix [V_s, w], out [V_t, w])` writes `out[new_ids]`; called once for the input
            matrix, again for an untied output matrix and for an output bias (w = 1).
        origin: `[n_new]` one of copied, regressed, averaged, drawn.
        neighbours: `[n_new]` source rows behind each new row; 0 for a drawn one.
        residual: `[n_new]` relative residual of the regression; NaN where there is none.
        notes: What the method wants reported (chosen ridge, held-out error, fallbacks with their counts).
    """

    fill: Callable[[Matrix, Tensor, Tensor], None]
    origin: NDArray[np.str_]
    neighbours: NDArray[np.int64]
    residual: NDArray[np.float64]
    notes: Mapping[str, float | int | str] = field(default_factory=dict)


Initializer = Callable[[TransferProblem], Rule]
