"""The documentation against the program: commands parse, links lead somewhere, examples run, named code is there."""

import ast
import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.exceptions import TyperException
from typer.main import get_command

from lingraft.cli.app import NOUNS, app

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "lingraft"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDES = [page for page in PAGES if page.parent.name != "results" and page.name != "CHANGELOG.md"]
BUILTIN = sorted((SOURCE / "recipes" / "builtin").glob("*.yaml"))
METHOD_PAGES = ["vocabulary", "pivots", "preference", "patching"]
_PROGRAM = r"(?:lingraft|accelerate launch (?:\S+ )*?-m lingraft\.cli\.app)"
_COMMAND = re.compile(rf"(?:\$ )?(?:[A-Z_]+=\S+ )*{_PROGRAM} (.*)")
_FOREIGN_OPTIONS = {"--num_processes", "--config_file"}
"""Options of other programs that the pages name."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Fence:
    """A fenced code block."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    """Go through a page's fenced code blocks."""
    begun: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif begun is None:
            begun, lines = (number, line[3:].strip()), []
        else:
            yield Fence(page, *begun, "\n".join(lines) + "\n")
            begun = None
    assert begun is None, f"{name_of(page)}: the block of line {begun} is not closed"


def prose(page: Path) -> str:
    """Return a page without its fenced blocks, line breaks inside paragraphs made blanks."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    return re.sub(r"(?<=\S)\n(?=[^\s#|-])", " ", text)


@dataclass(frozen=True)
class Line:
    """A command line somewhere."""

    place: str
    text: str
    whole: bool
    """It stands as a command to type, not in the middle of a sentence."""

    def __str__(self) -> str:
        return f"{self.place} {self.text}"


def command_lines() -> Iterator[Line]:
    """Go through every `lingraft ...` of the guides and the built-in recipes."""
    for page in GUIDES:
        for block in fences(page):
            if block.info not in {"sh", "bash", "console", ""}:
                continue
            for line in block.text.replace("\\\n", " ").splitlines():
                if found := _COMMAND.match(line):
                    yield Line(str(block), " ".join(found[1].split()), True)
        for found in re.findall(rf"`{_PROGRAM} ([^`]+)`", prose(page)):
            yield Line(name_of(page), found, False)
    for recipe in BUILTIN:
        for number, line in enumerate(recipe.read_text(encoding="utf-8").splitlines(), 1):
            quoted = re.findall(r"^#.*?`lingraft ([^`]+)`", line)
            bare = re.findall(r"^#(?: [^`]*)?\blingraft ((?:" + "|".join(NOUNS) + r") [^`]*)$", line)
            for text in [*quoted, *bare]:
                yield Line(f"{name_of(recipe)}:{number}", text, bool(bare))
    for name, command in commands():
        for line in (command.epilog or "").replace("\\\n", " ").splitlines():
            if found := _COMMAND.match(line.strip()):
                yield Line(f"{name} --help", " ".join(found[1].split()), True)


def commands() -> Iterator[tuple[str, Any]]:
    """Go through the program's commands."""
    yield "lingraft", get_command(app)
    for noun, (place, _) in NOUNS.items():
        module, _, attribute = place.partition(":")
        command: Any = get_command(getattr(importlib.import_module(module), attribute))
        yield noun, command
        for verb, leaf in getattr(command, "commands", {}).items():
            yield f"{noun} {verb}", leaf


