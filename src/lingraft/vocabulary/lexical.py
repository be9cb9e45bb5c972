"""Rules that go by a token's text: sub-token means, bilingual dictionaries, and WECHSEL's aligned word vectors."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lingraft.errors import TransferError
from lingraft.tokenizers.pieces import Piece
from lingraft.tokenizers.splitting import split_pieces
from lingraft.vocabulary.auxiliary import space_from_donor
from lingraft.vocabulary.mixtures import Mixture, mixture_from_lists
from lingraft.vocabulary.neighbours import unit_rows
from lingraft.vocabulary.problem import Matrix, Rule, TransferProblem, VectorSpace
from lingraft.vocabulary.rules import known_rule, mixture_rule, require_overlap

WECHSEL_NEIGHBOURS = 10
WECHSEL_TEMPERATURE = 0.1
ROW_CHUNK = 1024


def subword_mean(problem: TransferProblem) -> Rule:
    """Mean of the source rows of the pieces that the source tokenizer splits the token into.

    For an untied head the mean is weighted by the pieces' lengths in bytes.
    """
    rows = np.array([row for row, split in enumerate(problem.splits) if len(split)], dtype=np.int64)
    splits = [problem.splits[row] for row in rows]
    plain = mixture_from_lists(splits)
    by_length = mixture_from_lists(splits, [_length_weights(problem, split) for split in splits])

    def fill_rows(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        mixture = plain if which == "input" else by_length
        mixture.fill(source_matrix, out, problem.new_ids[rows])

    return known_rule(problem, rows, fill_rows, origin="averaged", neighbours=plain.counts)


def lexicon(problem: TransferProblem) -> Rule:
    """Mean of the source rows of the token's dictionary translations (GreenPLM, arXiv 2211.06993).

    A translation of several source pieces counts as their mean. Only tokens that are whole words have
    translations; every other token falls back to `subword-mean`.

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No lexicon was given.
    """
    if not problem.lexicon:
        raise TransferError("no lexicon", "--lexicon FILE of word<TAB>translation lines", "give one")
    fallback = subword_mean(problem)
    rows, ids, weights = [], [], []
    translations = [_translations(problem, token_id) for token_id in problem.new_ids]
    splits = _phrase_splits(problem, {phrase for phrases in translations for phrase in phrases})
    for row, phrases in enumerate(translations):
        pieces = [splits[phrase] for phrase in phrases if len(splits[phrase])]
        if pieces:
            rows.append(row)
            ids.append(np.concatenate(pieces))
            weights.append(np.concatenate([np.full(len(p), 1 / (len(p) * len(pieces))) for p in pieces]))
    translated = mixture_from_lists(ids, weights)
    translated_rows = np.array(rows, dtype=np.int64)

    def fill(which: Matrix, source_matrix: Tensor, out: Tensor) -> None:
        fallback.fill(which, source_matrix, out)
        translated.fill(source_matrix, out, problem.new_ids[translated_rows])

    neighbours = fallback.neighbours.copy()
    neighbours[translated_rows] = translated.counts
    origin = fallback.origin.copy()
    origin[translated_rows] = "averaged"
    notes = {**fallback.notes, "translated": len(rows), "fell_back": len(problem.new_ids) - len(rows)}
    return Rule(fill, origin, neighbours, fallback.residual, notes)


def wechsel(problem: TransferProblem) -> Rule:
    """WECHSEL: softmax at temperature 0.1 over the ten nearest source tokens in an aligned space.

    The space holds both vocabularies: fastText vectors of both languages aligned by Procrustes on a dictionary
    where those are given, else the donor's own (a multilingual donor is aligned already).

    Args:
        problem: The transfer to make.

    Returns:
        The rule for its new rows.

    Raises:
        TransferError: No space with source vectors, or fewer than ten of them.
    """
    space = _shared_space(problem)
    if space is None or space.source is None or space.source_known is None:
        raise TransferError(
            "no vector space that holds both vocabularies",
            "--source-words FILE with --auxiliary words:FILE and --lexicon FILE, or --donor REF",
            "give one of them for wechsel",
        )
    source_ids = np.nonzero(space.source_known)[0]
    require_overlap(len(source_ids), WECHSEL_NEIGHBOURS, "wechsel")
    rows = np.nonzero(space.target_known[problem.new_ids])[0]
    anchors = unit_rows(space.source[source_ids])
    units = unit_rows(space.target[problem.new_ids[rows]])
    indices = torch.empty(len(rows), WECHSEL_NEIGHBOURS, dtype=torch.int64)
    weights = torch.empty(len(rows), WECHSEL_NEIGHBOURS, dtype=torch.float64)
    for start in range(0, len(rows), ROW_CHUNK):
        part = slice(start, start + ROW_CHUNK)
        cosines, indices[part] = (units[part] @ anchors.T).topk(WECHSEL_NEIGHBOURS, dim=1)
        weights[part] = (cosines.double() / WECHSEL_TEMPERATURE).softmax(dim=1)
    mixture = Mixture(
        np.arange(len(rows) + 1, dtype=np.int64) * WECHSEL_NEIGHBOURS,
        source_ids[indices.numpy().reshape(-1)],
        weights.numpy().reshape(-1),
    )
    return mixture_rule(problem, rows, mixture, "averaged")


def _shared_space(problem: TransferProblem) -> VectorSpace | None:
    """The space of both vocabularies, if there is one: aligned words, the auxiliary space, or the donor's."""
    if problem.aligned_words is not None:
        return problem.aligned_words
    if problem.auxiliary is not None and problem.auxiliary.source is not None:
        return problem.auxiliary
    return None if problem.donor is None else space_from_donor(problem.donor)


def _length_weights(problem: TransferProblem, split: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the token's bytes that each piece writes; a piece of no bytes counts as one."""
    pieces = [problem.source_pieces[i] for i in split]
    lengths = np.array([max(1, len(piece.content)) if piece else 1 for piece in pieces], dtype=np.float64)
    return np.asarray(lengths / lengths.sum())


def _translations(problem: TransferProblem, token_id: int) -> Sequence[str]:
    """The dictionary's translations of a token that is a whole word; none for any other."""
    piece = problem.target_pieces[token_id]
    if piece is None or not piece.word_start:
        return ()
    return problem.lexicon.get(piece.text) or problem.lexicon.get(piece.text.casefold()) or ()


def _phrase_splits(problem: TransferProblem, phrases: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """Source ids of each phrase in running text, its words split one by one; empty where a word has none."""
    places = [(phrase, word) for phrase in sorted(phrases) for word in phrase.split()]
    found = split_pieces(
        [Piece(place, word.encode(), True) for place, (_, word) in enumerate(places)],
        problem.source_tokenizer,
    )
    parts: dict[str, list[NDArray[np.int64]]] = {phrase: [] for phrase in phrases}
    for (phrase, _), ids in zip(places, found, strict=True):
        parts[phrase].append(ids)
    none = np.zeros(0, dtype=np.int64)
    return {
        phrase: np.concatenate(ids) if ids and all(len(part) for part in ids) else none
        for phrase, ids in parts.items()
    }
