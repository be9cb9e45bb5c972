"""Tiny packages, made in memory, and a catalogue that holds them."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import lingraft.assets.catalog
import lingraft.assets.entries
from lingraft.assets.entries import Asset
from lingraft.assets.pins import Package
from lingraft.files import sha256_of


def ar_member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def deb_bytes(files: Mapping[str, bytes], compression: str = "xz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    suffix = f".{compression}" if compression else ""
    return (
        b"!<arch>\n"
        + ar_member("debian-binary", b"2.0\n")
        + ar_member("control.tar.xz", b"odd")
        + ar_member(f"data.tar{suffix}", buffer.getvalue())
    )


@pytest.fixture
def make_deb(tmp_path: Path) -> Callable[..., Path]:
    def make(files: Mapping[str, bytes], name: str = "tiny_1_all.deb", compression: str = "xz") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(deb_bytes(files, compression))
        return path

    return make


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[..., Path]:
    def make(files: Mapping[str, bytes], name: str = "tiny_asset", version: str = "1.0") -> Path:
        folder = tmp_path / "wheels"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in files.items():
                archive.writestr(member, content)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        return path

    return make


@pytest.fixture
def only_local_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip see a folder of wheels and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return tmp_path / "wheels"


def pin(file: Path, registry: Any = "pypi", name: str = "tiny-asset", version: str = "1.0") -> Package:
    return Package(registry, name, version, sha256_of(file), file.stat().st_size)


@pytest.fixture
def pin_of() -> Callable[..., Package]:
    return pin


@pytest.fixture
def tiny_asset(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asset]:
    """A function that puts an asset named `tiny` into the catalogue, as its only one."""

    def add(*packages: Any, convert: Any = None, **fields: Any) -> Asset:
        def copy(files: Any, directory: Path) -> dict[str, int]:
            (directory / "content.bin").write_bytes(files[0].read_bytes())
            return {"files": len(files)}

        settings = {
            "name": "tiny",
            "kind": "corpus",
            "summary": "a tiny one",
            "licence": "CC0-1.0",
            "terms": None,
            "alternative": "give your own text file",
            "packages": packages,
            "disk_bytes": 1000,
            "convert": convert or copy,
        }
        asset = Asset(**(settings | fields))
        for module in (lingraft.assets.catalog, lingraft.assets.entries):
            monkeypatch.setattr(module, "catalogue", lambda: {asset.name: asset})
        return asset

    return add