LINES = list(dict.fromkeys(command_lines()))


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words name, and the words after its name."""
    if words[0] in {"--version", "--help"}:
        return get_command(app), []
    assert words[0] in NOUNS, f"lingraft has no {words[0]!r}"
    module, _, attribute = NOUNS[words[0]][0].partition(":")
    command: Any = get_command(getattr(importlib.import_module(module), attribute))
    rest = words[1:]
    if getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"lingraft {words[0]} has no {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def option_names(command: Any) -> set[str]:
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"--help", "-h"}


@pytest.mark.parametrize("line", LINES, ids=str)
def test_commands_are_as_the_program_takes_them(line: Line) -> None:
    words = shlex.split(line.text, comments=True)
    if len(words) > 1 and "|" in words[1]:
        # `lingraft recipes list|copy|validate` names several.
        for verb in words[1].split("|"):
            resolve([words[0], verb])
        return
    command, rest = resolve(words)
    if line.whole and "..." not in words:
        try:
            parsed = command.make_context("lingraft", rest).params
        except TyperException as error:
            raise AssertionError(error.format_message()) from error
        check_values(parsed)
    else:
        given = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert given <= option_names(command), f"no {', '.join(given - option_names(command))}"


def check_values(parsed: dict[str, Any]) -> None:
    """Check names that the command line takes as text and refuses later."""
    from lingraft.patching.sites import find_operator, patch_site
    from lingraft.preference.compare import read_arm
    from lingraft.preference.losses import OBJECTIVES
    from lingraft.preference.policies import check_policy
    from lingraft.recipes.preference.translation_engines import ENGINES
    from lingraft.vocabulary.initializers import find_initializer

    def own(method: str) -> None:
        if method != "auto" and method != "mymethods:halfway":
            find_initializer(method)

    checks = {
        "method": own,
        "methods": own,
        "site": patch_site,
        "operator": find_operator,
        "objective": OBJECTIVES.__getitem__,
        "parameters": check_policy,
        "arms": lambda arm: read_arm(arm, "attention"),
        "engine": lambda engine: ENGINES[engine.partition(":")[0]],
    }
    for name, check in checks.items():
        value = parsed.get(name)
        for part in value.split(",") if isinstance(value, str) else []:
            check(part)
    if isinstance(parsed.get("recipe"), str):
        check_recipe_words(parsed)


def check_recipe_words(parsed: dict[str, Any]) -> None:
    """A recipe that is no file is built in, and --set and --from name what it has."""
    from lingraft.recipes.checking.recipe import apply_changes
    from lingraft.recipes.checking.schema import Recipe
    from lingraft.recipes.stages.kinds import STAGES

    built_in = {path.stem: path for path in BUILTIN}
    name = parsed["recipe"]
    assert name in built_in or name.endswith(".yaml") or name.isupper(), f"no built-in recipe {name!r}"
    if name not in built_in:
        return
    content = yaml.safe_load(built_in[name].read_text(encoding="utf-8"))
    new, changed, faults = apply_changes(content, list(parsed.get("change") or ()))
    assert not faults, [fault.found for fault in faults]
    for keys in changed:
        if keys[0] == "stages":
            kind = (new["stages"][keys[1]] or {}).get("use", keys[1])
            assert keys[2] in STAGES[kind].settings.model_fields, f"stage {keys[1]} has no {keys[2]!r}"
        else:
            assert keys[0] in Recipe.model_fields
    assert parsed.get("start_from") in {None, *content["stages"]}, f"no stage {parsed['start_from']!r}"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_options_named_in_sentences_are_options(page: Path) -> None:
    known = set(_FOREIGN_OPTIONS)
    for _, command in commands():
        known |= option_names(command)
    spans = re.findall(r"`([^`]*)`", prose(page))
    spans = [
        span
        for span in spans
        if not span.startswith(("pip ", "python ", "git ", "ruff ", "mypy ", "accelerate ", "torchrun "))
    ]
    named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w-]+", span)}
    assert named <= known, f"{name_of(page)}: no {', '.join(sorted(named - known))}"


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for heading in re.findall(r"(?m)^#{1,6} +(.*?) *#*$", text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        names.add(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in slugs(place)):
            wrong.append(target)
    assert not wrong, f"{name_of(page)}: {', '.join(wrong)}"


def test_links_reach_every_page() -> None:
    reached, waiting = set(), [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#:]+)", page.read_text(encoding="utf-8")):
            waiting.append((page.parent / target).resolve())
    missed = [name_of(page) for page in GUIDES if page not in reached]
    assert not missed, f"no link leads to {', '.join(missed)}"


PYTHON = [block for page in PAGES for block in fences(page) if block.info.split(" ")[:1] == ["python"]]
RUN = [block for block in PYTHON if block.info == "python run"]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_examples_run(block: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lingraft.patching.sites import PATCH_SITES
    from lingraft.pivots.discovery import SCORES
    from lingraft.recipes.preference.translation_engines import ENGINES
    from lingraft.recipes.stages.kinds import STAGES
    from lingraft.vocabulary.initializers import INITIALIZERS

    monkeypatch.chdir(tmp_path)
    tables: list[dict[str, Any]] = [PATCH_SITES, SCORES, STAGES, ENGINES, INITIALIZERS]
    kept = [dict(table) for table in tables]
    try:
        # As a module of its own: dataclasses and pydantic look their names up there.
        # From a file of its own too, at the same lines: libraries that read the source of their caller find it.
        example = tmp_path / f"{block.page.stem}.py"
        example.write_text("\n" * block.line + block.text, encoding="utf-8")
        code = compile(example.read_text(encoding="utf-8"), str(example), "exec")
        exec(code, {"__name__": f"example_{block.line}"})
    finally:
        for table, before in zip(tables, kept, strict=True):
            table.clear()
            table.update(before)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_imports_of_examples_are_there(block: Fence) -> None:
    for statement in ast.walk(ast.parse(block.text)):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("lingraft"):
            module = importlib.import_module(str(statement.module))
            for alias in statement.names:
                assert hasattr(module, alias.name), f"{block}: {statement.module} has no {alias.name}"


RECIPES = [block for page in GUIDES for block in fences(page) if block.info == "yaml recipe"]


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_example_recipes_are_valid(block: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lingraft.recipes.checking.recipe import check_recipe
    from lingraft.recipes.checking.yaml_lines import parse_document

    monkeypatch.chdir(tmp_path)
    for value in yaml.safe_load(block.text).get("data", {}).values():
        if value.endswith((".txt", ".jsonl", ".tsv")) and not value.startswith("asset:"):
            Path(value).write_text("bat bi hiru\n", encoding="utf-8")
    check_recipe(parse_document(block.text, str(block)), str(block))


def defined(path: Path) -> set[str]:
    """Return the names that a file's top level defines or imports, and its classes' methods."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.add(statement.target.id)
    return names


