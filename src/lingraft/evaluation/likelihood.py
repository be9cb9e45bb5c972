"""Likelihood as bits per UTF-8 byte of the text, which can be compared between tokenizers.

The convention (our choice where the literature has none):

* Every document is scored alone, from the document-start token (`document_start`); nothing else is in context.
* Every byte is counted once. The start token is given, not scored; no end token is scored.
* A document longer than the context is scored in windows. Each starts with the document-start token and moves
  on by `stride` tokens: a token after the first window has at least `context - stride` tokens before it.
* Text that a tokenizer hides is charged: `CHARGE` bits for each byte under an unknown token (on top of the
  model's bits for that token), and for each byte that its normaliser folded away. A lossless tokenizer is
  charged nothing, nor is one that writes characters in another, canonically equal form (NFC).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.encoding import EncodedDocument, encode_documents
from lingraft.errors import CorpusError, ModelError
from lingraft.evaluation.windows import (
    Precision,
    batch_windows,
    cut_windows,
    embedding_rows,
    require_rows,
    score_batch,
    window_sizes,
)
from lingraft.progress import track
from lingraft.tokenizers.document_start import document_start

CHARGE = 8.0
"""Bits charged for each byte that a tokenizer hides: the cost of a byte under the uniform distribution."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The likelihood of a set of documents.

    Attributes:
        bits_per_byte: Model bits and charged bits, over bytes.
        bytes: UTF-8 bytes of all documents.
        tokens: Tokens scored.
        documents: Documents scored (empty ones are left out).
        unknown_tokens: Tokens that the tokenizer gave as unknown.
        unknown_bytes: Bytes under those, each charged `CHARGE` bits.
        altered_bytes: Bytes that the tokenizer's normaliser folded away, each charged `CHARGE` bits.
        model_bits_per_byte: The same without any charge.
        context: Tokens in the longest window, the start token included.
        stride: Tokens by which a window moves on.
        document_nats: float64 [documents], the model's negative log-likelihood of each document, nats.
        document_bits: float64 [documents], the model's bits and the charge together.
        document_bytes: int64 [documents].
    """

    bits_per_byte: float
    bytes: int
    tokens: int
    documents: int
    unknown_tokens: int
    unknown_bytes: int
    altered_bytes: int
    model_bits_per_byte: float
    context: int
    stride: int
    document_nats: NDArray[np.float64]
    document_bits: NDArray[np.float64]
    document_bytes: NDArray[np.int64]

    def summary(self) -> dict[str, float | int]:
        """Return the numbers without the arrays, ready for JSON."""
        arrays = ("document_nats", "document_bits", "document_bytes")
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in arrays}


def bits_per_byte(
    model: Any,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    context: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    start_token: int | None = None,
    precision: Precision = "model",
    progress: bool = False,
) -> Likelihood:
    """Score documents with a causal language model; see the module's text for the convention.

    Args:
        model: A transformers causal language model.
        tokenizer: Its fast tokenizer.
        texts: The documents; empty ones are left out.
        context: Tokens in the longest window, start token included; by default 1024 or
            the model's own lower limit.
        stride: Tokens by which a window moves on, at most `context`; by default half of the context.
        batch_size: Full windows in one forward pass; shorter ones are put together up to as many tokens.
        start_token: Id of the document-start token instead of the tokenizer's bos or eos.
        precision: "model" computes in the model's own dtype, "bf16-autocast" in bfloat16 where it is
            safe. Log-softmax is float32 and sums are float64 in both.
        progress: Show a progress bar.

    Returns:
        The likelihood, with the nats of each document.

    Raises:
        CorpusError: No document has any text.
        ModelError: The model gave a likelihood that is not a finite number.
        TokenizerError: No document-start token, or ids that the model has no row for.
    """
    start = document_start(tokenizer, start_token)
    encoded = [item for item in encode_documents(tokenizer, texts, audit=True) if item.size]
    if not encoded:
        raise CorpusError("no text in any document", "at least one document", "check the corpus file")
    require_rows(model, max([start, *(int(item.ids.max(initial=0)) for item in encoded)]))
    context, stride = window_sizes(model, context, stride)
    windows = [
        w for index, item in enumerate(encoded) for w in cut_windows(index, item.ids, start, context, stride)
    ]
    nats = np.zeros(len(encoded), dtype=np.float64)
    batches = list(batch_windows(windows, batch_size * context, embedding_rows(model)))
    was_training = model.training
    model.eval()
    try:
        for batch in track(batches, description="scoring", total=len(batches)) if progress else batches:
            for window, value in zip(batch, score_batch(model, batch, precision), strict=True):
                nats[window.document] += value
    finally:
        model.train(was_training)
    for index in np.flatnonzero(~np.isfinite(nats))[:1]:
        raise ModelError(
            f"a likelihood of {nats[index]} nats for document {index}",
            "a finite number",
            "check the model for NaN rows, or score it in float32",
        )
    return _summed(encoded, nats, context, stride)


def _summed(
    encoded: Sequence[EncodedDocument], nats: NDArray[np.float64], context: int, stride: int
) -> Likelihood:
    """Put the documents' nats and charges together."""
    sizes = np.array([item.size for item in encoded], dtype=np.int64)
    hidden = np.array([item.unknown_bytes + item.altered_bytes for item in encoded], dtype=np.float64)
    bits = nats / math.log(2) + CHARGE * hidden
    return Likelihood(
        bits_per_byte=float(bits.sum() / sizes.sum()),
        bytes=int(sizes.sum()),
        tokens=sum(len(item.ids) for item in encoded),
        documents=len(encoded),
        unknown_tokens=sum(item.unknown_tokens for item in encoded),
        unknown_bytes=sum(item.unknown_bytes for item in encoded),
        altered_bytes=sum(item.altered_bytes for item in encoded),
        model_bits_per_byte=float(nats.sum() / math.log(2) / sizes.sum()),
        context=context,
        stride=stride,
        document_nats=nats,
        document_bits=bits,
        document_bytes=sizes,
    )
