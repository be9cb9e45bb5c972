"""What a translation must hand back exactly: code, addresses, placeholders, numbers."""

import re
from collections import Counter
from dataclasses import dataclass

from lingraft.preference.code_lines import code_lines

BLOCKS = re.compile(
    r"(?ms)^[ \t]{0,40}(?P<fence>`{3,8}|~{3,8})[^`\n]*\n.*?(?:^[ \t]{0,40}(?P=fence)[^\n]*$|\Z)"
    r"|\$\$.{1,2000}?\$\$|\\\[.{1,2000}?\\\]|<(pre|code|script|style)\b[^<>]{0,200}>.{0,5000}?</\2>"
)
"""Passages that may go over several lines: fenced code, displayed formulas, HTML code."""

SPANS = re.compile(
    r"""
    (?P<ticks>`{1,3})[^`\n]{1,1000}(?P=ticks)                           # inline code
    | \\\([^\n]{1,500}?\\\) | \\\[[^\n]{1,500}?\\\] | \$\$[^\n$]{1,500}\$\$   # formulas
    | <(?P<tag>pre|code|script|style)\b[^<>\n]{0,200}>[^\n]{0,1000}?</(?P=tag)>
    | \b(?:https?|ftp|file)://[^\s<>"'`]{0,2000}[^\s<>"'`.,;:!?)\]}*_]
    | \bwww\.[^\s<>"'`]{0,2000}[^\s<>"'`.,;:!?)\]}*_]
    | (?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}\.[A-Za-z]{2,24}\b
    | </?[A-Za-z][\w:-]{0,40}(?:\s[^<>\n]{0,500})?/?>
    | &(?:[A-Za-z][a-z]{1,30}\d{0,2}|\#\d{1,7}|\#x[0-9A-Fa-f]{1,6});
    | \{\{[^{}\n]{0,200}\}\} | \{%[^{}\n]{0,200}%\} | \$?\{[^{}\n]{0,200}\}
    | (?<![\d%])%(?:\([A-Za-z_]\w{0,60}\)|\d{1,2}\$)?[-+0\#]?\d{0,3}(?:\.\d{1,3})?[sdifuxXeEgGcr](?![A-Za-z])
    | ⟦[^⟦⟧\n]{0,20}⟧ | \[\s{0,3}\d{1,6}\s{0,3}\]                         # what looks like our own masks
    """,
    re.VERBOSE,
)
"""Passages within a line. All lengths are bounded, so that no text takes long."""

NUMBERS = re.compile(r"(?<!\w)\d+(?:[.,:/\-]\d+)*%?(?!\w)")
_ANY_NUMBER = re.compile(r"\d+(?:[.,:/\-]\d+)*%?")


@dataclass(frozen=True, slots=True)
class Masked:
    """A text with its protected passages hidden.

    Attributes:
        text: The text, each protected passage replaced by a mask with its number.
        passages: The passages, by their numbers.
        mask: How a mask is written, `{}` for its number.
    """

    text: str
    passages: tuple[str, ...]
    mask: str

    def restore(self, translation: str) -> str | None:
        """Put the passages back.

        Args:
            translation: What an engine made of `text`; white space within a mask is let pass.

        Returns:
            The translation with its passages, or None where a mask is lost, repeated or made up.
        """
        before, after = self.mask.split("{}")
        found = re.compile(rf"{re.escape(before)}\s*(\d+)\s*{re.escape(after)}")
        numbers = [int(number) for number in found.findall(translation)]
        if sorted(numbers) != list(range(len(self.passages))):
            return None
        return found.sub(lambda match: self.passages[int(match[1])], translation)


def protected_spans(text: str, *, numbers: bool = False) -> list[tuple[int, int]]:
    """Find what a translation must not touch.

    Args:
        text: Any text.
        numbers: Numbers too.

    Returns:
        Start and end of each passage, in order, none overlapping.
    """
    spans = code_blocks(text)
    for pattern in (SPANS, NUMBERS) if numbers else (SPANS,):
        # The whole text is searched, so that a pattern sees what stands before and after a gap.
        found = [match.span() for match in pattern.finditer(text)]
        spans = sorted([*spans, *_outside(found, spans)])
    return spans


def code_blocks(text: str) -> list[tuple[int, int]]:
    """Return start and end of the passages that go over several lines, in order: fenced, or looking like code."""
    spans = [match.span() for match in BLOCKS.finditer(text) if "\n" in match[0]]
    return sorted([*spans, *_outside(code_lines(text), spans)])


def mask_passages(text: str, mask: str, *, numbers: bool = False) -> Masked:
    """Hide what a translation must hand back exactly.

    Args:
        text: Any text.
        mask: How a mask is written, `{}` for its number.
        numbers: Hide numbers too.

    Returns:
        The text with masks, and what is behind them.
    """
    parts: list[str] = []
    passages: list[str] = []
    last = 0
    for start, end in protected_spans(text, numbers=numbers):
        parts += [text[last:start], mask.format(len(passages))]
        passages.append(text[start:end])
        last = end
    return Masked("".join([*parts, text[last:]]), tuple(passages), mask)


def numbers_kept(text: str, translation: str) -> bool:
    """Whether each number of a text is in its translation, as often and written in the same way."""
    return Counter(NUMBERS.findall(text)) <= Counter(_ANY_NUMBER.findall(translation))


def without_passages(text: str) -> str:
    """Return a text without code, addresses, placeholders and numbers: what its language shows in."""
    parts, last = [], 0
    for start, end in protected_spans(text, numbers=True):
        parts.append(text[last:start])
        last = end
    return " ".join([*parts, text[last:]])


def _outside(found: list[tuple[int, int]], spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those of `found` that touch none of `spans`; both are in order and free of overlaps."""
    free, place = [], 0
    for start, end in found:
        while place < len(spans) and spans[place][1] <= start:
            place += 1
        if place == len(spans) or end <= spans[place][0]:
            free.append((start, end))
    return free
