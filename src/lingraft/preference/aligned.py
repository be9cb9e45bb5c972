"""Paired items from aligned documents: a heading is the instruction, the text under it is the answer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lingraft.assets.libreoffice import AlignedParagraph, untranslated
from lingraft.corpora.reading import MAXIMUM_BAD_LINES, read_documents
from lingraft.errors import ConfigError, CorpusError
from lingraft.preference.items import PairedItem
from lingraft.preference.translation_filters import reading_length

HEADING = "hd"
"""What the ids of headings begin with, as LibreOffice names them."""
PROMPT = "{prompt}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A paired item that has not been filtered yet.

    Attributes:
        document: The document it comes from: items of one are never divided between training and held out.
        item: The item.
    """

    document: str
    item: PairedItem


@dataclass(frozen=True, slots=True)
class Wording:
    """How instructions are worded, the same in both languages.

    Attributes:
        english: Text with `{prompt}` in it, such as `Explain: {prompt}`.
        target: The same in the target language.
    """

    english: str = PROMPT
    target: str = PROMPT

    def __post_init__(self) -> None:
        for text in (self.english, self.target):
            if PROMPT not in text:
                raise ConfigError(
                    f"the wording {text!r}", f"a text with {PROMPT} in it", "write where the prompt stands"
                )


@dataclass(slots=True)
class _Part:
    """A heading and what stands under it so far."""

    heading: AlignedParagraph
    number: int
    body: list[AlignedParagraph] = field(default_factory=list)
    closed: bool = False


def read_aligned(
    path: Path, *, rejects: Path | None = None, maximum_bad_lines: int = MAXIMUM_BAD_LINES
) -> Iterator[AlignedParagraph]:
    """Read aligned paragraphs: lines of document, id, English, target, tabs between; in the documents' order.

    A row whose id begins with `hd` is a heading. For a paragraph without a translation leave the last column empty; do
    not leave the row out, as it says what stands under which heading.

    Args:
        path: A `.tsv` file without a header line, or a directory that holds it as `pairs.tsv`.
        rejects: JSON-lines file for bad lines.
        maximum_bad_lines: How many bad lines to go on after.

    Yields:
        AlignedParagraph: The rows.

    Raises:
        CorpusError: The file is missing or unreadable, a row has other than four columns, or there are too many bad
            lines.
    """
    file = path / "pairs.tsv" if path.is_dir() else path
    if not file.is_file():
        raise CorpusError(
            f"no file {file}",
            "lines of document, id, English, target, or a directory with them as pairs.tsv",
            "check the path, or name an asset: lingraft assets list",
        )
    rows = read_documents(file, text_field="1", rejects=rejects, maximum_bad_lines=maximum_bad_lines)
    for row in rows:
        cells = row.meta
        if set(cells) != {"2", "3", "4"}:
            raise CorpusError(
                f"{row.id} with {len(cells) + 1} columns", "document, id, English, target", "correct the line"
            )
        yield AlignedParagraph(row.text, *(str(cells[name]).strip() for name in ("2", "3", "4")))


def section_items(
    rows: Iterable[AlignedParagraph],
    target_language: str,
    *,
    counts: Counter[str],
    wording: Wording | None = None,
    minimum_characters: int = 20,
    maximum_characters: int = 600,
) -> Iterator[Candidate]:
    """Yield an item for each heading that has text under it in both languages.

    The instruction is the heading, after the document's title and a colon where it is not the title itself. The answer
    is the paragraphs under it, as many whole ones as fit, up to the next heading or the first one that is not
    translated. A heading is the same heading for all below it up to the next, of whatever level.

    Args:
        rows: Paragraphs in the documents' order, none left out.
        target_language: The target language's code.
        counts: Gets the headings that give no item, by reason.
        wording: Puts both prompts into words.
        minimum_characters: Of an answer, in either language; a character of Chinese or Japanese counts as three.
        maximum_characters: Of an answer, in either language.

    Yields:
        Candidate: The items, not filtered.
    """
    page, title, sizes = None, None, (minimum_characters, maximum_characters)
    part: _Part | None = None

    def settled() -> Iterator[Candidate]:
        if part is not None:
            counts["headings"] += 1
            found = _item(part, title, target_language, wording or Wording(), sizes)
            if isinstance(found, Candidate):
                yield found
            else:
                counts[f"no item: {found}"] += 1

    for row in rows:
        if row.page != page:
            yield from settled()
            page, title, part = row.page, None, None
        if row.id.startswith(HEADING):
            yield from settled()
            title = title or row
            part = _Part(row, 0 if part is None else part.number + 1)
        elif part is None or part.closed:
            continue
        elif untranslated(row.english, row.target):
            part.closed = True
        else:
            part.body.append(row)
    yield from settled()


def _item(
    part: _Part, title: AlignedParagraph | None, language: str, wording: Wording, sizes: tuple[int, int]
) -> Candidate | str:
    """Return a heading's item, or why there is none."""
    heading = part.heading
    if not heading.target:
        return "heading without a translation"
    if not part.body:
        return "text under it not translated" if part.closed else "no text under it"
    english, target = part.body[0].english, part.body[0].target
    least, most = sizes
    if max(len(english), len(target)) > most:
        return "too long"
    for row in part.body[1:]:
        longer = f"{english}\n{row.english}", f"{target}\n{row.target}"
        if max(map(len, longer)) > most:
            break
        english, target = longer
    if min(map(reading_length, (english, target))) < least:
        return "too short"
    prompts = heading.english, heading.target
    if title is not None and title is not heading and title.target:
        prompts = f"{title.english}: {heading.english}", f"{title.target}: {heading.target}"
    return Candidate(
        heading.page,
        PairedItem(
            wording.english.replace(PROMPT, prompts[0]),
            english,
            wording.target.replace(PROMPT, prompts[1]),
            target,
            language,
            f"{heading.page}#{heading.id}",
        ),
    )
