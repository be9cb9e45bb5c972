"""Code that stands in a text without a fence around it, told by how its lines look (our rules)."""

import re

_STATEMENT = re.compile(
    r"""\s*(?:
    (?:async\s+)?def\s+\w+\s*\(.*|class\s+\w+\s*[(:{].*|(?:if|elif|while|for|with|switch|catch)\b.*[:{]\s*
    |(?:else|try|finally|do)\s*[:{]?\s*|except\b.*:\s*
    |import\s+[\w.*{} ,]+;?|from\s+[\w.]+\s+import\s+.+|\#include\s*[<"].*|using\s+[\w.:]+;|package\s+[\w.]+;?
    |return\b(?:\s+[\w.\-+*/()\[\]{}"',\s=<>!:?&|]+)?;?|print(?:f|ln)?\s*\(.*|console\.log\s*\(.*
    |(?:public|private|protected|static|function|func|fn|var|let|const|int|float|double|char|void|bool|String)\b.*[({;=].*
    |(?:SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|CREATE\s+TABLE|FROM|WHERE|GROUP\s+BY|ORDER\s+BY|INNER\s+JOIN|JOIN)\s.*
    |[\w.\[\]"']+\s*(?:[-+*/%|&]?=)\s*\S.*|[\w.]+\([^()]*(?:\([^()]*\)[^()]*)*\)\s*;?
    |[\])}]+[;,)]*|@\w[\w.]*(?:\(.*\))?|\#!.*|\$\s+\w.*|>>>\s.*
    |[^\s\-*•].*[=(<\[].*[;{]\s*
    )$""",
    re.VERBOSE,
)
LONGEST_LINE = 300
"""Characters: a longer line is not looked at."""
_INDENTED = re.compile(r"(?: {2,}|\t)\s*\S")
_PROSE = re.compile(r"\s*[A-Z][a-z]+(?:\s+[a-z]+){2,}")
"""Begins like a sentence: a capital, then small words."""


def code_lines(text: str) -> list[tuple[int, int]]:
    """Find runs of lines that are code: two or more statements, with what is indented or commented between them.

    Args:
        text: Any text.

    Returns:
        Start and end of each run, in order, without the line break after it.
    """
    runs: list[tuple[int, int]] = []
    start = end = -1
    statements, place = 0, 0
    for line in [*text.split("\n"), "."]:
        after = place + len(line)
        if len(line) <= LONGEST_LINE and _STATEMENT.match(line) and not _PROSE.match(line):
            start = place if start < 0 else start
            end, statements = after, statements + 1
        elif start >= 0 and line.strip() and not _belongs(line):
            if statements >= 2:
                runs.append((start, end))
            start, statements = -1, 0
        elif start >= 0 and line.strip():
            end = after
        place = after + 1
    return runs


def _belongs(line: str) -> bool:
    """Whether a line within code that is no statement goes with it: it is indented, or a comment."""
    return bool(_INDENTED.match(line)) or line.lstrip().startswith(("#", "//", "/*", "*", '"""', "--"))
