"""How tokenizers cut and merge text, and what llama.cpp makes of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Regex, pre_tokenizers

from lingraft.tokenizers.backend import Backend, steps
from lingraft.tokenizers.lossless import BYTE_PIECES

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SYMBOLS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _SYMBOLS
QWEN2 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _SYMBOLS
QWEN35 = (
    _ENDINGS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORD = r"[^\r\n\p{L}\p{N}]?"
_SLASHED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"{_WORD}{_UPPER}*{_LOWER}+|{_WORD}{_UPPER}+{_LOWER}*|\p{{N}}" + _SLASHED
GPT4O = (
    rf"{_WORD}{_UPPER}*{_LOWER}+{_ENDINGS}?|{_WORD}{_UPPER}+{_LOWER}*{_ENDINGS}?|\p{{N}}{{1,3}}" + _SLASHED
)

PRE_TOKENIZERS: dict[tuple[tuple[str, ...], bool], str] = {
    (("GPT-2's pattern",), False): "gpt-2",
    (("single digits", "GPT-2's pattern"), False): "smollm",
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "dbrx",
    ((QWEN2,), False): "qwen2",
    ((QWEN35,), False): "qwen35",
    ((TEKKEN,), True): "tekken",
    ((GPT4O,), False): "gpt-4o",
}
"""By how text is cut, and whether whole words that are tokens skip the merges: llama.cpp's name."""


def cut_signature(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Say how a byte-level tokenizer cuts text, in the order of the cuts.

    Args:
        description: The content of a `tokenizer.json`.

    Returns:
        Patterns, or words for what has no pattern of its own; what changes nothing is left out.
    """
    names = []
    for step in steps(description.get("pre_tokenizer")):
        if step["type"] == "ByteLevel":
            if step.get("add_prefix_space"):
                names.append("a space in front")
            if step.get("use_regex", True):
                names.append("GPT-2's pattern")
        elif step["type"] == "Digits":
            names.append("single digits" if step.get("individual_digits") else "digits")
        elif step["type"] == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
            pattern = step["pattern"]
            names.append(str(pattern.get("Regex", pattern.get("String"))))
        else:
            names.append(str(step["type"]))
    return tuple(names)


def merge_scores(
    merges: Iterable[tuple[str, str]], vocabulary: Mapping[str, int]
) -> tuple[dict[str, float], int]:
    """Give tokens scores by which merging picks them in the order of the merges.

    Args:
        merges: Merges by rank.
        vocabulary: Tokens.

    Returns:
        Minus the rank of the first merge that makes each token; and how many pairs of tokens make a token though no
        merge says so: merging by score joins them too.
    """
    scores: dict[str, float] = {}
    stated = set()
    for rank, (left, right) in enumerate(merges):
        scores.setdefault(left + right, -float(rank + 1))
        stated.add((left, right))
    lacking = sum(
        (text[:cut], text[cut:]) not in stated
        for text in scores
        for cut in range(1, len(text))
        if text[:cut] in vocabulary and text[cut:] in vocabulary
    )
    return scores, lacking


def puts_space(backend: Backend) -> bool:
    """Return whether a space is put before a text."""
    for step in steps(backend.description.get("normalizer")):
        if step["type"] == "Prepend":
            return True
    for step in steps(backend.description.get("pre_tokenizer")):
        if step["type"] == "Metaspace":
            always = step.get("prepend_scheme", "always") != "never"
            return always and bool(step.get("add_prefix_space", True))
    return False


def digit_notes(backend: Backend) -> list[str]:
    """Return a note where pieces lie across cuts of ours: llama.cpp cuts these kinds nowhere, and would use them."""
    cuts = [
        step["pattern"]["Regex"]
        for step in steps(backend.description.get("pre_tokenizer"))
        if step["type"] == "Split" and "Regex" in step["pattern"]
    ]
    added = {token["content"] for token in backend.added_tokens} | set(BYTE_PIECES)
    for pattern in cuts:
        cutter = pre_tokenizers.Split(Regex(pattern), "isolated")
        crossing = sum(
            text not in added and len(cutter.pre_tokenize_str(text)) > 1 for text in backend.vocabulary
        )
        if crossing:
            return [f"llama.cpp does not set numbers apart, and {crossing} pieces join them with other text"]
    return []


def normaliser_notes(backend: Backend) -> list[str]:
    """Return a note where something is done to a text first that llama.cpp does not do."""
    harmless = {"Precompiled", "Replace", "Prepend"}
    names = [
        step["type"] for step in steps(backend.description.get("normalizer")) if step["type"] not in harmless
    ]
    return [f"llama.cpp does not normalise text ({', '.join(names)})"] if names else []
