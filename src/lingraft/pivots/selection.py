"""Choosing documents rich in pivots under a budget of tokens, and controls of the same budget.

A document's score is the share of its tokens that are in the pivot set. The best are taken whole until the budget is
full; the last one is cut where it overflows, so that every set holds equally many tokens (our choice). A set that the
corpus cannot fill is an error, unless all sets are to shrink to the smallest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.partials import Partial
from lingraft.errors import ConfigError
from lingraft.pivots.controls import length_cell
from lingraft.pivots.packed_languages import unpack_language
from lingraft.pivots.selection_ranking import (
    Channel,
    Order,
    channel_columns,
    prune,
)

SELECTED = "selected"
"""Name of the selection; every other set is named after its control."""
_ORDERS: dict[str, Order] = {SELECTED: "pivots", "frequency": "frequency"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The documents of a set, best first.

    Attributes:
        places: Where they stand in their corpus, int64 [documents].
        scores: What they were chosen by, float64 [documents].
        sizes: Tokens taken of each, int64 [documents].
        units: Scoring tokens of the whole document, int64 [documents].
        cut: Which were cut, bool [documents].
        languages: uint8 [documents, bytes], see `pack_languages`.
    """

    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    sizes: NDArray[np.int64]
    units: NDArray[np.int64]
    cut: NDArray[np.bool_]
    languages: NDArray[np.uint8]

    @property
    def tokens(self) -> int:
        """Tokens in the set."""
        return int(self.sizes.sum())


def split_budget(tokens: int, quotas: Mapping[str, float]) -> dict[str, int]:
    """Divide a budget by shares, to the last token (the largest remainders get one more).

    Args:
        tokens: The budget.
        quotas: Language to share; they sum to 1.

    Returns:
        Language to tokens; they sum to the budget.

    Raises:
        ConfigError: A share that is not positive, or a sum that is not 1.
    """
    if any(share <= 0 for share in quotas.values()) or abs(sum(quotas.values()) - 1) > 1e-6:
        listed = ", ".join(f"{language}={share:g}" for language, share in quotas.items())
        raise ConfigError(f"the quotas {listed}", "positive shares that sum to 1", "correct them")
    exact = {language: tokens * share for language, share in quotas.items()}
    whole = {language: int(amount) for language, amount in exact.items()}
    left = tokens - sum(whole.values())
    for language in sorted(exact, key=lambda name: (whole[name] - exact[name], name))[:left]:
        whole[language] += 1
    return whole


def first_channels(
    controls: Sequence[str], budget: int, quotas: Mapping[str, float], *, parallel_here: bool
) -> tuple[Channel, ...]:
    """Make the channels of the first pass: all sets but `matched`, which depends on the selection.

    Args:
        controls: Which controls.
        budget: Tokens of each set.
        quotas: Language to share, for the selection and for controls that are drawn from the same documents; may be
            empty.
        parallel_here: Draw the parallel documents from this corpus.

    Returns:
        The channels; those of a set are named after it.
    """
    channels = []
    for name in (SELECTED, *(control for control in controls if control in ("random", "frequency"))):
        order = _ORDERS.get(name, "random")
        if quotas:
            channels += [
                Channel(f"{name}/{language}", order, tokens, name, language=language)
                for language, tokens in split_budget(budget, quotas).items()
            ]
        else:
            channels.append(Channel(name, order, budget, name))
    if "parallel" in controls and parallel_here:
        channels.append(Channel("parallel", "random", budget, "parallel", parallel=True))
    return tuple(channels)


def matched_channels(selected: Chosen) -> tuple[Channel, ...]:
    """Make the channels of the control that has the selection's languages and lengths.

    Args:
        selected: The selection.

    Returns:
        A channel for each language and length in it, with the tokens that the selection has there.
    """
    budgets: dict[tuple[str, int], int] = {}
    rows = zip(selected.languages.tolist(), selected.units.tolist(), selected.sizes.tolist(), strict=True)
    for language, units, size in rows:
        cell = unpack_language(language), length_cell(units)
        budgets[cell] = budgets.get(cell, 0) + size
    return tuple(
        Channel(f"matched/{language}/{cell}", "random", tokens, "matched", language=language, cell=cell)
        for (language, cell), tokens in sorted(budgets.items())
    )


