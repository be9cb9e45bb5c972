"""Checks of a checkpoint directory before any library opens it: what is there, whole, and safe to read."""

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.errors import ModelError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

FULL_HASH_LIMIT = 2**30
"""Checkpoints up to this many bytes are hashed whole; larger ones by header and samples (our choice)."""

_SAMPLES, _SAMPLE_BYTES = 64, 2**20
_LARGEST_HEADER = 100 * 2**20

CONVERT = (
    "convert it once on a machine where you trust the file: "
    "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR), then give NEW_DIR"
)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: its file, and the dtype and shape that the file's header states."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def refuse_pickle(path: Path) -> None:
    """Refuse a single file that holds pickled weights.

    Args:
        path: A file that exists or not.

    Raises:
        ModelError: The suffix is one that pickle checkpoints use.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelError(
            f"{path} is a pickle checkpoint, which can run code when opened",
            "a directory with safetensors weights, or a .gguf file",
            CONVERT,
        )


def read_config(directory: Path) -> dict[str, Any]:
    """Return the parsed config.json of a checkpoint directory.

    Args:
        directory: The checkpoint.

    Returns:
        The config as it is written.

    Raises:
        ModelError: It is missing, unreadable or no JSON object; or only an adapter is there.
    """
    file = directory / "config.json"
    if not file.is_file():
        if (directory / "adapter_config.json").is_file():
            raise ModelError(
                f"{directory} holds an adapter without its base model",
                "a whole checkpoint",
                "merge it: PeftModel.from_pretrained(base, DIR).merge_and_unload().save_pretrained(NEW_DIR)",
            )
        raise ModelError(
            f"{directory} holds no config.json",
            "a checkpoint directory as save_pretrained writes it",
            "check the path, or give a hub id or the name of an asset (lingraft assets list)",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read ({error})", "a JSON file", "fetch the model again"
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} holds a {type(config).__name__}", "a JSON object", "fetch the model again")
    return config


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint, in the order of their names.

    Args:
        directory: The checkpoint.

    Returns:
        Paths inside `directory`, at least one.

    Raises:
        ModelError: There are none, only pickled ones, or the index lists a file that is not there.
    """
    index = directory / INDEX
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{index} cannot be read ({type(error).__name__}: {error})",
                "a safetensors index with a weight_map",
                "fetch the model again",
            ) from error
        missing = [name for name in names if not (directory / name).is_file()]
        if missing or not names:
            raise ModelError(
                f"{len(missing)} of the {len(names)} weight files that {index} lists are missing"
                + (f" (first: {missing[0]})" if missing else ""),
                "all of them beside the index",
                "fetch the model again",
            )
        return [directory / name for name in names]
    pickled = sorted(file.name for file in directory.iterdir() if file.suffix.lower() in PICKLE_SUFFIXES)
    if pickled:
        raise ModelError(
            f"{directory} holds only pickled weights ({pickled[0]}), which can run code when opened",
            f"safetensors weights ({WEIGHTS})",
            CONVERT,
        )
    raise ModelError(
        f"{directory} holds no weights",
        f"{WEIGHTS}, or {INDEX} and its shards",
        "check the path; a model published only as pickle files must be converted to safetensors first",
    )


def read_header(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return the parsed and the raw header of a safetensors file, after checking the file's size against it.

    Args:
        file: A safetensors file.

    Returns:
        Tensor entries by name, without the metadata; and the header's bytes.

    Raises:
        ModelError: The file is truncated, has bytes too many, or is no safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        raw = opened.read(length) if length <= min(size, _LARGEST_HEADER) else b""
    if len(raw) < length or not raw:
        kind = (
            "a git-lfs pointer, not the file itself" if head == b"version " else "cut off or no safetensors"
        )
        raise ModelError(
            f"{file} ({size} bytes) is {kind}", "a whole safetensors file", "fetch the model again"
        )
    try:
        header = json.loads(raw)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{file} has an unreadable header ({type(error).__name__})",
            "a safetensors file",
            "fetch the model again",
        ) from error
    if size != 8 + length + end:
        raise ModelError(
            f"{file} has {size} bytes", f"{8 + length + end} bytes by its own header", "fetch the model again"
        )
    return entries, raw


def tensor_entries(directory: Path) -> dict[str, TensorEntry]:
    """Return every tensor of a checkpoint by name, all files checked.

    Args:
        directory: The checkpoint.

    Returns:
        Entries by tensor name, over all shards.

    Raises:
        ModelError: A weight file is missing, truncated, or lacks a tensor that the index promises.
    """
    found: dict[str, TensorEntry] = {}
    for file in weight_files(directory):
        entries, _ = read_header(file)
        for name, entry in entries.items():
            found[name] = TensorEntry(file, str(entry["dtype"]), tuple(entry["shape"]))
    index = directory / INDEX
    if index.is_file() and not (directory / WEIGHTS).is_file():
        promised = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        lacking = sorted(set(promised) - set(found))
        if lacking:
            raise ModelError(
                f"{len(lacking)} tensors that {index} lists are in no file (first: {lacking[0]})",
                "every listed tensor in its shard",
                "fetch the model again",
            )
    return found


def _blocks(file: Path, whole: bool) -> Iterator[bytes]:
    """Yield the file's bytes in 1 MiB blocks: all, or a fixed number evenly spaced with the last included."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        if whole:
            while block := opened.read(_SAMPLE_BYTES):
                yield block
            return
        for sample in range(_SAMPLES):
            opened.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            yield opened.read(_SAMPLE_BYTES)


def fingerprint_weights(directory: Path) -> str:
    """Return what names the weights of a checkpoint, whatever the directory is called.

    Up to 1 GiB: `sha256:` of names, sizes and all bytes. Beyond: `sha256-sampled:` of names, sizes, headers
    and 64 evenly spaced blocks of 1 MiB a file, since hashing tens of gigabytes takes minutes (our choice).
    Two fine-tunings of one model have the same header, so a header alone would not do.

    Args:
        directory: The checkpoint.

    Returns:
        `sha256:` or `sha256-sampled:` and 64 hexadecimal digits.

    Raises:
        ModelError: A weight file is missing or truncated.
    """
    files = weight_files(directory)
    whole = sum(file.stat().st_size for file in files) <= FULL_HASH_LIMIT
    digest = hashlib.sha256()
    for file in files:
        _, header = read_header(file)
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        digest.update(header)
        for block in _blocks(file, whole):
            digest.update(block)
    return f"{'sha256' if whole else 'sha256-sampled'}:{digest.hexdigest()}"


def snapshot_commit(directory: Path) -> str | None:
    """Return the commit of a directory inside a hub cache (`.../snapshots/<40 hex digits>`), else None."""
    if directory.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", directory.name):
        return directory.name
    return None
