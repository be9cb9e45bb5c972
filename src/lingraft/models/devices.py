"""Which device a model is put on."""

import os

import torch

from lingraft.errors import ConfigError


def choose_device(device: str = "auto") -> torch.device:
    """Return the device to compute on: for `auto` the first of cuda, mps, cpu that is there.

    In a process of a launch (`LOCAL_RANK`) `auto` and `cuda` are the process's own device, so that the processes of a
    machine do not all load onto the first.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Returns:
        A device that is there.

    Raises:
        ConfigError: The name is no device, or the device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return _own_cuda()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        chosen = None
    usable = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if chosen is None or (chosen.index or 0) >= usable.get(chosen.type, 0):
        there = ", ".join(f"{name} ({count})" for name, count in usable.items() if count)
        raise ConfigError(
            f"device {device!r}", f"auto or one that is there: {there}", "give another --device"
        )
    return _own_cuda() if chosen == torch.device("cuda") else chosen


def _own_cuda() -> torch.device:
    """Return the device of this process: of its rank on this machine under a launcher, else the current one."""
    rank = os.environ.get("LOCAL_RANK", "")
    if rank.isdecimal() and int(rank) < torch.cuda.device_count():
        return torch.device("cuda", int(rank))
    return torch.device("cuda")
