"""Memory is kept on a CPU with the GNU C library, and given back after."""

import sys
from pathlib import Path

import pytest

from lingraft.training import allocation
from lingraft.training.allocation import kept_memory


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(allocation._library() is None, reason="needs the GNU C library")
def test_memory_is_kept_inside_and_given_back_after() -> None:
    size = 200 * 2**20
    block = bytearray(size)
    del block
    before = resident()
    with kept_memory("cpu") as kept:
        assert kept
        block = bytearray(size)
        del block
        assert resident() - before > size // 2
    assert resident() - before < size // 2


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_memory("cuda") as kept:
        assert not kept
    monkeypatch.setattr(sys, "platform", "darwin")
    with kept_memory("cpu") as kept:
        assert not kept
