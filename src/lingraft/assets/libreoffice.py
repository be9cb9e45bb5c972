"""LibreOffice Help: paragraphs of one language and of English, aligned by file and paragraph id."""

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from lingraft.assets.archives import read_deb
from lingraft.errors import AssetError

_TEXT_FILE = re.compile(r"^usr/share/libreoffice/help/([A-Za-z-]+)/text/(.+)\.html$")
_PARAGRAPH = re.compile(r'<(p|h[1-6])\s[^>]*?\bid="([^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W\d_]+")
_BROKEN = re.compile(r"\[text/\S+ not found\]")
"""What the package holds where a passage from another page could not be included."""
_IDENTIFIER_ROWS = ("MediaType_", "FilterName_", "APIName_")
"""Cells of the table of file filters: names of program interfaces, the same in every language."""
MOSTLY_ENGLISH = 0.7
"""Our choice: a paragraph with this share of its letters in words of its English one is untranslated."""

PageParagraphs = dict[str, dict[str, str]]
"""Page (path below `text/`, without .html) -> paragraph id -> text, both in the order of the package."""


@dataclass(frozen=True, slots=True)
class AlignedParagraph:
    """A paragraph in English and in the target language.

    Attributes:
        page: The help page, such as `shared/guide/doc_open`.
        id: The paragraph's id on it.
        english: The English text.
        target: The target language's text.
    """

    page: str
    id: str
    english: str
    target: str


class _Alternatives(HTMLParser):
    """Text of a paragraph with one wording for each operating system or program; keeps the default one.

    A choice is a span of class `switchinline` around hidden spans; one without a default keeps its first.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        # For each open span: its own text, and, of a choice, the (is default, text) of each wording.
        self.open: list[tuple[str, list[str], list[tuple[bool, str]]]] = [("text", [], [])]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span":
            attributes = dict(attrs)
            kind = "switch" if "switchinline" in (attributes.get("class") or "") else "text"
            if attributes.get("hidden") == "true":
                kind = "default" if (attributes.get("id") or "").startswith("default") else "wording"
            self.open.append((kind, [], []))

    def handle_endtag(self, tag: str) -> None:
        if tag != "span" or len(self.open) == 1:
            return
        kind, parts, wordings = self.open.pop()
        text = "".join(parts)
        outer_kind, outer_parts, outer_wordings = self.open[-1]
        if kind in ("default", "wording") and outer_kind == "switch":
            outer_wordings.append((kind == "default", text))
        elif kind == "switch":
            chosen = [wording for default, wording in wordings if default] or [w for _, w in wordings]
            outer_parts.append(text + (chosen[0] if chosen else ""))
        elif kind != "wording":
            outer_parts.append(text)

    def handle_data(self, data: str) -> None:
        self.open[-1][1].append(data)

    def text(self) -> str:
        while len(self.open) > 1:
            self.handle_endtag("span")
        return "".join(self.open[0][1])


def paragraph_text(markup: str) -> str:
    """Return a paragraph's text as a reader sees it, white space collapsed.

    Of a passage with several wordings (for macOS, for each program) only the default one is kept.
    """
    if 'hidden="true"' in markup:
        parser = _Alternatives()
        parser.feed(markup)
        parser.close()
        text = parser.text()
    else:
        text = html.unescape(_TAG.sub("", markup))
    return _SPACE.sub(" ", text).strip()


def page_paragraphs(page: str) -> dict[str, str]:
    """Return the paragraphs and headings of one help page by id, without the navigation around them."""
    start = page.find('id="DisplayArea"')
    paragraphs: dict[str, str] = {}
    for match in _PARAGRAPH.finditer(page, max(start, 0)):
        identifier = match[2]
        if identifier.startswith(_IDENTIFIER_ROWS) or identifier in paragraphs:
            continue
        text = paragraph_text(match[3])
        if text:
            paragraphs[identifier] = text
    return paragraphs


def read_help(deb: Path) -> tuple[str, PageParagraphs]:
    """Return the language and the paragraphs of all pages of a libreoffice-help package.

    Args:
        deb: The package file.

    Returns:
        The language's code as in the package (such as `pt-BR`), and the pages in the order of their names.

    Raises:
        AssetError: The package is damaged or holds no help pages.
    """
    language, pages = "", {}
    for name, content in read_deb(deb, lambda name: bool(_TEXT_FILE.match(name))):
        match = _TEXT_FILE.match(name)
        if match:
            language = match[1]
            pages[match[2]] = page_paragraphs(content.decode("utf-8", "replace"))
    if not pages:
        raise AssetError(
            f"{deb.name} holds no help pages", "a libreoffice-help package", "fetch the asset again"
        )
    return language, {page: pages[page] for page in sorted(pages)}


def align(
    english: PageParagraphs, target: PageParagraphs, counts: Counter[str]
) -> Iterator[AlignedParagraph]:
    """Yield the translated paragraphs with their English ones, page by page; count the others by reason.

    Args:
        english: The English pages.
        target: The target language's pages.
        counts: Gets, for each paragraph of the target language, what became of it.

    Yields:
        Paragraphs that the target language really translates.
    """
    for page, paragraphs in target.items():
        originals = english.get(page, {})
        for identifier, text in paragraphs.items():
            counts["paragraphs"] += 1
            original = originals.get(identifier)
            reason = untranslated(original, text)
            if reason:
                counts[f"dropped: {reason}"] += 1
            elif original is not None:
                yield AlignedParagraph(page, identifier, original, text)


def is_broken(text: str) -> bool:
    """Whether a paragraph shows that a passage of another page is missing from it."""
    return bool(_BROKEN.search(text))


def untranslated(english: str | None, target: str) -> str | None:
    """Return why a paragraph is not text of the target language, or None where it is."""
    if english is None:
        return "no English counterpart"
    if target == english:
        return "identical to English"
    if is_broken(target):
        return "broken inclusion"
    words = [word.casefold() for word in _WORD.findall(target)]
    if not words:
        return "no words"
    known = {word.casefold() for word in _WORD.findall(english)}
    # By letters, since a run of Japanese without a blank is one word here.
    shared = sum(len(word) for word in words if word in known)
    if shared >= MOSTLY_ENGLISH * sum(map(len, words)):
        return "mostly English words"
    return None
