"""A SentencePiece unigram vocabulary, its normaliser a map of characters, as a fast tokenizer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GUARD = 0xFDD0
"""The first of the code points that Unicode keeps out of all text: they stand in for what must not change."""


def build_normalizer(changes: Mapping[str, str], pieces: list[str]) -> Any:
    """Return a tokenizers normalizer that makes exactly the listed changes, and composes marks as NFKC does.

    NFKC makes nearly all of them. Of the rest, the listed ones become plain replacements, and the characters
    of the vocabulary that NFKC would change although they are not listed (such as the full-width tilde) are
    swapped for code points that no text holds, and back.

    Args:
        changes: What each character becomes.
        pieces: The vocabulary.

    Returns:
        A `tokenizers.normalizers.Sequence`, which collapses runs of spaces too.
    """
    from tokenizers import Regex, normalizers

    nfkc = normalizers.NFKC()
    by_result: dict[str, list[str]] = {}
    for character, result in changes.items():
        if nfkc.normalize_str(character) != result:
            by_result.setdefault(result, []).append(character)
    kept = sorted(
        character
        for character in set("".join(pieces)) - changes.keys()
        if nfkc.normalize_str(character) != character
    )
    steps: list[Any] = []
    for result, characters in sorted(by_result.items()):
        ranges = "".join(f"\\x{{{ord(character):x}}}" for character in characters)
        steps.append(normalizers.Replace(Regex(f"[{ranges}]"), result))
    guards = [(character, chr(_GUARD + index)) for index, character in enumerate(kept[:32])]
    steps += [normalizers.Replace(character, guard) for character, guard in guards]
    steps.append(nfkc)
    steps += [normalizers.Replace(guard, character) for character, guard in guards]
    steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    return normalizers.Sequence(steps)


def build_tokenizer(
    pieces: list[str],
    scores: NDArray[np.float32],
    special_ids: Mapping[str, int],
    changes: Mapping[str, str],
    longest: int,
) -> Any:
    """Return an XLM-R style unigram tokenizer as a transformers fast tokenizer (`<s> text </s>`).

    Args:
        pieces: The vocabulary, index = id.
        scores: The pieces' log probabilities, float32 [pieces].
        special_ids: Ids of bos, eos, pad and unk.
        changes: What the normaliser makes of characters.
        longest: The model's number of positions.

    Returns:
        A PreTrainedTokenizerFast with all roles set; `<mask>` too where the vocabulary has it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = special_ids
    vocabulary = list(zip(pieces, map(float, scores), strict=True))
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=ids["unk"], byte_fallback=False))
    backend.normalizer = build_normalizer(changes, pieces)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    bos, eos = pieces[ids["bos"]], pieces[ids["eos"]]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, ids["bos"]), (eos, ids["eos"])],
    )
    special: dict[str, Any] = {
        "bos_token": bos,
        "eos_token": eos,
        "cls_token": bos,
        "sep_token": eos,
        "unk_token": pieces[ids["unk"]],
        "pad_token": pieces[ids["pad"]],
    }
    if "<mask>" in pieces:
        special["mask_token"] = AddedToken("<mask>", lstrip=True, special=True)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
        **special,
    )
