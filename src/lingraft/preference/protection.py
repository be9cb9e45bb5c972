"""What a translation must hand back exactly: code, addresses, placeholders, numbers."""

import re
from collections import Counter
from dataclasses import dataclass

from lingraft.preference.code_lines import code_lines

BLOCKS = re.compile(
    r"(?ms)^[ \t]*(?P<fence>```+|~~~+)[^\n]*\n.*?(?:^[ \t]*(?P=fence)[^\n]*$|\Z)"
    r"|\$\$.+?\$\$|\\\[.+?\\\]|<(pre|code|script|style)\b[^>]*>.*?</\2>"
)
"""Passages that may go over several lines: fenced code, displayed formulas, HTML code."""

SPANS = re.compile(
    r"""
    (?P<ticks>`{1,3})[^`\n]+(?P=ticks)                                  # inline code
    | \\\([^\n]+?\\\) | \\\[[^\n]+?\\\] | \$\$[^\n]+?\$\$                    # formulas
    | <(?P<tag>pre|code|script|style)\b[^>\n]*>[^\n]*?</(?P=tag)>
    | \b(?:https?|ftp|file)://[^\s<>"'`]*[^\s<>"'`.,;:!?)\]}*_]
    | \bwww\.[^\s<>"'`]*[^\s<>"'`.,;:!?)\]}*_]
    | \b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b
    | </?[A-Za-z][\w:-]*(?:\s[^<>\n]*)?/?>
    | &(?:[A-Za-z][a-z]{1,30}\d{0,2}|\#\d+|\#x[0-9A-Fa-f]+);
    | \{\{[^{}\n]*\}\} | \{%[^{}\n]*%\} | \$?\{[^{}\n]*\}
    | (?<![\d%])%(?:\([A-Za-z_]\w*\)|\d+\$)?[-+0\#]?\d*(?:\.\d+)?[sdifuxXeEgGcr](?![A-Za-z])
    | ⟦[^⟦⟧\n]*⟧ | \[\s*\d+\s*\]                                        # what looks like our own masks
    """,
    re.VERBOSE,
)
"""Passages within a line."""

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
        gaps = _gaps(spans, len(text))
        # The whole text is searched, so that a pattern sees what stands before and after a gap.
        found = [match.span() for match in pattern.finditer(text)]
        spans += [span for span in found if _in_one_gap(span, gaps)]
        spans.sort()
    return spans


def code_blocks(text: str) -> list[tuple[int, int]]:
    """Return start and end of the passages that go over several lines, in order: fenced, or looking like code."""
    spans = [match.span() for match in BLOCKS.finditer(text) if "\n" in match[0]]
    gaps = _gaps(spans, len(text))
    return sorted([*spans, *(span for span in code_lines(text) if _in_one_gap(span, gaps))])


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


def _gaps(spans: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    starts = [0, *(end for _, end in spans)]
    return list(zip(starts, [*(start for start, _ in spans), length], strict=True))


def _in_one_gap(span: tuple[int, int], gaps: list[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in gaps)
