"""What can be transplanted, and how the transplant meets what it replaces (XTransplant, section 3)."""

from collections.abc import Callable, Sequence

import torch

from lingraft.errors import ConfigError
from lingraft.models.sites import Site

PATCH_SITES: dict[str, Site] = {
    "ffn": Site("ffn"),
    "ffn-contribution": Site("ffn", "contribution"),
    "attn": Site("attn"),
    "attn-contribution": Site("attn", "contribution"),
    "attn_official": Site("attn_official"),
    "resid": Site("resid"),
}
"""Names on the command line. `ffn` and `attn` are what the module returns; `-contribution` is what the residual stream
gains, which differs where a norm follows (Gemma 2/3, OLMo 2) or the module adds the residual itself (BLOOM).
`attn_official` is what the paper's released code does at the attention level: it takes attention plus the residual
before it, and puts that in place of attention alone, see `receiving_site`."""

ATTENTION_ALONE = Site("attn", "contribution")

Operator = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the receiver's own values and the donor's, both `[rows, d_model]`, to what takes their place."""


def patch_site(name: str) -> Site:
    """Return the site of a name.

    Args:
        name: One of `PATCH_SITES`.

    Returns:
        The site.

    Raises:
        ConfigError: No such site.
    """
    if name not in PATCH_SITES:
        raise ConfigError(f"--site {name}", f"one of {', '.join(PATCH_SITES)}", "name one of them")
    return PATCH_SITES[name]


def receiving_site(site: Site) -> Site:
    """Where a value taken at a site is put.

    The released code keeps a reference to attention's output, to which the residual is then added in place: so the
    donor gives the sum. The receiver has its attention's output replaced by that before its own residual is added:
    its stream then holds the donor's residual, the donor's attention, and its own residual. A run patched with its own
    `attn_official` is therefore changed. Everywhere else the two places are one.

    Args:
        site: Where it was taken.

    Returns:
        Where it is put.
    """
    return ATTENTION_ALONE if site.name == "attn_official" else site


def replace(_: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
    """The paper's operator: the donor's value takes the place of the receiver's."""
    return donor


def add(own: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
    """Our choice: both together."""
    return own + donor


def norm_match(own: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
    """Our choice: the donor's direction at the receiver's length."""
    length = own.norm(dim=-1, keepdim=True)
    matched: torch.Tensor = donor * (length / donor.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    return matched


def lerp(weight: float) -> Operator:
    """Our choice: a point on the line from the receiver's value (0) to the donor's (1).

    Args:
        weight: The donor's share.

    Returns:
        The operator.
    """
    return lambda own, donor: own + weight * (donor - own)


def find_operator(name: str) -> Operator:
    """Return the operator of a name.

    Args:
        name: `replace`, `add`, `norm_match`, or `lerp:W` with the donor's share W.

    Returns:
        The operator.

    Raises:
        ConfigError: No such operator, or a share that is no number.
    """
    plain: dict[str, Operator] = {"replace": replace, "add": add, "norm_match": norm_match}
    if name in plain:
        return plain[name]
    kind, _, share = name.partition(":")
    try:
        if kind == "lerp":
            return lerp(float(share or "0.5"))
    except ValueError:
        pass
    raise ConfigError(
        f"--operator {name}", "replace, add, norm_match or lerp:W", "name one of them, for instance lerp:0.5"
    )


def mean_donor(donors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Average the values of several donor languages (the paper's multilingual donor is a single one; our choice).

    Args:
        donors: `[layers, d_model]` of each language, for one site.

    Returns:
        `[layers, d_model]`.

    Raises:
        ConfigError: No donor.
    """
    if not donors:
        raise ConfigError("a mean over no donors", "at least one donor prompt", "give a donor")
    return torch.stack([donor.float() for donor in donors]).mean(dim=0).to(donors[0])
