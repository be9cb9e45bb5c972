"""From candidates to paired items: translations beside their originals, filters with reasons, a split by document."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lingraft.assets.splitting import remove_near_duplicates
from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.errors import CorpusError
from lingraft.preference.aligned import Candidate
from lingraft.preference.instructions import Instruction, InstructionFile
from lingraft.preference.items import PairedItem, comparable
from lingraft.preference.translation_filters import (
    FilterLimits,
    asks_for_language,
    refuse_english,
    refuse_translations,
)


@dataclass(frozen=True, slots=True)
class PairSplit:
    """Items to train on, and items of other documents.

    Attributes:
        training: In a seeded order, so that the first so many are a random sample.
        held_out: Items of documents that no training item is from, none nearly repeating a training answer.
    """

    training: list[PairedItem]
    held_out: list[PairedItem]


def pair_translations(
    english: InstructionFile, translated: InstructionFile, target_language: str, *, counts: Counter[str]
) -> tuple[list[Candidate], list[Instruction]]:
    """Put every English instruction beside its translation: by id where both have ids, else by the order of rows.

    Args:
        english: The English instructions.
        translated: Their translations, in any of the formats.
        target_language: The target language's code.
        counts: Gets the instructions that give no item, by reason.

    Returns:
        A candidate for each instruction that has a translation, each a document of its own; and the instructions that
        have none.

    Raises:
        CorpusError: There are no ids to go by and the files differ in their number of rows, or no instruction has a
            translation.
    """
    by_id = matched_by_id(english, translated)
    if not by_id and english.rows != translated.rows:
        raise CorpusError(
            f"{english.name} with {english.rows:,} rows and {translated.name} with {translated.rows:,}",
            "as many rows in both, in the same order, or an id in every row",
            "give the translation of this very file",
        )

    def key(instruction: Instruction) -> str | int:
        return instruction.id if by_id else instruction.row

    others = {key(instruction): instruction for instruction in translated.instructions}
    candidates, missing = [], []
    for instruction in english.instructions:
        counts["instructions"] += 1
        other = others.get(key(instruction))
        if other is None:
            counts["no item: missing translation"] += 1
            missing.append(instruction)
            continue
        texts = instruction.prompt, instruction.response, other.prompt, other.response
        name = instruction.id or str(instruction.row + 1)
        candidates.append(Candidate(name, PairedItem(*texts, target_language, name)))
    if not candidates:
        raise CorpusError(
            f"no row of {english.name} has a translation in {translated.name}",
            "the same ids in both" if by_id else "translated rows in the places of their originals",
            "give the translation of this very file",
        )
    return candidates, missing


def matched_by_id(english: InstructionFile, translated: InstructionFile) -> bool:
    """Whether the rows of two files are known by their ids: each row of both has one of its own."""
    return english.has_ids and translated.has_ids


def filter_candidates(
    candidates: Iterable[Candidate],
    *,
    counts: Counter[str],
    identifier: LanguageIdentifier | None = None,
    limits: FilterLimits | None = None,
    maximum_characters: int | None = None,
    instructions: bool = False,
) -> tuple[list[Candidate], list[tuple[str, Candidate]]]:
    """Leave out items that would teach something wrong or nothing, each counted under its first reason.

    Left out are: items of equal or empty sides, wrong languages, odd lengths and loops (`refuse_translations`), English
    sides that are not English, answers that an earlier item has in either language, and, of instructions, those that
    ask for another output language.

    Args:
        candidates: The items, of one target language.
        counts: Gets what is left out, by reason, and `items checked`.
        identifier: What identifies languages; None checks none.
        limits: What is let pass.
        maximum_characters: Of each of the four texts; None for any length.
        instructions: The prompts are instructions, which may ask for another output language.

    Returns:
        What is left, in order, and what is left out, with the reason.
    """
    given = list(candidates)
    items = [candidate.item for candidate in given]
    limits = limits or FilterLimits()
    reasons, unjudged = refuse_translations(items, identifier, limits)
    if identifier is not None:
        english = [(item.english_prompt, item.english_response) for item in items]
        others = refuse_english(english, identifier, limits)
        reasons = [old or (other and f"english {other}") for old, other in zip(reasons, others, strict=True)]
        counts["translated texts too short to judge their language"] += unjudged
    seen: set[tuple[str, str]] = set()
    kept, dropped = [], []
    for candidate, found in zip(given, reasons, strict=True):
        item = candidate.item
        texts = item.english_prompt, item.english_response, item.target_prompt, item.target_response
        answers = {("en", comparable(texts[1]).casefold()), ("target", comparable(texts[3]).casefold())}
        asked = asks_for_language(item.english_prompt) if instructions else None
        long = maximum_characters is not None and max(map(len, texts)) > maximum_characters
        repeated = bool(answers & seen)
        reason = found or asked or ("too long" if long else "answer of an earlier item" if repeated else None)
        counts["items checked"] += 1
        if reason is None:
            seen |= answers
            kept.append(candidate)
        else:
            counts[f"left out: {reason}"] += 1
            dropped.append((reason, candidate))
    return kept, dropped


def split_candidates(
    candidates: Sequence[Candidate],
    *,
    counts: Counter[str],
    held_out: int = 0,
    limit: int | None = None,
    seed: int = 0,
    is_held_out: Callable[[str], bool] | None = None,
) -> PairSplit:
    """Divide items by document.

    Documents are held out in a seeded order until they give enough items; where a corpus says itself which of its
    documents are held out, these are, all of them, and no other.

    Args:
        candidates: Filtered items.
        counts: Gets what becomes of the items.
        held_out: How many held-out items are wanted.
        limit: How many training items at most; None for all.
        seed: Of the order of items and documents.
        is_held_out: The corpus's own division, by document.

    Returns:
        The two sets.

    Raises:
        CorpusError: There are not so many held-out items, or no training item is left.
    """
    chance = np.random.default_rng(seed)
    documents = list(dict.fromkeys(candidate.document for candidate in candidates))
    documents = [documents[place] for place in chance.permutation(len(documents)).tolist()]
    order = [candidates[place] for place in chance.permutation(len(candidates)).tolist()]
    sizes = Counter(candidate.document for candidate in candidates)
    apart = {name for name in documents if is_held_out is not None and is_held_out(name)}
    # Some are left out as near-duplicates, so a reserve is held out with them; a larger one where it does not do.
    reserve = 1.5
    while True:
        if is_held_out is None:
            apart = _enough(documents, sizes, held_out * reserve)
        training = [candidate.item for candidate in order if candidate.document not in apart]
        pool = [candidate.item for candidate in order if candidate.document in apart] if held_out else []
        fresh = _without_near_duplicates(pool, training)
        if len(fresh) >= held_out or is_held_out is not None or 2 * len(apart) >= len(documents):
            break
        reserve *= 2
    counts["left out: held out, but nearly repeats a training answer"] += len(pool) - len(fresh)
    if len(fresh) < held_out or not training:
        raise CorpusError(
            f"{len(fresh):,} items to hold out and {len(training):,} to train on",
            f"{held_out:,} held out, and at least one to train on",
            "ask for fewer with --held-out, or give more data",
        )
    kept = training[:limit]
    counts["left out: in a held-out document, not needed"] += sum(sizes[name] for name in apart) - len(pool)
    counts["left out: in a held-out document, not needed"] += len(fresh) - held_out
    counts["left out: more than --limit"] += len(training) - len(kept)
    counts["kept: training"], counts["kept: held out"] = len(kept), held_out
    return PairSplit(kept, fresh[:held_out])


def _enough(documents: Sequence[str], sizes: Mapping[str, int], wanted: float) -> set[str]:
    """Return the last documents that hold so many items."""
    taken: set[str] = set()
    total = 0
    for name in reversed(documents):
        if total >= wanted:
            break
        taken.add(name)
        total += sizes[name]
    return taken


def _without_near_duplicates(pool: Sequence[PairedItem], training: Sequence[PairedItem]) -> list[PairedItem]:
    """Return the items of which neither answer nearly repeats a training answer."""
    left = list(pool)
    for field in ("english_response", "target_response"):
        known = [getattr(item, field) for item in training]
        fresh = set(remove_near_duplicates([getattr(item, field) for item in left], known)[0])
        left = [item for item in left if getattr(item, field) in fresh]
    return left
