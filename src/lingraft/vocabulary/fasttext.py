"""fastText by gensim (extra `fasttext`): the one file that imports it."""

import struct
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.errors import MissingExtraError, TransferError
from lingraft.vocabulary.fasttext_file import require_whole_bin


class Sentences(Protocol):
    """Documents as lists of tokens, which can be gone through again and again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sequence[str]]: ...


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Pre-trained word vectors.

    Attributes:
        words: By falling frequency, as the file orders them.
        matrix: `[n_words, d]` float32.
        keyed: gensim's object, which knows character n-grams for a `.bin`.
        has_subwords: Whether an unseen word gets a vector from its characters.
    """

    words: Sequence[str]
    matrix: NDArray[np.float32]
    keyed: object
    has_subwords: bool

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return int(self.matrix.shape[1])

    def knows(self, word: str) -> bool:
        """Whether the word itself is in the vocabulary."""
        return word in self.keyed.key_to_index  # type: ignore[attr-defined]

    def vector(self, word: str) -> NDArray[np.float32]:
        """`[d]` vector of a word; zeros where neither word nor n-grams are known."""
        try:
            found = self.keyed[word]  # type: ignore[index]
        except KeyError:
            return np.zeros(self.dimension, dtype=np.float32)
        return np.asarray(found, dtype=np.float32)


def read_word_vectors(path: Path) -> WordVectors:
    """Read a fastText `.bin` (with n-grams) or a word2vec-format `.vec`.

    Args:
        path: The file; its ending tells its kind.

    Returns:
        The vectors.

    Raises:
        TransferError: The file is missing, of another kind, or damaged.
        MissingExtraError: gensim is not installed.
    """
    gensim = _gensim("reading word vectors")
    if not path.is_file() or path.suffix not in {".vec", ".bin"}:
        raise TransferError(
            f"word vectors {path}{'' if path.exists() else ', which does not exist'}",
            "a .vec (word2vec text) or .bin (fastText) file",
            "check the path after words:",
        )
    if path.suffix == ".bin":
        require_whole_bin(path)
    try:
        if path.suffix == ".bin":
            keyed = gensim.models.fasttext.load_facebook_vectors(str(path))
        else:
            keyed = gensim.models.KeyedVectors.load_word2vec_format(str(path), unicode_errors="replace")
    except (
        ValueError,
        EOFError,
        OSError,
        AssertionError,
        NotImplementedError,
        KeyError,
        IndexError,
        MemoryError,
        struct.error,
    ) as error:
        raise TransferError(
            f"word vectors {path} cannot be read: {' '.join(str(error).split())}",
            "a whole .vec or .bin file",
            "download it again",
        ) from error
    if not len(keyed.index_to_key):
        raise TransferError(f"no word in {path}", "word vectors", "give another file")
    if not bool(np.isfinite(keyed.vectors).all()):
        word = keyed.index_to_key[int((~np.isfinite(keyed.vectors)).any(axis=1).argmax())]
        raise TransferError(
            f"NaN or infinity in the vector of {word!r} in {path}", "finite vectors", "give another file"
        )
    return WordVectors(list(keyed.index_to_key), keyed.vectors, keyed, path.suffix == ".bin")


def train_token_vectors(
    sentences: Sentences,
    tokens: Sequence[str],
    *,
    dimension: int,
    epochs: int,
    minimum_count: int,
    seed: int,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Train CBOW fastText with 10 negatives (deepfocus's settings) and read off the tokens' vectors.

    Args:
        sentences: Documents as lists of tokens.
        tokens: The vocabulary, by id.
        dimension: Width of the vectors.
        epochs: Passes over the documents.
        minimum_count: Rarer tokens get no vector.
        seed: Of the vectors' start.

    Returns:
        `[len(tokens), dimension]` float32 vectors, zero for tokens under `minimum_count`, and which are known.

    Raises:
        TransferError: No token occurs `minimum_count` times.
        MissingExtraError: gensim is not installed.
    """
    gensim = _gensim("token-level fastText")
    # Counted before gensim starts, which sets aside gigabytes for n-grams whatever the corpus holds.
    counts = Counter(token for sentence in sentences for token in sentence)
    if max(counts.values(), default=0) < minimum_count:
        raise TransferError(
            f"no token occurs {minimum_count} times in {len(sentences)} documents",
            "a corpus large enough for fastText",
            "give more text, or use --auxiliary donor",
        )
    model = gensim.models.FastText(
        vector_size=dimension, sg=0, negative=10, min_count=minimum_count, workers=1, seed=seed, epochs=epochs
    )
    model.build_vocab(corpus_iterable=sentences)
    model.train(corpus_iterable=sentences, total_examples=len(sentences), epochs=epochs)
    known = np.array([token in model.wv.key_to_index for token in tokens])
    vectors = np.zeros((len(tokens), dimension), dtype=np.float32)
    for row in np.nonzero(known)[0].tolist():
        vectors[row] = model.wv[tokens[row]]
    return torch.from_numpy(vectors), known


def _gensim(purpose: str) -> types.ModuleType:
    try:
        import gensim
        import gensim.models.fasttext
    except ImportError as error:
        raise MissingExtraError("gensim", "fasttext", purpose) from error
    return gensim  # type: ignore[no-any-return]
