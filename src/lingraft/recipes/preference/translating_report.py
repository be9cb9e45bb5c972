"""The page that `clo translate` leaves: who translated, what it looks like, what was refused and why."""

from collections.abc import Sequence
from pathlib import Path

from lingraft.preference.items import PairedItem, read_items
from lingraft.recipes.preference.translating_rejects import REJECTS, Rejected, first_of_each, read_rejects
from lingraft.reports.page import Paragraph, Section, Table
from lingraft.reports.result import RunResult, read_result

PAIRS, SHOWN = "pairs.jsonl", 12
"""The file of items, and how many of them a table shows."""
_CUT = 240
"""Characters of a text that a table shows."""
_TEXTS = ("english_prompt", "target_prompt", "english_response", "target_response")


def kept_translation_sections(directory: Path) -> list[Section]:
    """Lay out the page of a run from what it left.

    Args:
        directory: The run directory.

    Returns:
        The sections.

    Raises:
        ConfigError: It holds no finished run.
    """
    items, _ = read_items(directory / PAIRS)
    return translation_sections(read_result(directory), items[:SHOWN], read_rejects(directory / REJECTS))


def translation_sections(
    result: RunResult, items: Sequence[PairedItem], refused: Sequence[Rejected]
) -> list[Section]:
    """Lay out the page.

    Args:
        result: The run's result.
        items: Items to show.
        refused: Refused items, of which one for each reason is shown.

    Returns:
        The sections.
    """
    metrics = result.metrics
    facts = [
        ("engine", metrics["engine"]),
        ("version and settings", metrics["engine_version"]),
        ("licence", metrics["engine_licence"]),
        ("words translated in this run", f"{metrics['words_translated_now']:,}"),
        ("words a second", f"{metrics['words_a_second']:,.0f}" if metrics["words_a_second"] else "-"),
        ("texts too short to be judged by their language", f"{metrics['texts_too_short_to_identify']:,}"),
    ]
    note = (
        "Translations are a machine's. Nobody has read them: read some below before you train on them. "
        "Their licence is the data's and the engine's."
    )
    rows = [(item.id, *(_cut(getattr(item, name)) for name in _TEXTS)) for item in items]
    columns = ("id", "English prompt", "prompt", "English answer", "answer")
    sections = [
        Section("Engine", [Paragraph(note, warning=True), Table("Who translated", ("what", "value"), facts)]),
        Section("Examples", [Table(f"The first {len(rows)} items", columns, rows)]),
    ]
    if refused:
        shown = [
            (one.reason, one.id, *(_cut(getattr(one, name) or "-") for name in _TEXTS))
            for one in first_of_each(refused)
        ]
        table = Table("One refused item for each reason", ("reason", *columns), shown)
        sections.append(Section("Refused", [table]))
    return sections


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _CUT else flat[:_CUT] + " ..."
