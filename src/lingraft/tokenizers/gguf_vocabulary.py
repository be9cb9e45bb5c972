"""A tokenizer as a GGUF file states it: tokens, kinds, scores or merges, and the name of how text is cut.

llama.cpp knows three kinds that a causal model of ours can have, and none of them has every freedom of a
tokenizer.json. What it cannot express is refused, or said in a note where it touches rare text only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from lingraft.errors import TokenizerError
from lingraft.tokenizers.adapting import surrounding_tokens
from lingraft.tokenizers.backend import METASPACE, Backend, backend_tokenizer, read_backend, steps
from lingraft.tokenizers.gguf_cuts import (
    PRE_TOKENIZERS,
    cut_signature,
    digit_notes,
    merge_scores,
    normaliser_notes,
    puts_space,
)
from lingraft.tokenizers.lossless import BYTE_PIECES
from lingraft.tokenizers.withholding import read_merges

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of token, as GGUF numbers them."""
UNUSED_SCORE = -1000.0
"""Score of a row without a token, far below that of any piece."""

SPACE_NOTE = "llama.cpp may cut runs of spaces otherwise: pieces hold a space inside"


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """What a GGUF file says about a tokenizer.

    Attributes:
        model: `gpt2` (byte-level BPE), `gemma4` (SentencePiece BPE by merges), `llama` (by scores) or `t5` (Unigram).
        pre: Name of how text is cut into words; empty for `llama` and `t5`.
        tokens: Text of each row, padding rows included.
        kinds: Kind of each row.
        scores: Score of each row, for `llama` and `t5`.
        merges: Merges by rank, for BPE; two texts with a space between.
        roles: Ids of `bos`, `eos`, `unk`, `pad`.
        add_bos: A bos is put before every text.
        add_eos: An eos is put after every text.
        add_space_prefix: A space is put before every text.
        merge_spaces: Runs of spaces become one.
        charsmap: SentencePiece's table of normalisation, or nothing.
        notes: In what llama.cpp differs from transformers on rare text.
    """

    model: str
    pre: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    scores: Sequence[float] | None
    merges: Sequence[str] | None
    roles: Mapping[str, int]
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool = False
    merge_spaces: bool = False
    charsmap: bytes = b""
    notes: tuple[str, ...] = ()


def gguf_vocabulary(
    tokenizer: PreTrainedTokenizerBase, rows: int, *, pre: str | None = None
) -> GgufVocabulary:
    """Describe a tokenizer as a GGUF file does.

    Args:
        tokenizer: Any fast tokenizer.
        rows: Rows of the model's matrices; those without a token become unused tokens, tokens beyond are left out.
        pre: Name of llama.cpp's pre-tokenizer, where the user knows better than we do; None finds it.

    Returns:
        The description.

    Raises:
        TokenizerError: llama.cpp has no such tokenizer: another model than BPE or Unigram, an unknown way to cut
            text, or other tokens around a text than bos and eos.
    """
    backend = read_backend(tokenizer)
    if pre is not None and backend.style != "byte-level":
        raise TokenizerError(
            f"--pre {pre} for a {backend.style} {backend.model_type} vocabulary",
            "byte-level BPE, the only kind with a choice",
            "leave --pre out",
        )
    roles = _roles(tokenizer, rows)
    add_bos, add_eos = _surrounding(tokenizer, roles)
    if backend.model_type == "BPE" and backend.style == "byte-level":
        parts = _byte_level(backend, pre)
    elif backend.model_type == "BPE" and backend.style == "sentencepiece":
        parts = _sentencepiece(backend, add_bos)
    elif backend.model_type == "Unigram":
        parts = _unigram(backend)
    else:
        raise TokenizerError(
            f"a {backend.style} {backend.model_type} tokenizer",
            "byte-level BPE, SentencePiece BPE or Unigram, which llama.cpp has",
            "use the checkpoint in transformers, or give the model another vocabulary first",
        )
    tokens, kinds = _tokens(tokenizer, backend, rows, roles)
    known = parts.pop("known_scores", None)
    scores = (
        None
        if known is None
        else [
            known.get(text, 0.0 if kind != UNUSED else UNUSED_SCORE)
            for text, kind in zip(tokens, kinds, strict=True)
        ]
    )
    return GgufVocabulary(
        tokens=tokens, kinds=kinds, scores=scores, roles=roles, add_bos=add_bos, add_eos=add_eos, **parts
    )


def _roles(tokenizer: PreTrainedTokenizerBase, rows: int) -> dict[str, int]:
    found = {role: getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "unk", "pad")}
    return {role: int(i) for role, i in found.items() if i is not None and i < rows}


def _surrounding(tokenizer: PreTrainedTokenizerBase, roles: Mapping[str, int]) -> tuple[bool, bool]:
    """Whether bos and eos are put around every text; anything else cannot be said in the file."""
    before, after = surrounding_tokens(tokenizer)
    if before not in ([], [roles.get("bos")]) or after not in ([], [roles.get("eos")]):
        raise TokenizerError(
            f"a tokenizer that puts {before} before and {after} after a text",
            "at most its bos and its eos",
            "name these tokens as bos_token and eos_token in tokenizer_config.json",
        )
    return bool(before), bool(after)


