"""All paragraphs of help pages: those that are alike in both languages, repeated or missing keep their places."""

import pytest

from lingraft.assets.downloads import downloaded_file
from lingraft.assets.help_pages import help_pages
from lingraft.assets.libreoffice import AlignedParagraph
from lingraft.errors import AssetError

ENGLISH = {
    "b/two": {"hd_1": "Syntax", "par_1": "ABS(Number)", "par_2": "Only English."},
    "a/one": {
        "hd_1": "Syntax",
        "par_1": "A number.",
        "par_3": "[text/x.xhp not found]",
        "par_4": "Broken there.",
    },
}
BASQUE = {
    "a/one": {"par_4": "Ez [text/x.xhp not found].", "hd_1": "Sintaxia", "par_1": "Zenbaki bat ñ.", "par_9": "Bai"},
    "b/two": {"hd_1": "Sintaxia", "par_1": "ABS(Number)"},
}  # fmt: skip


def help_deb(make_deb, language, pages):
    root = f"./usr/share/libreoffice/help/{language}/text"
    marked = {
        name: '<div id="DisplayArea">'
        + "".join(f'<p id="{key}" class="x">{text}</p>' for key, text in texts.items())
        for name, texts in pages.items()
    }
    return make_deb(
        {f"{root}/{name}.html": page.encode() for name, page in marked.items()}, name=f"{language}.deb"
    )


@pytest.fixture
def cached(tiny_asset, make_deb, pin_of, tmp_path):
    """An asset whose packages are in the cache; nothing can be downloaded."""
    choices = []
    for language, pages in (("eu", BASQUE), ("en-US", ENGLISH)):
        deb = help_deb(make_deb, language, pages)
        package = pin_of(deb, "debian", f"libreoffice-help-{language.lower()}")
        kept = downloaded_file(tmp_path / "cache", package)
        kept.parent.mkdir(parents=True)
        deb.rename(kept)
        choices.append((package,))
    tiny_asset(*choices, name="libreoffice-help-eu")
    return tmp_path / "cache"


def test_every_english_paragraph_in_its_place(cached):
    assert list(help_pages("libreoffice-help-eu", cache=cached)) == [
        AlignedParagraph("a/one", "hd_1", "Syntax", "Sintaxia"),
        AlignedParagraph("a/one", "par_1", "A number.", "Zenbaki bat ñ."),
        AlignedParagraph("a/one", "par_4", "Broken there.", ""),
        AlignedParagraph("b/two", "hd_1", "Syntax", "Sintaxia"),
        AlignedParagraph("b/two", "par_1", "ABS(Number)", "ABS(Number)"),
        AlignedParagraph("b/two", "par_2", "Only English.", ""),
    ]


def test_another_asset_is_refused(cached):
    with pytest.raises(AssetError, match="expected a corpus libreoffice-help-LANG"):
        list(help_pages("freedict-eng-deu", cache=cached))
    with pytest.raises(AssetError, match="libreoffice-help-xx"):
        list(help_pages("libreoffice-help-xx", cache=cached))
