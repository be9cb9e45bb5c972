"""Trim a large vocabulary to the pieces that a corpus uses."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lingraft.errors import CorpusError, TokenizerError
from lingraft.tokenizers.backend import (
    Backend,
    backend_tokenizer,
    classify,
    model_type,
    rebuild,
    special_roles,
)
from lingraft.tokenizers.digits import PATTERNS, DigitScheme
from lingraft.tokenizers.lossless import (
    BASIC_CHARACTERS,
    BYTE_PIECES,
    BYTE_SCORE,
    make_lossless,
    missing,
    renumber,
)
from lingraft.tokenizers.pieces import CHARACTER_OF_BYTE
from lingraft.tokenizers.withholding import merge_symbols, read_merges

BATCH = 2048


@dataclass(frozen=True, slots=True)
class _Use:
    """What a corpus uses of a vocabulary: specials by id, other pieces by count, characters to add and to count."""

    backend: Backend
    specials: Sequence[str]
    wanted: Sequence[str]
    extra: Sequence[str]
    characters: Counter[str]
    vocabulary_size: int | None
    lossless: bool


def trim_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    *,
    vocabulary_size: int | None = None,
    minimum_count: int = 1,
    lossless: bool = True,
    digits: DigitScheme | None = None,
) -> PreTrainedTokenizerFast:
    """Keep the pieces of a Unigram or BPE vocabulary that a corpus uses.

    Pieces stay in the order of their old ids; special tokens, the single characters of kept pieces and of
    the corpus, and for BPE everything that the kept merges are made of, stay too. With `vocabulary_size`
    not cutting in, the corpus is tokenised as before.

    Args:
        tokenizer: The tokenizer to trim; not changed.
        texts: The corpus, read once.
        vocabulary_size: At most this many tokens, the most frequent; no limit if not given.
        minimum_count: Pieces seen less often are dropped.
        lossless: Drop normalisation, keep all white space and add byte pieces, so that any text comes back
            from its ids as it was. Otherwise normalisation stays as it is.
        digits: Group digits by this scheme (that of the model's own tokenizer); needs `lossless` and a `▁`
            vocabulary, others keep their own.

    Returns:
        The trimmed tokenizer; ids are new.

    Raises:
        TokenizerError: A model that is neither Unigram nor BPE, or a vocabulary size that its characters
            exceed.
        CorpusError: The corpus is empty.
    """
    description = json.loads(backend_tokenizer(tokenizer).to_str())
    kind = model_type(description["model"])
    if kind not in {"Unigram", "BPE"}:
        raise TokenizerError(f"a {kind} tokenizer", "a Unigram or BPE tokenizer", "trim another tokenizer")
    style = classify(description).style
    if lossless and style == "sentencepiece":
        make_lossless(description, None if digits in {None, "learned"} else PATTERNS[digits or "single"])
    elif lossless:
        description["normalizer"] = None
    backend = classify(description)
    counts, characters = _count(backend, texts)
    if not counts:
        raise CorpusError("an empty corpus", "texts to count pieces in", "give a file with text")
    characters = Counter({text: n for text, n in characters.items() if n >= minimum_count})
    specials = _special_texts(tokenizer, backend)
    wanted = [text for text, n in counts.most_common() if n >= minimum_count and text not in specials]
    extra = [*BASIC_CHARACTERS, *characters] if lossless and style != "byte-level" else []
    trim = _trim_unigram if kind == "Unigram" else _trim_bpe
    trim(description, _Use(backend, specials, wanted, extra, characters, vocabulary_size, lossless))
    return rebuild(description, tokenizer)


def _special_texts(tokenizer: PreTrainedTokenizerBase, backend: Backend) -> list[str]:
    """Return special tokens and the model's unk, by id."""
    ids = {**backend.vocabulary, **{token["content"]: token["id"] for token in backend.added_tokens}}
    texts = {token["content"] for token in backend.added_tokens if token.get("special")}
    special_ids = special_roles(tokenizer)
    texts |= {text for text, token_id in ids.items() if token_id in special_ids}
    if backend.model.get("unk_id") is not None:
        texts.add(backend.model["vocab"][backend.model["unk_id"]][0])
    if backend.model.get("unk_token"):
        texts.add(backend.model["unk_token"])
    return sorted((text for text in texts if text in ids), key=lambda text: ids[text])


def _count(backend: Backend, texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Count the pieces and the characters (as the model sees them) of a corpus."""
    description = {**backend.description, "post_processor": None, "padding": None, "truncation": None}
    encoder = Tokenizer.from_str(json.dumps(description, ensure_ascii=False))
    totals = np.zeros(encoder.get_vocab_size() + 1, dtype=np.int64)
    characters: Counter[str] = Counter()
    for batch in batches(texts, BATCH):
        ids = np.fromiter(
            (
                i
                for encoding in encoder.encode_batch_fast(batch, add_special_tokens=False)
                for i in encoding.ids
            ),
            dtype=np.int64,
        )
        if len(ids) and ids.max() >= len(totals):
            totals = np.pad(totals, (0, int(ids.max()) + 1 - len(totals)))
        totals[: int(ids.max(initial=-1)) + 1] += np.bincount(ids)
        characters.update(
            "".join(batch).replace(" ", "▁") if backend.style == "sentencepiece" else "".join(batch)
        )
    names = {token_id: text for text, token_id in encoder.get_vocab().items()}
    return Counter({names[int(i)]: int(totals[i]) for i in np.flatnonzero(totals)}), characters


def batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of up to `size` texts, empty texts left out."""
    batch: list[str] = []
    for text in texts:
        if text:
            batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _room(vocabulary_size: int | None, fixed: int, what: str) -> float:
    if vocabulary_size is None:
        return math.inf
    if vocabulary_size < fixed:
        raise TokenizerError(
            f"vocabulary_size={vocabulary_size}",
            f"at least {fixed}, for {what}",
            "give a larger vocabulary size, or a larger minimum_count, which drops rare characters",
        )
    return vocabulary_size - fixed


def _trim_unigram(description: dict[str, Any], use: _Use) -> None:
    backend, specials, extra, characters = use.backend, use.specials, use.extra, use.characters
    entries = backend.model["vocab"]
    scores = {text: float(score) for text, score in entries}
    added = {token["content"] for token in backend.added_tokens}
    kept = set(specials) | {text for text in extra if text not in added}
    kept |= {character for character in characters if character in scores}
    fallback = missing(BYTE_PIECES, kept) if use.lossless else []
    room = _room(use.vocabulary_size, len(kept) + len(fallback), "special tokens, characters and bytes")
    wanted = [
        text for text in use.wanted if text not in kept and text not in set(fallback) and text in scores
    ]
    kept |= set(wanted if room == math.inf else wanted[: int(room)])
    # Characters of kept pieces are those of the corpus (each kept piece was seen), apart from rare ones cut
    # above.
    if room == math.inf:
        kept |= {character for text in wanted for character in text if character in scores}
    ordinary = [score for text, score in scores.items() if text not in set(specials)]
    floor, total = min(ordinary), max(1, sum(characters.values()))
    vocab: list[list[Any]] = [
        [text, scores.pop(text, 0.0)] for text in specials if text in backend.vocabulary
    ]
    vocab += [[text, BYTE_SCORE] for text in fallback]
    rest = kept - set(specials)
    vocab += [[text, score] for text, score in scores.items() if text in rest and text not in set(fallback)]
    for text in missing(extra, (entry[0] for entry in vocab)):
        vocab.append([text, max(floor, math.log(max(1, characters[text]) / total))])
    ids = {entry[0]: place for place, entry in enumerate(vocab)}
    unk = entries[backend.model["unk_id"]][0] if backend.model.get("unk_id") is not None else None
    description["model"] = {
        "type": "Unigram",
        "unk_id": ids.get(unk) if unk is not None else None,
        "vocab": vocab,
        "byte_fallback": bool(use.lossless or backend.model.get("byte_fallback")),
    }
    _append_added(description, specials, ids)


def _trim_bpe(description: dict[str, Any], use: _Use) -> None:
    backend, specials, extra = use.backend, use.specials, use.extra
    merges = read_merges(backend)
    ranks = {merge: rank for rank, merge in reversed(list(enumerate(merges)))}
    vocabulary = backend.vocabulary
    kept = set(specials) | set(extra) | {text for text in use.characters if text in vocabulary}
    fallback: list[str] = []
    if backend.style == "byte-level":
        kept |= set(CHARACTER_OF_BYTE.values()) & set(vocabulary)
    elif use.lossless or backend.model.get("byte_fallback"):
        fallback = missing(BYTE_PIECES, kept)
    room = _room(use.vocabulary_size, len(kept) + len(fallback), "special tokens, characters and bytes")
    limit = len(kept) + room
    for text in use.wanted:
        if text in kept or text in set(fallback) or text not in vocabulary:
            continue
        parts = _parts(text, ranks, vocabulary) - kept
        if len(kept) + len(parts) <= limit:
            kept |= parts
    order = sorted((text for text in kept if text in vocabulary), key=lambda text: vocabulary[text])
    order = list(dict.fromkeys([*(text for text in specials if text in vocabulary), *fallback, *order]))
    order += missing([text for text in extra if len(text) == 1], order)
    ids = {text: place for place, text in enumerate(order)}
    description["model"] = {
        **backend.model,
        "vocab": ids,
        "merges": [
            [left, right]
            for left, right in merges
            if left in ids and right in ids and left + right.removeprefix(backend.prefix) in ids
        ],
        "byte_fallback": bool(fallback) or bool(backend.model.get("byte_fallback")),
    }
    _append_added(description, specials, ids)


def _parts(text: str, ranks: dict[tuple[str, str], int], vocabulary: Any) -> set[str]:
    """Return a token with all that its merges pass through, down to single characters."""
    found: set[str] = set()
    stack = [text]
    while stack:
        part = stack.pop()
        if part in found or part not in vocabulary:
            continue
        found.add(part)
        if len(part) > 1:
            stack += merge_symbols(list(part), ranks, banned=part)
    return found


def _append_added(description: dict[str, Any], specials: Sequence[str], ids: dict[str, int]) -> None:
    """Number special tokens outside the model after it, and drop added tokens that were not kept."""
    for text in specials:
        ids.setdefault(text, len(ids))
    renumber(description, ids)
