"""Extend a BPE tokenizer: continued training on a corpus, every source token, id and merge kept."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping

from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lingraft.errors import CorpusError, TokenizerError
from lingraft.tokenizers.backend import METASPACE, Backend, read_backend, rebuild, special_roles
from lingraft.tokenizers.merging import learn_merges
from lingraft.tokenizers.new_characters import missing_characters, with_characters
from lingraft.tokenizers.pieces import BYTE_OF_CHARACTER, BYTE_PIECE
from lingraft.tokenizers.splitting import literal_backend
from lingraft.tokenizers.trimming import batches
from lingraft.tokenizers.withholding import read_merges

BATCH = 2048

SENTENCEPIECE_WORDS = Regex(
    METASPACE + r"?[\p{L}\p{M}]+|" + METASPACE + r"?\p{N}+|" + METASPACE + r"?[^\p{L}\p{M}\p{N}\s▁]+|▁+|\s+"
)
"""Where SentencePiece's own BPE training splits words: at spaces, and between letters, digits and symbols."""


def extend_tokenizer(
    source_tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    *,
    new_tokens: int,
    minimum_count: int = 2,
) -> PreTrainedTokenizerFast:
    """Add tokens for a corpus to a BPE tokenizer by learning further merges on top of its own.

    The corpus is split and encoded by the source tokenizer; new merges come after all old ones, so a text
    in which none of the new pairs or characters occurs is tokenised exactly as before. New ids follow the highest id
    there is. Digits are never merged further. Of a vocabulary that is not byte-level, the characters that
    it lacks for the corpus come first, with up to half of the new tokens (`missing_characters`).

    Args:
        source_tokenizer: A BPE tokenizer, byte-level or SentencePiece; not changed.
        texts: The corpus, read once.
        new_tokens: How many tokens to add; where the corpus has fewer pairs, fewer are added, with a
            warning.
        minimum_count: Pairs and characters seen less often in the corpus are left alone.

    Returns:
        The extended tokenizer, which saves and reloads in plain transformers.

    Raises:
        TokenizerError: The model is not BPE, or `new_tokens` is not positive.
        CorpusError: The corpus is empty, or repeats no pair of tokens.
    """
    backend = read_backend(source_tokenizer)
    merges = read_merges_to_extend(backend)
    if new_tokens < 1:
        raise TokenizerError(
            f"new_tokens={new_tokens}", "a positive number", "give the number of tokens to add"
        )
    words = split_words(backend, texts)
    taken = {token["content"]: token["id"] for token in backend.added_tokens}
    characters = missing_characters(
        words, backend, taken=taken, most=new_tokens // 2, minimum_count=minimum_count
    )
    backend = with_characters(backend, characters, max([*backend.vocabulary.values(), *taken.values()]) + 1)
    specials = set(special_roles(source_tokenizer))
    learned = _learn(
        backend, word_ids(backend, words), specials, taken, new_tokens - len(characters), minimum_count
    )
    _require_enough(sum(new for *_, new in learned) + len(characters), new_tokens, words, minimum_count)
    known = set(merges)
    pairs = [pair for left, right, *_ in learned if (pair := (left, right)) not in known]
    # Added tokens go into the model's vocabulary under their ids: on loading, the library would renumber
    # them otherwise.
    vocabulary = {**backend.vocabulary, **taken}
    vocabulary |= {left + right.removeprefix(backend.prefix): i for left, right, i, new in learned if new}
    description = dict(backend.description)
    description["model"] = {
        **backend.model,
        "vocab": vocabulary,
        "merges": [list(merge) for merge in [*merges, *pairs]],
    }
    return rebuild(description, source_tokenizer)


def _learn(
    backend: Backend,
    words: Mapping[tuple[int, ...], int],
    specials: set[int],
    taken: Mapping[str, int],
    new_tokens: int,
    minimum_count: int,
) -> list[tuple[str, str, int, bool]]:
    surfaces = {token_id: text for text, token_id in backend.vocabulary.items()}
    specials = specials | _not_text(backend)
    return list(
        learn_merges(
            words,
            {token_id: text for token_id, text in surfaces.items() if token_id not in specials},
            new_tokens=new_tokens,
            first_id=max([*surfaces, *taken.values()]) + 1,
            minimum_count=minimum_count,
            prefix=backend.prefix,
            forbidden=frozenset(taken)
            | {surfaces[token_id] for token_id in specials if token_id in surfaces},
        )
    )