def _tokens(
    tokenizer: PreTrainedTokenizerBase, backend: Backend, rows: int, roles: Mapping[str, int]
) -> tuple[list[str], list[int]]:
    """Return text and kind of each row."""
    texts: list[str | None] = [None] * rows
    kinds = [NORMAL] * rows
    byte_pieces = set(BYTE_PIECES) if backend.model.get("byte_fallback") else set()
    for piece, token_id in backend.vocabulary.items():
        if token_id < rows:
            texts[token_id] = piece
            kinds[token_id] = BYTE if piece in byte_pieces else NORMAL
    for token in backend.added_tokens:
        if token["id"] < rows:
            texts[token["id"]] = token["content"]
            kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    # Byte-level BPE knows every text: what is called unk there is a marker like others.
    if "unk" in roles and backend.style != "byte-level":
        kinds[roles["unk"]] = UNKNOWN
    taken = {text for text in texts if text is not None}
    filled = []
    for row, text in enumerate(texts):
        if text is None:
            kinds[row] = UNUSED
            name = f"[PAD{row}]"
            while name in taken:
                name = f"[{name}]"
            taken.add(name)
            filled.append(name)
        else:
            filled.append(text)
    return filled, kinds


def _byte_level(backend: Backend, pre: str | None) -> dict[str, Any]:
    """BPE over bytes: the merges, and the name of the pattern that cuts text first."""
    signature = cut_signature(backend.description)
    ignore_merges = bool(backend.model.get("ignore_merges"))
    found = PRE_TOKENIZERS.get((signature, ignore_merges))
    if found is None and pre is None:
        raise TokenizerError(
            "a tokenizer that cuts text into words in a way that llama.cpp does not have "
            f"({' then '.join(signature) or 'no cut'}{', whole words first' if ignore_merges else ''})",
            "one of " + ", ".join(sorted(set(PRE_TOKENIZERS.values()))),
            "give --pre NAME to name the closest, or transfer to a unigram or trimmed vocabulary instead",
        )
    notes = (
        [] if found is not None else [f"llama.cpp cuts text as {pre}, which is not how this tokenizer does"]
    )
    return {
        "model": "gpt2",
        "pre": pre or found,
        "merges": _merges(backend),
        "notes": (*notes, *normaliser_notes(backend)),
    }


def _sentencepiece(backend: Backend, add_bos: bool) -> dict[str, Any]:
    """BPE over characters, spaces as `▁`: by merges where none is put in front, else by scores."""
    notes = digit_notes(backend)
    if not puts_space(backend):
        # The name `gemma4` makes llama.cpp add a bos whatever the file says.
        model, pre = ("gemma4", "gemma4") if add_bos else ("gpt2", "sarvam-moe")
        return {"model": model, "pre": pre, "merges": _merges(backend), "notes": tuple(notes)}
    scores, lacking = merge_scores(read_merges(backend), backend.vocabulary)
    if lacking:
        notes.append(
            f"llama.cpp merges by score, and so also {lacking} pairs that this tokenizer does not merge"
        )
    return {
        "model": "llama",
        "pre": "",
        "merges": None,
        "known_scores": scores,
        "add_space_prefix": True,
        "notes": tuple(notes),
    }


def _unigram(backend: Backend) -> dict[str, Any]:
    """Unigram: the scores, and how SentencePiece normalises."""
    charsmap, merge_spaces = b"", False
    for step in steps(backend.description.get("normalizer")):
        if step["type"] == "Precompiled":
            import base64

            charsmap = base64.b64decode(step["precompiled_charsmap"])
        elif step["type"] == "Replace" and (step.get("pattern") or {}).get("Regex") in {" {2,}", r"\s{2,}"}:
            merge_spaces = True
    notes = digit_notes(backend)
    if backend.model.get("byte_fallback"):
        notes.append("llama.cpp reads characters that have no piece as unk; transformers reads their bytes")
    if any(METASPACE in text[1:] and set(text) != {METASPACE} for text in backend.vocabulary):
        notes.append(SPACE_NOTE)
    return {
        "model": "t5",
        "pre": "",
        "merges": None,
        "known_scores": {text: float(score) for text, score in backend.model["vocab"]},
        "add_space_prefix": puts_space(backend),
        "merge_spaces": merge_spaces,
        "charsmap": charsmap,
        "notes": (*notes, *normaliser_notes(backend)),
    }


def _merges(backend: Backend) -> list[str]:
    """Return merges as the file writes them; the first space from the second character on parts them."""
    written = []
    for left, right in read_merges(backend):
        if " " in left[1:] or " " in right or left == " ":
            raise TokenizerError(
                f"a merge of {left!r} and {right!r}",
                "no space inside merges",
                "use a vocabulary without such pieces",
            )
        written.append(f"{left} {right}")
    return written


def embedded_json(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the tokenizer.json that the file carries, so that it can be read back exactly."""
    return str(backend_tokenizer(tokenizer).to_str())
