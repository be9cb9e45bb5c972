"""What a recipe says of the machine that it runs on, checked before anything runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

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
    if recipe.scale.accelerate_config is not None:
        yield from _config_faults(recipe.scale.accelerate_config)
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


def _config_faults(config: Path) -> Iterator[Fault]:
    keys, name = ("scale", "accelerate_config"), "scale.accelerate_config"
    expected = "a file that `accelerate config` wrote"
    if not config.is_file():
        yield Fault(keys, f"{name}: no file {str(config)!r}", expected, "check the path")
        return
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        yield Fault(keys, f"{name}: {config} cannot be read ({reason})", expected, "write it anew")
        return
    machines = content.get("num_machines", 1) if isinstance(content, dict) else None
    if not isinstance(machines, int):
        yield Fault(keys, f"{name}: {config} holds something else", expected, "write it anew")
    elif machines > 1:
        # The launcher of each machine would wait for the others, and only this machine has one.
        yield Fault(
            keys,
            f"{name}: {config} says num_machines: {machines}",
            "one machine: a run starts its processes on its own",
            "say 1 there, or run the training itself (lingraft pretrain, clo train) under accelerate launch on each",
        )


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