def _require_enough(made: int, new_tokens: int, words: Mapping[str, int], minimum_count: int) -> None:
    if not made:
        raise CorpusError(
            f"a corpus of {sum(words.values())} words in which no pair of tokens occurs {minimum_count} times",
            "enough text to learn merges from",
            "give more text, or a smaller minimum_count",
        )
    if made < new_tokens:
        warnings.warn(f"the corpus gave {made} new tokens of the {new_tokens} asked for", stacklevel=3)


def _not_text(backend: Backend) -> set[int]:
    """Return ids of entries that stand for no text of their own: byte pieces, and what takes the unknown's place.

    A decoder knows single byte pieces alone, so a token merged of two would be written out as it is spelled.
    """
    if backend.style == "byte-level":
        return set()
    unknown = backend.model.get("unk_token")
    return {i for text, i in backend.vocabulary.items() if text == unknown or BYTE_PIECE.fullmatch(text)}


def read_merges_to_extend(backend: Backend) -> list[tuple[str, str]]:
    """Return the merges of a BPE model, or say what to do with another model.

    Args:
        backend: The source tokenizer's description.

    Returns:
        Merges by rank.

    Raises:
        TokenizerError: The model is not BPE.
    """
    if backend.model_type != "BPE":
        raise TokenizerError(
            f"a {backend.model_type} source tokenizer",
            "a BPE tokenizer, whose merges can be continued",
            "use a replacing vocabulary (trim or train one) in place of an extended one",
        )
    return read_merges(backend)


def split_words(backend: Backend, texts: Iterable[str]) -> dict[str, int]:
    """Count the words of a corpus, as the model of a tokenizer is given them.

    Args:
        backend: A BPE tokenizer's description.
        texts: The corpus.

    Returns:
        Occurrences of each word.

    Raises:
        CorpusError: The corpus is empty.
    """
    encoder = literal_backend(backend)
    words: Counter[str] = Counter()
    splitter = _word_splitter(backend, encoder)
    for batch in batches(texts, BATCH):
        for text in batch:
            normalised = encoder.normalizer.normalize_str(text) if encoder.normalizer is not None else text
            words.update(word for word, _ in splitter.pre_tokenize_str(normalised))
    if not words:
        raise CorpusError("an empty corpus", "texts to learn merges from", "give a file with text")
    return dict(words)


def word_ids(backend: Backend, words: Mapping[str, int]) -> dict[tuple[int, ...], int]:
    """Put words into a tokenizer's ids.

    Args:
        backend: A BPE tokenizer's description.
        words: Words and their occurrences, see `split_words`.

    Returns:
        Occurrences of each word of two tokens or more, and of none with a digit.
    """
    encoder = literal_backend(backend)
    ids: dict[tuple[int, ...], int] = {}
    for word, count in words.items():
        if any(character.isdecimal() for character in _readable(word, backend)):
            continue
        key = tuple(token.id for token in encoder.model.tokenize(word))
        if len(key) > 1:
            ids[key] = ids.get(key, 0) + count
    return ids


def _readable(word: str, backend: Backend) -> str:
    """Return a word as text: the byte alphabet's own characters would pass for digits (`²` is a byte)."""
    if backend.style != "byte-level":
        return word
    content = bytes(BYTE_OF_CHARACTER.get(character, 0) for character in word)
    return content.decode("utf-8", errors="replace")


def _word_splitter(backend: Backend, encoder: Tokenizer) -> pre_tokenizers.PreTokenizer:
    """Return what cuts normalised text into words for the model."""
    if backend.style != "sentencepiece":
        return encoder.pre_tokenizer or pre_tokenizers.Split("", "removed")
    steps = [encoder.pre_tokenizer] if encoder.pre_tokenizer is not None else []
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.Split(SENTENCEPIECE_WORDS, "isolated")])
