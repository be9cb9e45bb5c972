"""Target tokenizers: train one, trim a multilingual one, or extend the source's."""

import json
import math
from collections.abc import Iterable
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lingraft.errors import CorpusError, TokenizerError
from lingraft.tokenizers.adapting import adapt_tokenizer, needed_tokens
from lingraft.tokenizers.digits import PATTERNS, DigitScheme, digit_scheme
from lingraft.tokenizers.extending import extend_tokenizer
from lingraft.tokenizers.lossless import BASIC_CHARACTERS, BYTE_PIECES, BYTE_SCORE, make_lossless, missing
from lingraft.tokenizers.trimming import trim_tokenizer

__all__ = ["extend_tokenizer", "train_tokenizer", "trim_tokenizer"]

UNKNOWN = "<unk>"


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocabulary_size: int,
    kind: Literal["unigram", "bpe"] = "unigram",
    source_tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedTokenizerFast:
    """Train a target tokenizer that any text comes back from exactly, with the source's special tokens and manners.

    `unigram` writes spaces as `▁` and has byte pieces for characters that it does not know. `bpe` is
    byte-level; its words keep combining marks with their letters, which GPT-2's pattern does not. Both
    group digits as the source does.

    Args:
        texts: The corpus, read once.
        vocabulary_size: Tokens in all, special tokens and bytes included; a small corpus may give fewer.
        kind: `unigram` or `bpe`.
        source_tokenizer: The model's own tokenizer.

    Returns:
        The trained and adapted tokenizer.

    Raises:
        TokenizerError: An unknown kind, a vocabulary size that bytes, characters and special tokens exceed,
            or a source without eos.
        CorpusError: The corpus is empty.
    """
    if kind not in {"unigram", "bpe"}:
        raise TokenizerError(f"kind={kind!r}", "unigram or bpe", "choose one of these")
    corpus = [text for text in texts if text.strip()]
    if not corpus:
        raise CorpusError("an empty corpus", "texts to train a tokenizer on", "give a file with text")
    room = vocabulary_size - len(needed_tokens(source_tokenizer))
    scheme = digit_scheme(source_tokenizer)
    trained = _unigram(corpus, room, scheme) if kind == "unigram" else _byte_bpe(corpus, room, scheme)
    unknown = {"unk_token": UNKNOWN} if kind == "unigram" else {}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=trained, **unknown)  # type: ignore[no-untyped-call]
    return adapt_tokenizer(wrapped, source_tokenizer)


def _require(room: int, needed: int) -> None:
    if room < needed:
        raise TokenizerError(
            f"a vocabulary size that leaves {room} tokens beside the special ones",
            f"more than {needed}, the bytes and characters of the corpus",
            "give a larger vocabulary size",
        )


def _unigram(corpus: list[str], room: int, scheme: DigitScheme) -> Tokenizer:
    characters = sorted({character for text in corpus for character in text} - set(BASIC_CHARACTERS))
    _require(room, len(BYTE_PIECES) + len(BASIC_CHARACTERS) + len(characters) + 2)
    shell: dict[str, Any] = json.loads(Tokenizer(models.Unigram()).to_str())
    make_lossless(shell, digits=None if scheme == "learned" else PATTERNS[scheme])
    tokenizer = Tokenizer.from_str(json.dumps(shell))
    trainer = trainers.UnigramTrainer(
        vocab_size=room - len(BYTE_PIECES),
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        initial_alphabet=[character for character in BASIC_CHARACTERS if character != " "],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    description = json.loads(tokenizer.to_str())
    vocab = description["model"]["vocab"]
    floor = min(score for _, score in vocab if math.isfinite(score))
    lacking = missing(
        [character for character in BASIC_CHARACTERS if character != " "], (text for text, _ in vocab)
    )
    vocab = vocab[: room - len(BYTE_PIECES) - len(lacking)]
    vocab += [[text, floor] for text in lacking]
    vocab[1:1] = [[text, BYTE_SCORE] for text in BYTE_PIECES]
    description["model"].update({"vocab": vocab, "unk_id": 0, "byte_fallback": True})
    return Tokenizer.from_str(json.dumps(description, ensure_ascii=False))


def _byte_bpe(corpus: list[str], room: int, scheme: DigitScheme) -> Tokenizer:
    _require(room, len(BYTE_PIECES))
    letters, symbols = r" ?[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{M}\p{N}]+"
    pattern = Regex(rf"{letters}|{PATTERNS[scheme]}|{symbols}|\s+(?!\S)|\s+")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=room, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer
