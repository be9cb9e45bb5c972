"""Memory is kept on a CPU with the GNU C library, and given back after."""

import subprocess
import sys

import pytest

from lingraft.training import allocation
from lingraft.training.allocation import kept_memory

# In a process of its own: one that has run other tests holds free memory, and a new block need not make it grow.
MEASURED = """
from pathlib import Path
from lingraft.training.allocation import kept_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

size = 200 * 2**20
block = bytearray(size)
del block
before = resident()
with kept_memory("cpu") as kept:
    block = bytearray(size)
    del block
    inside = resident() - before
print(kept, inside > size // 2, resident() - before < size // 2)
"""


@pytest.mark.skipif(allocation._library() is None, reason="needs the GNU C library")
def test_memory_is_kept_inside_and_given_back_after() -> None:
    found = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True"] * 3


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_memory("cuda") as kept:
        assert not kept
    monkeypatch.setattr(sys, "platform", "darwin")
    with kept_memory("cpu") as kept:
        assert not kept
