"""Sentences of a text, and everything between them kept as it is: lines, list marks, blanks."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


ABBREVIATIONS: dict[str, frozenset[str]] = {
    "en": _listed(
        "mr mrs ms dr prof sr jr st rev gen col capt lt sgt gov sen rep hon pres vs etc cf al approx dept est inc "
        "ltd co corp bros ave blvd rd jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri "
        "e.g i.e a.m p.m u.s u.k u.n ph.d"
    ),
    "de": _listed("hr fr dr prof bzw ca usw evtl ggf inkl vgl z.b d.h u.a z.t s.o st str mio mrd sog"),
    "es": _listed("sr sra srta dr dra ud uds vd ee.uu etc av avda prof p.ej aprox"),
    "fr": _listed("m mm mme mlle dr etc av p.ex c.-à-d env prof st ste"),
    "it": _listed("sig dott prof ecc avv ing p.es"),
    "pt": _listed("sr sra dr dra prof etc av p.ex exmo"),
}
"""Words, in small letters and without their last dot, after which a dot ends no sentence; by language."""

_BEFORE_NUMBERS = _listed("no nos nr fig figs p pp vol art sec ch eq pág núm tab abb")
"""After these a dot ends no sentence if a digit follows."""

_ORDINAL_DOTS = frozenset({"de", "da", "nb", "fi", "cs", "sk", "hr", "sl", "hu", "et", "tr"})
"""Languages that write an ordinal number as digits and a dot."""

_LINE = re.compile(r"([^\n\r]*)([\n\r]*)")
_LIST_MARK = re.compile(r"\s*(?:(?:[-*+•‣◦–—]|\(?\d{1,3}[.)]|\(?[A-Za-z]\)|[A-H]\.|#{1,6}|>+|\|)\s+|\|)*")
_END = re.compile(
    r"""(?P<spaced>[.!?…؟۔։]+[\"'”’»)\]*_]*)\s+|[。！？｡]+[」』”’）】]*\s*|[।॥]+\s*|[።፧။]+\s*|\s*\|\s*"""
)
_LONGEST_WORD = 40
_LAST_WORD = re.compile(r"([^\s(\[\"'“‘]+)$")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text.

    Attributes:
        text: The characters.
        is_sentence: Whether it is for translating; else it is kept as it is.
    """

    text: str
    is_sentence: bool


def split_segments(
    text: str, *, language: str = "en", whole: Sequence[tuple[int, int]] = ()
) -> list[Segment]:
    """Cut a text into sentences and what lies between them; all parts together are the text again.

    A line's end always ends a sentence. So do dots, question and exclamation marks before white space, unless what
    follows begins with a small letter or the word before is an abbreviation; the full stops of Chinese and Japanese and
    the danda also where no white space follows; and the bars of a table.

    Args:
        text: Any text.
        language: ISO 639-1 code, for abbreviations.
        whole: Start and end of passages that are not to be cut, in order.

    Returns:
        The parts in order; a sentence has no white space around it and at least one letter.
    """
    inside = _Inside(whole)
    segments: list[Segment] = []
    for line in _LINE.finditer(text):
        start, end = line.span(1)
        mark = _LIST_MARK.match(text, start, end)
        begin = mark.end() if mark is not None else start
        _keep(segments, text[start:begin])
        for cut, following in _cuts(text, begin, end, language, inside):
            _add(segments, text[begin:cut])
            _keep(segments, text[cut:following])
            begin = following
        _add(segments, text[begin:end])
        _keep(segments, line[2])
    return segments


class _Inside:
    """Says which places lie within passages that stay whole."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._starts, self._ends = [start for start, _ in spans], [end for _, end in spans]

    def __call__(self, place: int) -> bool:
        number = bisect_left(self._starts, place) - 1
        return number >= 0 and place < self._ends[number]


def _cuts(text: str, begin: int, end: int, language: str, inside: _Inside) -> Iterator[tuple[int, int]]:
    """Yield, for each end of a sentence within a line, where the sentence ends and where the next one begins."""
    table = "|" in text[max(0, begin - 4) : begin]
    for match in _END.finditer(text, begin, end):
        if inside(match.start()) or inside(match.end()):
            continue
        stop = match.end("spaced")
        if stop < 0:
            bar = "|" in match[0]
            if bar and not table:
                continue
            cut = match.start() if bar else match.start() + len(match[0].rstrip())
            yield cut, match.end()
        elif match.end() < end and _ends(text, begin, match.start(), stop, text[match.end()], language):
            yield stop, match.end()


def _ends(text: str, begin: int, dot: int, stop: int, following: str, language: str) -> bool:
    """Whether the marks in `text[dot:stop]` end a sentence, given the first character after the white space."""
    if following.islower():
        return False
    if text[dot:stop].strip("\"'”’»)]*_") != ".":
        return True
    word = _LAST_WORD.search(text, max(begin, dot - _LONGEST_WORD), dot)
    return word is None or not _is_abbreviation(word[1], following, language)


def _is_abbreviation(word: str, following: str, language: str) -> bool:
    """Whether the dot after a word belongs to it, given the first character after the white space."""
    small = word.lower()
    if small in ABBREVIATIONS.get(language, ABBREVIATIONS["en"]):
        return True
    if following.isdigit() and small in _BEFORE_NUMBERS:
        return True
    if small.isdigit():
        return language in _ORDINAL_DOTS
    # A single capital is an initial, as in J. S. Bach; "I" is a word too, and so may end a sentence.
    return len(word) == 1 and word.isupper() and word != "I"


def _keep(segments: list[Segment], text: str) -> None:
    if text:
        segments.append(Segment(text, False))


def _add(segments: list[Segment], text: str) -> None:
    """Add a stretch of a line as a sentence, the white space around it apart; kept if it has no letter."""
    core = text.strip()
    if not any(map(str.isalpha, core)):
        _keep(segments, text)
        return
    start = text.index(core)
    _keep(segments, text[:start])
    segments.append(Segment(core, True))
    _keep(segments, text[start + len(core) :])
