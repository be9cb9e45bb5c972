"""What a tokenizer makes of a corpus: tokens per word and byte, words kept whole, unknowns, digits, round trip."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lingraft.errors import CorpusError
from lingraft.tokenizers.backend import backend_tokenizer, read_backend
from lingraft.tokenizers.digits import DigitScheme, digit_scheme
from lingraft.tokenizers.pieces import read_pieces
from lingraft.tokenizers.splitting import literal_backend
from lingraft.tokenizers.trimming import batches

BATCH = 1024
WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u0900-\u0963\u0980-\u0dff\u0e31-\u0e4e])*")
"""Letters with the combining marks among them, which Python's `\\w` leaves out."""
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class FertilityReport:
    """How a tokenizer cuts a corpus.

    Attributes:
        texts: Texts read.
        words: Runs of characters between white space.
        utf8_bytes: Bytes of the texts in UTF-8.
        tokens: Tokens of the texts, special tokens around them not counted.
        whole_words: Share of word occurrences (letters only, after a space) that are one token; 0 to 1.
        unknown_tokens: Tokens that stand for text the tokenizer does not know.
        digits: How it groups digits.
        round_trip: Share of texts that decoding gives back exactly; 0 to 1.
        failures: Some texts that do not come back, each with what came back.
    """

    texts: int
    words: int
    utf8_bytes: int
    tokens: int
    whole_words: float
    unknown_tokens: int
    digits: DigitScheme
    round_trip: float
    failures: tuple[tuple[str, str], ...]

    @property
    def tokens_per_word(self) -> float:
        """Tokens for each run between white space; says little for scripts without spaces."""
        return self.tokens / max(1, self.words)

    @property
    def tokens_per_byte(self) -> float:
        """Tokens for each UTF-8 byte."""
        return self.tokens / max(1, self.utf8_bytes)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that a token covers on average."""
        return self.utf8_bytes / max(1, self.tokens)

    @property
    def unknown_rate(self) -> float:
        """Share of tokens that are unknown; 0 to 1."""
        return self.unknown_tokens / max(1, self.tokens)


def measure_fertility(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> FertilityReport:
    """Measure how a tokenizer cuts a corpus.

    Args:
        tokenizer: Any fast tokenizer.
        texts: The corpus, read once; empty texts are passed over.

    Returns:
        The measurements.

    Raises:
        CorpusError: The corpus is empty.
    """
    backend = backend_tokenizer(tokenizer)
    unknown_ids = {piece.token_id for piece in read_pieces(tokenizer) if piece and "unk" in piece.roles}
    # A byte-level tokenizer has an unk by name only; its id then never comes out of ordinary text.
    totals: Counter[str] = Counter()
    vocabulary: Counter[str] = Counter()
    failures: list[tuple[str, str]] = []
    for batch in batches(texts, BATCH):
        encodings = backend.encode_batch_fast(batch, add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        for text, row, back in zip(
            batch, ids, backend.decode_batch(ids, skip_special_tokens=False), strict=True
        ):
            totals["texts"] += 1
            totals["words"] += len(text.split())
            totals["bytes"] += len(text.encode("utf-8", errors="replace"))
            totals["tokens"] += len(row)
            totals["unknown"] += sum(token_id in unknown_ids for token_id in row)
            totals["same"] += back == text
            vocabulary.update(WORD.findall(text))
            if back != text and len(failures) < EXAMPLES:
                failures.append((text, back))
    if not totals["texts"]:
        raise CorpusError("an empty corpus", "texts to measure a tokenizer on", "give a file with text")
    return FertilityReport(
        texts=totals["texts"],
        words=totals["words"],
        utf8_bytes=totals["bytes"],
        tokens=totals["tokens"],
        whole_words=_whole_words(tokenizer, vocabulary),
        unknown_tokens=totals["unknown"],
        digits=digit_scheme(tokenizer),
        round_trip=totals["same"] / totals["texts"],
        failures=tuple(failures),
    )


def _whole_words(tokenizer: PreTrainedTokenizerBase, vocabulary: Counter[str]) -> float:
    """Return the share of word occurrences that are one token after a space."""
    encoder = literal_backend(read_backend(tokenizer))
    kept = 0
    for batch in batches(vocabulary, BATCH):
        encodings = encoder.encode_batch_fast([" " + word for word in batch], add_special_tokens=False)
        kept += sum(
            vocabulary[word] for word, found in zip(batch, encodings, strict=True) if len(found.ids) == 1
        )
    return kept / max(1, vocabulary.total())


def digit_warning(
    target_tokenizer: PreTrainedTokenizerBase, source_tokenizer: PreTrainedTokenizerBase
) -> str | None:
    """Say what is wrong where two tokenizers write numbers differently.

    Args:
        target_tokenizer: The new tokenizer.
        source_tokenizer: The model's own tokenizer.

    Returns:
        One line, or None where the schemes agree.
    """
    target, source = digit_scheme(target_tokenizer), digit_scheme(source_tokenizer)
    if target == source:
        return None
    return (
        f"the target tokenizer writes digits as {target!r}, the model was trained on {source!r}: "
        "arithmetic will suffer; train or trim the tokenizer with the source's digit scheme"
    )
