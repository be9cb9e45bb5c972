"""Write docs/errors.md: each bad input of the modules of cases, and the lines that the real command line prints for it.

python benchmarks/error_lines.py            # write the page
python benchmarks/error_lines.py --only nan # print the lines of the cases whose names hold this
"""

import argparse
import contextlib
import io
import os
import shlex
import shutil
import sys
import tempfile
import unittest.mock
import warnings
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from error_cases import CASES, GROUPS, Case
from recipe_error_cases import RECIPE
from run_error_cases import RECIPE_CASES, RECIPE_GROUPS
from tiny_world import make_world

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
HEAD = """\
# What bad input gets

One line on stderr, `error: what was found; expected what; what to do`, exit status 2, nothing on stdout and nothing
half-written. The lines below come from the real command line on tiny models: `python benchmarks/error_lines.py` writes
this page, and `tests/cli/test_bad_inputs.py` holds the program to it. The commands run in a directory with a causal
language model `model`, an encoder `donor`, a tokenizer `target` and `corpus.txt`.

Recipes are checked whole before anything runs, and all their faults are told at once, a line each, with the file's
line; `tests/cli/test_bad_recipes.py` holds to that part.

A line of text that is not valid UTF-8, or JSON without a text, is no error by itself: up to 1,000 such lines are
counted, named in the result with their reason, and passed over.
"""

PRELUDES = {
    next(iter(RECIPE_GROUPS)): f"""\
The recipe that is spoilt is this one, which is valid; of each bad one the changed lines are shown, with their numbers.

```yaml
{RECIPE}```
"""
}
"""What stands under the title of a group."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit status, its two streams, and what it left in its directory."""

    status: int
    out: str
    err: str
    left: frozenset[str]


def run_case(case: Case, template: Path, directory: Path) -> Outcome:
    """Copy the world, spoil it, and run the command in the copy.

    Args:
        case: The bad input.
        template: A world as `make_world` makes it.
        directory: Where the copy is made; it must not exist.

    Returns:
        The outcome. The copy's path reads `.` in the streams; `left` is what the command added to the spoilt world, the
        asset cache left out, where a fetch keeps its locks.
    """
    from lingraft.cli.app import main

    shutil.copytree(template, directory)
    case.spoil(directory)
    before = listing(directory)
    out, err = io.StringIO(), io.StringIO()
    # The offline switch is read when the hub's client is imported, so it holds for all cases.
    environment = {"HF_HUB_OFFLINE": "1", "COLUMNS": "100", **case.environment}
    with (
        contextlib.chdir(directory),
        unittest.mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        case.patch(),
    ):
        os.environ.pop("LINGRAFT_DEBUG", None)
        status = main(shlex.split(case.command))
    streams = [stream.getvalue().replace(str(directory.resolve()), ".") for stream in (out, err)]
    left = {name for name in listing(directory) - before if not name.startswith("cache")}
    return Outcome(status, *streams, frozenset(left))


def listing(directory: Path) -> set[str]:
    """Return all paths below a directory, as they are written relative to it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def page(lines: dict[str, str]) -> str:
    """Return the page from each case's line."""
    parts = [HEAD]
    for title, group in {**GROUPS, **RECIPE_GROUPS}.items():
        parts.append(f"\n## {title}\n")
        if title in PRELUDES:
            parts.append(f"\n{PRELUDES[title]}")
        for name, case in group.items():
            shown = f"```text\n{case.shows.rstrip()}\n```\n\n" if case.shows.strip() else ""
            parts.append(
                f"\n**{case.what}** (`{name}`)\n\n{shown}"
                f"```text\n$ lingraft {case.command}\n{lines[name]}\n```\n"
            )
    return "".join(parts)


def error_lines(outcome: Outcome) -> str:
    """Return what a command said of errors, without its progress before that."""
    return "\n".join(line for line in outcome.err.splitlines() if line.startswith("error: "))


def main() -> None:
    """Run every case and write the page."""
    from lingraft.cli.output import quiet_libraries

    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="print the lines of cases whose names hold this, and write nothing")
    only = parser.parse_args().only
    lines = {}
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        template.mkdir()
        make_world(template)
        for name, case in {**CASES, **RECIPE_CASES}.items():
            if only and only not in name:
                continue
            outcome = run_case(case, template, Path(folder) / name)
            lines[name] = error_lines(outcome)
            several = name not in RECIPE_CASES and outcome.err.count("\n") != 1
            wrong = outcome.status != 2 or several or not lines[name] or outcome.out or outcome.left
            if only or wrong:
                print(
                    f"{name}: status {outcome.status}, left {sorted(outcome.left)}\n{outcome.out}{outcome.err}"
                )
    if not only:
        PAGE.write_text(page(lines), encoding="utf-8")
        print(PAGE)


if __name__ == "__main__":
    main()
