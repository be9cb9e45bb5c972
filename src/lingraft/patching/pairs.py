"""Which transplants are made: site, donor, donor layer and receiver layer of every row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lingraft.models.sites import check_layers


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows in rising order of the receiver layer, at which each begins to differ from the plain run.

    Attributes:
        site: int64 `[R]`, index into the sites of the sweep.
        donor: int64 `[R]`, index into its donors.
        donor_layer: int64 `[R]`, from 0.
        receiver_layer: int64 `[R]`, from 0, rising.
    """

    site: NDArray[np.int64]
    donor: NDArray[np.int64]
    donor_layer: NDArray[np.int64]
    receiver_layer: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.receiver_layer)

    def part(self, begin: int, end: int) -> "Pairs":
        """Rows `begin` to `end`, in the same order."""
        chosen = slice(begin, end)
        return Pairs(
            self.site[chosen], self.donor[chosen], self.donor_layer[chosen], self.receiver_layer[chosen]
        )

    def entered_by(self, layers: int) -> NDArray[np.int64]:
        """`[layers]`: rows whose receiver layer is at most this one."""
        return np.searchsorted(self.receiver_layer, np.arange(layers), side="right").astype(np.int64)


def all_pairs(
    layers: int,
    *,
    sites: int = 1,
    donors: int = 1,
    donor_layers: Sequence[int] | None = None,
    receiver_layers: Sequence[int] | None = None,
) -> Pairs:
    """Every donor layer with every receiver layer, for every site and donor.

    Args:
        layers: Layers of the model.
        sites: How many sites.
        donors: How many donors.
        donor_layers: Only these; None for all.
        receiver_layers: Only these; None for all.

    Returns:
        The rows.

    Raises:
        ConfigError: A layer that the model does not have.
    """
    every = range(layers)
    given = [
        check_layers(every if chosen is None else chosen, layers)
        for chosen in (donor_layers, receiver_layers)
    ]
    receiver, site, donor, giver = np.meshgrid(
        sorted(set(given[1])), np.arange(sites), np.arange(donors), sorted(set(given[0])), indexing="ij"
    )
    flat = [grid.ravel().astype(np.int64) for grid in (site, donor, giver, receiver)]
    return Pairs(*flat)


def token_layers(pairs: Pairs, layers: int) -> int:
    """How often a row passes a layer in the first step: each enters at its receiver layer."""
    return int((layers - pairs.receiver_layer).sum())
