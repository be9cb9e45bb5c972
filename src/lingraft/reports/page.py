"""One self-contained HTML page: opens from disk, loads nothing, light and dark, readable without pictures."""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.files import write_text
from lingraft.reports import cards, interactive, samples, tokengrid
from lingraft.reports.blocks import (
    Command,
    Figure,
    Paragraph,
    Table,
    command_html,
    escaped,
    figure_html,
    paragraph_html,
    table_html,
)
from lingraft.reports.cards import Card, Cards
from lingraft.reports.cells import Cell, format_cell
from lingraft.reports.interactive import GridExplorer
from lingraft.reports.result import RunResult
from lingraft.reports.samples import SampleRow, Samples
from lingraft.reports.scripts import read_script, script_policy
from lingraft.reports.template import PAGE, STYLE
from lingraft.reports.tokengrid import TokenGrid

__all__ = [
    "Block",
    "Card",
    "Cards",
    "Cell",
    "Command",
    "Figure",
    "Paragraph",
    "SampleRow",
    "Samples",
    "Section",
    "Table",
    "format_cell",
    "render_page",
    "result_sections",
    "write_page",
]

Block = Paragraph | Command | Table | Figure | Cards | GridExplorer | TokenGrid | Samples

_HTML: dict[type, Callable[[Any], str]] = {
    Paragraph: paragraph_html,
    Command: command_html,
    Table: table_html,
    Figure: figure_html,
    Cards: cards.cards_html,
    Samples: samples.samples_html,
    GridExplorer: interactive.explorer_html,
    TokenGrid: tokengrid.token_grid_html,
}
_STYLES = {
    Cards: cards.STYLE,
    Samples: samples.STYLE,
    TokenGrid: tokengrid.STYLE,
    GridExplorer: interactive.STYLE,
}
_SCRIPTS = {TokenGrid: tokengrid.script, GridExplorer: interactive.script}

LONG_PAGE = 4
"""Headings from which on a page has contents."""


@dataclass(frozen=True, slots=True)
class Section:
    """A headed part of the page.

    Attributes:
        title: The heading; "" puts the blocks under the heading of the group.
        blocks: What stands under it, in order.
        group: Heading above this and the neighbouring sections of the same group, or "": it stands alone.
    """

    title: str
    blocks: Sequence[Block]
    group: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A section with what links lead to, or the group that holds some."""

    anchor: str
    title: str
    section: Section | None
    inner: tuple["_Part", ...] = ()


def write_page(
    path: Path,
    sections: Iterable[Section],
    *,
    title: str = "Lingraft report",
    summary: str = "",
    result: RunResult | None = None,
) -> Path:
    """Write the page atomically.

    Args:
        path: Where, usually `report.html` in the run directory.
        sections: What it says.
        title: The page's heading.
        summary: One sentence under it: what came out.
        result: Adds two sections: the counts with their reasons, and the command to repeat with provenance.

    Returns:
        The path written.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    write_text(path, render_page(sections, title=title, summary=summary, result=result))
    return path


def render_page(
    sections: Iterable[Section],
    *,
    title: str = "Lingraft report",
    summary: str = "",
    result: RunResult | None = None,
) -> str:
    """Return the page as HTML text; the arguments are those of `write_page`."""
    given = [*sections, *(result_sections(result) if result is not None else [])]
    parts = _parts(given)
    kinds = {type(block) for section in given for block in section.blocks}
    long = sum(1 + len(part.inner) for part in parts) >= LONG_PAGE
    scripts = [text() for kind, text in _SCRIPTS.items() if kind in kinds]
    if long and Table in kinds:
        scripts.append(read_script("frames.js"))
    return PAGE.format(
        title=escaped(title),
        style=STYLE + "".join(style for kind, style in _STYLES.items() if kind in kinds),
        policy=script_policy(scripts),
        look=' class="long"' if long else "",
        summary=f'<p class="summary">{escaped(summary)}</p>' if summary else "",
        contents=_contents(parts) if long else "",
        body="\n".join(_part_html(part, 2) for part in parts),
        scripts="\n".join(f"<script>{text}</script>" for text in scripts),
    )


def result_sections(result: RunResult) -> list[Section]:
    """Return what every report says at its end: counts with reasons, how to repeat it, where it comes from.

    Args:
        result: The run's result.

    Returns:
        One or two sections.
    """
    sections = []
    if result.counts:
        tables = [
            Table(what, ("reason", "count"), list(reasons.items())) for what, reasons in result.counts.items()
        ]
        sections.append(Section("Counts", tables))
    origin = result.provenance
    rows: list[tuple[str, str]] = [
        ("lingraft", origin.lingraft),
        ("Python", origin.python),
        *origin.libraries.items(),
        ("platform", origin.platform),
        ("device", origin.device),
        ("finished", origin.finished),
        *((f"seed: {name}", str(seed)) for name, seed in result.seeds.items()),
    ]
    blocks: list[Block] = [Paragraph("The command that made this report:"), Command(origin.command)]
    if result.inputs:
        inputs = [(item.role, item.reference, item.revision) for item in result.inputs]
        blocks.append(Table("What the run read", ("role", "reference", "revision"), inputs))
    blocks.append(Table("What it ran on", ("item", "value"), rows))
    sections.append(Section("How to repeat this", blocks))
    return sections


def _parts(sections: Sequence[Section]) -> list[_Part]:
    """Gather neighbours of the same group under its heading, and give every heading a name of its own."""
    seen: dict[str, int] = {}

    def anchor(title: str) -> str:
        name = re.sub(r"[^\w]+", "-", title.lower()).strip("-") or "section"
        seen[name] = seen.get(name, 0) + 1
        return name if seen[name] == 1 else f"{name}-{seen[name]}"

    parts: list[_Part] = []
    for group, members in itertools.groupby(sections, key=lambda section: section.group):
        if group:
            above = anchor(group)
            inner = tuple(_Part(anchor(one.title) if one.title else "", one.title, one) for one in members)
            parts.append(_Part(above, group, None, inner))
        else:
            parts += [_Part(anchor(one.title), one.title, one) for one in members]
    return parts


def _contents(parts: Sequence[_Part]) -> str:
    def listed(some: Sequence[_Part]) -> str:
        items = "".join(
            f'<li><a href="#{part.anchor}">{escaped(part.title)}</a>{listed(part.inner)}</li>'
            for part in some
            if part.title
        )
        return f"<ul>{items}</ul>" if items else ""

    return f'<nav aria-label="Contents">{listed(parts)}</nav>'


def _part_html(part: _Part, level: int) -> str:
    blocks = [_block(block) for block in part.section.blocks] if part.section is not None else []
    inner = [_part_html(one, level + 1) for one in part.inner]
    content = "\n".join([*blocks, *inner])
    if not part.title:
        return content
    heading = f'<h{level} id="{part.anchor}">{escaped(part.title)}</h{level}>'
    return f'<section aria-labelledby="{part.anchor}">\n{heading}\n{content}\n</section>'


def _block(block: Block) -> str:
    return _HTML[type(block)](block)