def available(partial: Partial, channels: Sequence[Channel]) -> dict[str, int]:
    """Return how many tokens each channel found, which is no more than fills it, by name."""
    return {channel.name: int(partial[f"{channel.name}.size"].sum()) for channel in channels}


def fitting_share(found: Mapping[str, int], channels: Sequence[Channel]) -> float:
    """Return which share of its budget every channel can have; 1 where all are full."""
    return min(1.0, *(found[channel.name] / channel.budget for channel in channels))


def require_full(found: Mapping[str, int], channels: Sequence[Channel], budget: int, unit: str) -> None:
    """Refuse a budget that a set cannot fill.

    Args:
        found: Of `available`.
        channels: The channels.
        budget: Tokens of each set.
        unit: What the budget is counted in.

    Raises:
        ConfigError: A channel is not full; the message says how much there is.
    """
    short = [channel for channel in channels if found[channel.name] < channel.budget]
    if not short:
        return
    fits = int(fitting_share(found, channels) * budget)
    listed = ", ".join(
        f"{found[channel.name]:,} of {channel.budget:,} for {_title(channel)}" for channel in short[:6]
    )
    remedy = f"give --tokens {fits} or --shrink-to-fit" if fits else "leave those out, or give more documents"
    raise ConfigError(
        f"too few documents that may be chosen: {listed} (in {unit})",
        f"{budget:,} for every set, so that sets can be compared",
        remedy,
    )


def settle(partial: Partial, channels: Sequence[Channel], share: float = 1.0) -> dict[str, Chosen]:
    """Cut every set to its budget.

    Args:
        partial: Merged lists.
        channels: What they are of.
        share: Of the budgets.

    Returns:
        The sets, by the part of the channels' names before a slash.
    """
    parts: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for channel in channels:
        budget = int(channel.budget * share) if share < 1 else channel.budget
        columns = prune(channel_columns(partial, channel.name), budget)
        over = int(columns["size"].sum()) - budget
        columns["cut"] = np.zeros(len(columns["size"]), dtype=np.bool_)
        if over > 0:
            columns["size"] = columns["size"].copy()
            columns["size"][-1] -= over
            columns["cut"][-1] = True
        parts.setdefault(channel.name.split("/")[0], []).append(columns)
    return {name: _joined(columns) for name, columns in parts.items()}


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> Chosen:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["place"], columns["key"], -columns["score"]))
    return Chosen(
        places=columns["place"][order],
        scores=columns["score"][order],
        sizes=columns["size"][order],
        units=columns["units"][order],
        cut=columns["cut"][order],
        languages=columns["language"][order],
    )


def _title(channel: Channel) -> str:
    name, _, language = channel.name.partition("/")
    return f"{name} in {language}" if language else name


def language_tokens(chosen: Chosen) -> dict[str, int]:
    """Return a set's tokens by language, the largest first; "" where the language is not known."""
    totals: dict[str, int] = {}
    for language, size in zip(chosen.languages.tolist(), chosen.sizes.tolist(), strict=True):
        name = unpack_language(language)
        totals[name] = totals.get(name, 0) + size
    return dict(sorted(totals.items(), key=lambda entry: (-entry[1], entry[0])))


def language_distance(first: Chosen, second: Chosen) -> float:
    """Return the share of a set's tokens that would have to be in other languages to be as the other set's are."""
    left, right = language_tokens(first), language_tokens(second)
    return 0.5 * sum(
        abs(left.get(name, 0) / max(1, first.tokens) - right.get(name, 0) / max(1, second.tokens))
        for name in {*left, *right}
    )


def overlap(chosen: Chosen, selected: Chosen) -> float:
    """Return the share of a set's tokens that are in documents of the selection too."""
    both = np.isin(chosen.places, selected.places)
    return float(chosen.sizes[both].sum() / max(1, chosen.tokens))