def source_file(text: str) -> Path:
    return next((place / text for place in (SOURCE, ROOT) if (place / text).exists()), SOURCE / text)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_code_that_is_named_is_there(page: Path) -> None:
    wrong = []
    for span in re.findall(r"`((?:[\w.]+/)+\w+\.py(?:: [^`]+)?)`", prose(page)):
        path, _, names = span.partition(": ")
        file = source_file(path)
        if not file.exists():
            wrong.append(path)
        elif names:
            asked = [re.sub(r"\W.*", "", name.strip()) for name in names.split(",")]
            wrong += [f"{path}: {name}" for name in asked if name not in defined(file)]
    assert not wrong, f"{name_of(page)}: {'; '.join(wrong)}"


@pytest.mark.parametrize("name", METHOD_PAGES)
def test_the_way_to_the_maths_is_short_and_true(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    part = text.split("## The way through the code")[1].split("\n## ")[0]
    ways = re.findall(r"(?m)^1\. .*(?:\n(?:\d\.|   ).*)*", part)
    assert ways
    for way in ways:
        files = re.findall(r"(?m)^\d\. `([\w/]+\.py): ", way)
        assert 2 <= len(files) <= 4 and files[0].startswith("cli/"), f"{name}: {files}"
        for file, following in itertools.pairwise(files):
            module = "lingraft." + following.removesuffix(".py").replace("/", ".")
            assert module in (SOURCE / file).read_text(encoding="utf-8"), f"{file} does not import {module}"


@pytest.mark.parametrize("name", METHOD_PAGES)
def test_measured_numbers_are_those_of_the_linked_pages(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    part = text.split("## What was measured here")[1].split("\n## ")[0]
    pages = set(re.findall(r"\]\((results/\w+\.md)\)", part))
    number = r"(?<![\w.,])\d+\.\d+(?:e-?\d+)?(?![\w]|\.\d)"
    there = {
        found for page in pages for found in re.findall(number, (ROOT / "docs" / page).read_text("utf-8"))
    }
    told = set(re.findall(number, part))
    # A page may round; it may not tell another number.
    missing = [
        one
        for one in told - there
        if not any(float(one) == round(float(found), len(one.partition(".")[2])) for found in there)
    ]
    assert told and not missing, f"docs/{name}.md: {', '.join(missing)} in none of {', '.join(sorted(pages))}"


def test_tables_are_described_with_their_columns() -> None:
    from lingraft.patching.records import ANSWER_SCHEMA
    from lingraft.pivots.selection_writing import SCHEMA

    for page, columns in (("patching", ANSWER_SCHEMA.names), ("pivots", SCHEMA.names)):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        missing = [column for column in columns if f"`{column}`" not in text]
        assert not missing, f"docs/{page}.md does not name {', '.join(missing)}"
