"""What a recipe says of the machine that it runs on, checked before anything runs."""

import re
from collections.abc import Iterator

from lingraft.errors import ConfigError
from lingraft.recipes.checking.faults import Fault
from lingraft.recipes.checking.schema import Recipe
from lingraft.workers import require_cluster

_RAY = re.compile(r"auto|local|(ray://)?[\w.-]+:\d+|(ray://)?\[[0-9a-fA-F:]+\]:\d+")
"""What `ray.init` takes for an address."""


def machine_faults(recipe: Recipe) -> Iterator[Fault]:
    """Go through a recipe's device and `scale`.

    Args:
        recipe: The recipe.

    Yields:
        What is wrong.
    """
    if recipe.device not in {"auto", "cpu"}:
        try:
            require_device(recipe.device)
        except ConfigError as error:
            yield Fault(("device",), error.found, error.expected, "name another one")
    config = recipe.scale.accelerate_config
    if config is not None and not config.is_file():
        keys = ("scale", "accelerate_config")
        found = f"scale.accelerate_config: no file {str(config)!r}"
        yield Fault(keys, found, "a file that `accelerate config` wrote", "check the path")
    ray = recipe.scale.ray
    if ray is not None and not _RAY.fullmatch(ray):
        expected = "auto, local, HOST:PORT or ray://HOST:PORT"
        yield Fault(("scale", "ray"), f"scale.ray: {ray!r}", expected, "correct the address")
    elif ray is not None:
        try:
            require_cluster(ray)
        except ConfigError as error:
            found = error.found.replace("--ray", "scale.ray:")
            yield Fault(("scale", "ray"), found, error.expected, error.remedy)


def require_device(device: str) -> None:
    """Refuse a device that is not there.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ConfigError: It is not there.
    """
    # Here alone, as it loads torch: most recipes say `auto`.
    from lingraft.models.devices import choose_device

    choose_device(device)
