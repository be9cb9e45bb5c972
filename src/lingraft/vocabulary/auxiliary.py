"""Auxiliary spaces: token-level fastText, pre-trained word vectors, or the donor's own space."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lingraft.errors import TransferError
from lingraft.progress import track
from lingraft.tokenizers.pieces import Piece
from lingraft.vocabulary.fasttext import WordVectors, train_token_vectors
from lingraft.vocabulary.problem import DonorSpace, VectorSpace

ENCODE_BATCH = 2048
LONGEST_SENTENCE = 10_000


def space_from_donor(donor: DonorSpace) -> VectorSpace:
    """`auxiliary="donor"`: cosines in the donor's own space, no fastText needed. Our addition to SALT."""
    return VectorSpace(donor.target, donor.target_known, donor.source, donor.source_known)


def space_from_corpus(
    tokenizer: PreTrainedTokenizerBase,
    pieces: Sequence[Piece | None],
    texts: Iterable[str],
    *,
    dimension: int = 300,
    epochs: int = 5,
    minimum_count: int = 10,
    seed: int = 0,
) -> VectorSpace:
    """`auxiliary="fasttext"`: fastText trained on text that the target tokenizer has split, as FOCUS and SALT do.

    Args:
        tokenizer: The target tokenizer.
        pieces: Its pieces by id.
        texts: Target-language documents; read once and kept as ids.
        dimension: Width of the vectors.
        epochs: Passes over the text.
        minimum_count: Tokens seen less often get no vector (FOCUS's 10).
        seed: Of the vectors' start; one thread, so that the same seed gives the same vectors.

    Returns:
        A space of the target vocabulary only.

    Raises:
        TransferError: The corpus holds no token often enough.
        MissingExtraError: gensim is not installed.
    """
    names = [_token_text(piece, token_id) for token_id, piece in enumerate(pieces)]
    sentences = _Sentences(names)
    for batch in _batches(texts):
        sentences.add(_encode(tokenizer, batch))
    vectors, known = train_token_vectors(
        sentences,
        names,
        dimension=dimension,
        epochs=epochs,
        minimum_count=minimum_count,
        seed=seed,
    )
    # A special token's neighbours are an accident of the corpus; it is matched by role.
    known &= np.array([piece is not None and not piece.role for piece in pieces])
    vectors[~torch.from_numpy(known)] = 0
    return VectorSpace(vectors, known)


def space_from_words(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece | None], words: WordVectors
) -> VectorSpace:
    """`auxiliary="words:FILE"`: token vectors from pre-trained word vectors.

    A fastText `.bin` gives every token a vector from its characters. From a `.vec` a token's vector is the mean over
    the words that contain it, weighted by 1/rank (WECHSEL weights by frequency, which a `.vec` does not hold; its
    order is by frequency, and Zipf's law stands in: our choice).

    Args:
        tokenizer: The tokenizer of the vocabulary.
        pieces: Its pieces by id.
        words: Vectors of words in its language.

    Returns:
        A space of this one vocabulary.
    """
    vectors, known = token_vectors_from_words(tokenizer, pieces, words)
    return VectorSpace(vectors, known)


def token_vectors_from_words(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece | None], words: WordVectors
) -> tuple[Tensor, NDArray[np.bool_]]:
    """`[V, d]` float32 vectors and `[V]` whether each is known; see `space_from_words`."""
    ordinary = np.array([piece is not None and not piece.role for piece in pieces])
    if words.has_subwords:
        texts = [piece.text.strip() if piece else "" for piece in pieces]
        vectors = torch.from_numpy(np.stack([words.vector(text) for text in texts]))
    else:
        vectors = _mean_of_words(tokenizer, len(pieces), words)
    vectors[~torch.from_numpy(ordinary)] = 0
    known = ordinary & (vectors.abs().sum(dim=1) > 0).numpy()
    return vectors.float(), known


