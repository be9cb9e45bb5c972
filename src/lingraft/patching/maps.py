"""What a sweep found: for every instance the answers of all layer pairs, and the unpatched ones."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lingraft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer for each of I instances: the unpatched receiver's, or the donor's own.

    Attributes:
        instances: Ids.
        languages: The receiver's language of each.
        label: int64 `[I]`, what was answered, see `answer_labels`; comparable with a map of the same run.
        correct: bool `[I]`, False where nothing is known.
        known: bool `[I]`, whether it is known to be right or wrong.
        score: float32 `[I]`, nats, of the same thing as a map's score; None where it was not kept.
    """

    instances: tuple[str, ...]
    languages: tuple[str, ...]
    label: NDArray[np.int64]
    correct: NDArray[np.bool_]
    known: NDArray[np.bool_]
    score: NDArray[np.float32] | None = None

    def of(self, instances: Sequence[str]) -> "Answers":
        """Take the answers of some instances.

        Args:
            instances: Ids, in the order wanted.

        Returns:
            Their answers in that order.

        Raises:
            ConfigError: One has no answer.
        """
        chosen = _places(self.instances, instances, "the unpatched answers")
        return Answers(
            tuple(instances),
            tuple(self.languages[place] for place in chosen),
            self.label[chosen],
            self.correct[chosen],
            self.known[chosen],
            None if self.score is None else self.score[chosen],
        )


@dataclass(frozen=True, slots=True)
class LayerMaps:
    """The maps of I instances over the same P layer pairs, for one site and one donor.

    Attributes:
        site: Where was patched.
        donor: Index of the donor language; -1 for the mean of all.
        instances: Ids, in the file's order.
        languages: The receiver's language of each.
        donor_layers: int64 `[P]`. Pairs come by rising receiver layer, then by rising donor layer.
        receiver_layers: int64 `[P]`.
        label: int64 `[I, P]`, what was answered, see `answer_labels`.
        score: float32 `[I, P]`, nats.
        margin: float32 `[I, P]`, nats.
        entropy: float32 `[I, P]`, nats.
        correct: bool `[I, P]`, False where nothing is known.
        known: bool `[I]`, whether answers to this instance are known to be right or wrong.
    """

    site: str
    donor: int
    instances: tuple[str, ...]
    languages: tuple[str, ...]
    donor_layers: NDArray[np.int64]
    receiver_layers: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    margin: NDArray[np.float32]
    entropy: NDArray[np.float32]
    correct: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def pairs(self) -> int:
        """How many layer pairs there are."""
        return len(self.donor_layers)

    def rows(self, chosen: ArrayLike) -> "LayerMaps":
        """Take some instances.

        Args:
            chosen: Their numbers, or a bool for each.

        Returns:
            The maps of these.
        """
        places = np.arange(len(self.instances))[np.asarray(chosen)]
        per_row = ("label", "score", "margin", "entropy", "correct", "known")
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {name: values[name][places] for name in per_row}
        values |= {name: tuple(values[name][i] for i in places) for name in ("instances", "languages")}
        return LayerMaps(**values)

    def of(self, instances: Sequence[str]) -> "LayerMaps":
        """Take the maps of some instances.

        Args:
            instances: Ids, in the order wanted.

        Returns:
            Their maps in that order.

        Raises:
            ConfigError: One is not here.
        """
        return self.rows(_places(self.instances, instances, "the map"))

    def pair(self, donor_layer: int, receiver_layer: int) -> int | None:
        """Find a pair.

        Args:
            donor_layer: From 0.
            receiver_layer: From 0.

        Returns:
            Its number, None if the sweep left it out.
        """
        found = np.nonzero((self.donor_layers == donor_layer) & (self.receiver_layers == receiver_layer))[0]
        return int(found[0]) if len(found) else None


def _places(held: Sequence[str], wanted: Sequence[str], where: str) -> NDArray[np.int64]:
    number = {name: place for place, name in enumerate(held)}
    missing = [name for name in wanted if name not in number]
    if missing:
        raise ConfigError(
            f"instance {missing[0]!r} is not in {where} ({len(missing)} of {len(wanted)} are missing)",
            "the same instances",
            "take files of one run",
        )
    return np.array([number[name] for name in wanted], dtype=np.int64)
