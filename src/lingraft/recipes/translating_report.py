"""The page that `clo translate` leaves: who translated, what it looks like, what was refused and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from lingraft.preference.items import PairedItem
from lingraft.reports.page import Paragraph, Section, Table
from lingraft.reports.result import RunResult

_CUT = 240
"""Characters of a text that a table shows."""
_TEXTS = ("english_prompt", "target_prompt", "english_response", "target_response")


def translation_sections(
    result: RunResult, items: Sequence[PairedItem], refused: Sequence[Mapping[str, Any]]
) -> list[Section]:
    """Lay out the page.

    Args:
        result: The run's result.
        items: Items to show.
        refused: Refused items to show, one for each reason.

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
        shown = [(row["reason"], row["id"], *(_cut(row[name] or "-") for name in _TEXTS)) for row in refused]
        table = Table("One refused item for each reason", ("reason", *columns), shown)
        sections.append(Section("Refused", [table]))
    return sections


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _CUT else flat[:_CUT] + " ..."