def _mean_of_words(tokenizer: PreTrainedTokenizerBase, size: int, words: WordVectors) -> Tensor:
    """`[size, d]` float64 means over the words whose spelling, with or without a leading space, holds the token."""
    sums = np.zeros((size, words.dimension))
    weights = np.zeros((size, 1))
    starts = range(0, len(words.words), ENCODE_BATCH)
    for start in track(starts, description="word vectors", total=len(starts)):
        batch = words.words[start : start + ENCODE_BATCH]
        for spelling in ("", " "):
            for rank, ids in enumerate(_encode(tokenizer, [spelling + word for word in batch]), start=start):
                kept = [i for i in set(ids) if i < size]
                sums[kept] += words.matrix[rank].astype(np.float64) / (rank + 1)
                weights[kept] += 1 / (rank + 1)
    return torch.from_numpy(sums / np.maximum(weights, np.finfo(np.float64).tiny))


def aligned_word_space(
    target: VectorSpace,
    source: VectorSpace,
    source_words: WordVectors,
    target_words: WordVectors,
    dictionary: Sequence[tuple[str, str]],
) -> VectorSpace:
    """WECHSEL's space: source word vectors turned onto the target's by orthogonal Procrustes on a dictionary.

    Args:
        target: Token vectors of the target vocabulary, from `target_words`.
        source: Token vectors of the source vocabulary, from `source_words`.
        source_words: Word vectors of the source language.
        target_words: Word vectors of the target language, equally wide.
        dictionary: (source word, target word) pairs; case variants are tried as the paper's code does.

    Returns:
        A space of both vocabularies.

    Raises:
        TransferError: The widths differ, or no dictionary pair has vectors on both sides.
    """
    if source_words.dimension != target_words.dimension:
        raise TransferError(
            f"word vectors {source_words.dimension} and {target_words.dimension} wide",
            "equal widths for the alignment",
            "give vectors of one width for both languages",
        )
    pairs = [
        (source_words.vector(ours), target_words.vector(theirs))
        for source_word, target_word in dictionary
        for ours in (source_word, source_word.lower(), source_word.title())
        for theirs in (target_word, target_word.lower(), target_word.title())
        if source_words.knows(ours) and target_words.knows(theirs)
    ]
    if not pairs:
        raise TransferError(
            f"none of {len(dictionary)} dictionary pairs in both sets of word vectors",
            "pairs known on both sides",
            "check the dictionary's direction (source word, then target word) and the vectors' languages",
        )
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]))
    turned = source.target.double() @ torch.from_numpy(np.asarray(rotation, dtype=np.float64))
    return VectorSpace(target.target, target.target_known, turned.float(), source.target_known)


def read_dictionary(path: Path) -> list[tuple[str, str]]:
    """Word pairs of a TSV file; lines without a tab are passed over.

    Args:
        path: The file.

    Returns:
        Pairs in the file's order.

    Raises:
        TransferError: The file is missing, not UTF-8, or holds no pair.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TransferError(
            f"{path}: {error}", "a UTF-8 file of word<TAB>word lines", "check the path"
        ) from error
    pairs = [
        (left.strip(), right.strip()) for line in lines for left, tab, right in [line.partition("\t")] if tab
    ]
    pairs = [(left, right) for left, right in pairs if left and right]
    if not pairs:
        raise TransferError(f"{path}: no word pairs", "word<TAB>word lines", "separate the words by a tab")
    return pairs


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == ENCODE_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return encoded


class _Sentences:
    """Tokenised documents as ids, given out as the tokens' names, any number of times."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.ids: list[NDArray[np.int32]] = []

    def add(self, encoded: Sequence[Sequence[int]]) -> None:
        """Keep documents, the long ones in parts: gensim leaves out what is beyond 10,000 tokens."""
        for ids in encoded:
            for start in range(0, len(ids), LONGEST_SENTENCE):
                self.ids.append(np.array(ids[start : start + LONGEST_SENTENCE], dtype=np.int32))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[list[str]]:
        for ids in self.ids:
            yield [self.names[token_id] for token_id in ids]


def _token_text(piece: Piece | None, token_id: int) -> str:
    """A spelling for fastText's character n-grams, one for each token: `▁` marks a word's start."""
    if piece is None or not piece.content:
        return f"<{token_id}>"
    try:
        return ("▁" if piece.word_start else "") + piece.content.decode()
    except UnicodeDecodeError:
        return f"<{piece.content.hex()}>"
