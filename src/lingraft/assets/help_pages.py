"""All paragraphs of the LibreOffice Help pages in two languages, in their order: what `pairs.tsv` leaves out too."""

from collections.abc import Iterator
from pathlib import Path

from lingraft.assets.cache import cache_root
from lingraft.assets.downloads import Reporter, fetch_package
from lingraft.assets.entries import known_asset
from lingraft.assets.libreoffice import AlignedParagraph, is_broken, read_help
from lingraft.errors import AssetError

PREFIX = "libreoffice-help-"


def help_pages(
    name: str, *, cache: Path | str | None = None, report: Reporter = lambda line: None
) -> Iterator[AlignedParagraph]:
    """Yield every English paragraph and heading with its counterpart, page by page.

    The corpus asset's `pairs.tsv` drops repeated paragraphs and those that are alike in both languages, such as the
    heading of a function. What stands under which heading can be told only where nothing is dropped, so this reads the
    packages again, which the cache keeps.

    Args:
        name: A corpus asset, `libreoffice-help-LANG`.
        cache: The cache directory; by default $LINGRAFT_CACHE, else ~/.cache/lingraft.
        report: Called with a line before a download.

    Yields:
        AlignedParagraph: With an empty target where there is none, or a broken one.

    Raises:
        AssetError: There is no such asset, or its packages cannot be had.
    """
    if not name.startswith(PREFIX):
        raise AssetError(f"the asset {name!r}", f"a corpus {PREFIX}LANG", "name one: lingraft assets list")
    asset = known_asset(name)
    root = cache_root(cache)
    target, english = (
        read_help(fetch_package(root, choice, asset.alternative, report)[1])[1] for choice in asset.packages
    )
    for page, paragraphs in english.items():
        others = target.get(page, {})
        for identifier, text in paragraphs.items():
            other = others.get(identifier, "")
            if not is_broken(text):
                yield AlignedParagraph(page, identifier, text, "" if is_broken(other) else other)
