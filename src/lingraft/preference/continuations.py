"""Paired items from parallel lines: a line is the instruction, the line that follows it is the answer.

These are continuations, no questions: they teach a model to go on in the language of what it was given, and no more.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from lingraft.corpora.file_kinds import READ_ERRORS, open_lines, unreadable
from lingraft.corpora.records import BadRecord, decoded_lines
from lingraft.corpora.rejects import Rejects
from lingraft.errors import CorpusError
from lingraft.preference.aligned import PROMPT, Candidate, Wording
from lingraft.preference.items import PairedItem
from lingraft.preference.translation_filters import reading_length

BLOCK_LINES = 40
"""Our choice: so many lines stand for a document where no blank line ends one."""
BLANK = ("", "")
Line = tuple[str, str] | None


def read_parallel(
    english: Path, target: Path, *, rejects: Path | None = None, maximum_bad_lines: int = 1000
) -> tuple[list[Line], dict[str, int]]:
    """Read two text files of which the same lines say the same.

    Args:
        english: English lines in UTF-8 (`.gz`, `.zst`, `.xz` and `.bz2` too).
        target: The same lines in the target language.
        rejects: JSON-lines file for bad lines.
        maximum_bad_lines: How many bad lines to go on after.

    Returns:
        The pairs of lines, without white space around them, None where a line is bad in either file; and how many were
        bad, by reason.

    Raises:
        CorpusError: A file is missing or unreadable, there are too many bad lines, or the files differ in length.
    """
    pairs: list[Line] = []
    numbers = [0, 0]
    with Rejects(rejects, maximum_bad_lines) as bad:
        for lines in zip_longest(_lines(english), _lines(target)):
            numbers = [number + (line is not None) for number, line in zip(numbers, lines, strict=True)]
            texts = [line for line in lines if isinstance(line, str)]
            for path, line in zip((english, target), lines, strict=True):
                if isinstance(line, BadRecord):
                    bad.add(str(path), line)
            pairs.append((texts[0].strip(), texts[1].strip()) if len(texts) == 2 else None)
    if numbers[0] != numbers[1]:
        raise CorpusError(
            f"{english} with {numbers[0]:,} lines and {target} with {numbers[1]:,}",
            "as many lines in both, each the translation of the other",
            "give the two files of one parallel corpus",
        )
    return pairs, bad.reasons


def continuation_items(
    pairs: Sequence[Line],
    target_language: str,
    *,
    name: str,
    counts: Counter[str],
    wording: Wording | None = None,
    minimum_characters: int = 20,
    maximum_characters: int = 600,
) -> Iterator[Candidate]:
    """Yield an item for every second line: it is the instruction, the next line the answer; no line is in two items.

    Lines that are blank in both files end a document. Where there are none, documents are not known: stretches of
    `BLOCK_LINES` lines take their place, so that held-out items lie a stretch apart from others and not between them.
    An item may then reach over the end of an article.

    Args:
        pairs: Lines in both languages.
        target_language: The target language's code.
        name: Begins the names of documents and items.
        counts: Gets the pairs of lines that give no item, by reason.
        wording: Puts both prompts into words.
        minimum_characters: Of each text, in either language; a character of Chinese or Japanese counts as three.
        maximum_characters: Of each text, in either language.

    Yields:
        Candidate: The items, not filtered.
    """
    words = wording or Wording()
    for document, first, lines in _documents(pairs):
        for start in range(0, len(lines) - 1, 2):
            counts["pairs of lines"] += 1
            (english, target), (next_english, next_target) = lines[start : start + 2]
            texts = (english, target, next_english, next_target)
            sizes = [reading_length(text) for text in texts]
            if min(sizes) == 0:
                counts["no item: a line without its translation"] += 1
            elif min(sizes) < minimum_characters:
                counts["no item: too short"] += 1
            elif max(map(len, texts)) > maximum_characters:
                counts["no item: too long"] += 1
            else:
                item = PairedItem(
                    words.english.replace(PROMPT, english),
                    next_english,
                    words.target.replace(PROMPT, target),
                    next_target,
                    target_language,
                    f"{name}:{first + start}",
                )
                yield Candidate(f"{name}:{document}", item)


def _documents(pairs: Sequence[Line]) -> Iterator[tuple[int, int, list[tuple[str, str]]]]:
    """Yield the number of each document, that of its first line (from 1), and its lines."""
    last = max((number for number, pair in enumerate(pairs, start=1) if pair != BLANK), default=0)
    known = BLANK in pairs[:last]
    lines: list[tuple[str, str]] = []
    document = 1
    for number, pair in enumerate(pairs[:last], start=1):
        if pair != BLANK:
            lines.append(pair or BLANK)
        ended = pair == BLANK or number == last if known else len(lines) == BLOCK_LINES or number == last
        if ended and lines:
            yield document, number - len(lines) + (pair != BLANK), lines
            document, lines = document + 1, []


def _lines(path: Path) -> Iterator[str | BadRecord]:
    if not path.is_file():
        raise CorpusError(f"no file {path}", "a text file of parallel lines", "check the path")
    try:
        with open_lines(path) as lines:
            for _, line in decoded_lines(lines):
                yield line
    except READ_ERRORS as error:
        raise unreadable(str(path), error) from error
