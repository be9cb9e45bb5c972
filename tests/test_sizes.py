"""The sizes that CONTRIBUTING.md promises: files of 300 lines, function bodies of 60."""

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
MOST_LINES, MOST_IN_A_BODY = 300, 60


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def too_long(source: str) -> list[str]:
    """What is beyond the sizes, each with its lines."""
    lines = len(source.splitlines())
    found = [f"the file: {lines}"] if lines > MOST_LINES else []
    functions = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return found + [f"{f.name}: {body_lines(f)}" for f in functions if body_lines(f) > MOST_IN_A_BODY]


@pytest.mark.parametrize("lines", [60, 61])
def test_a_docstring_is_not_counted(lines):
    docstring = "    " + '"' * 3 + "One.\n\n" + "    more\n" * 30 + "    " + '"' * 3 + "\n"
    source = "def grown(\n    a,\n):\n" + docstring + "    a = 1\n" * lines
    assert too_long(source) == ([] if lines == 60 else ["grown: 61"])


def test_everything_is_within_them():
    found = {str(file): too_long(file.read_text(encoding="utf-8")) for file in SOURCES}
    assert len(found) > 300
    assert {file: problems for file, problems in found.items() if problems} == {}
