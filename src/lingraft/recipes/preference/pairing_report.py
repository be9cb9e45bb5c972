"""The page that `clo pairs` leaves: what the items are, what they look like, what was left out and why."""

from collections.abc import Sequence
from pathlib import Path

from lingraft.preference.items import PairedItem, read_items
from lingraft.recipes.preference.translating_rejects import REJECTS, Rejected, first_of_each, read_rejects
from lingraft.reports.figures import histogram
from lingraft.reports.page import Figure, Paragraph, Section, Table
from lingraft.reports.result import RunResult

PAIRS, HELD_OUT = "pairs.jsonl", "heldout.jsonl"
SHOWN, CUT = 12, 240
"""Items of a table, and characters of a text in it."""
_COLUMNS = ("English prompt", "target prompt", "English answer", "target answer")


def kept_pairing_sections(directory: Path, result: RunResult) -> list[Section]:
    """Lay out the page of a run from what it left.

    Args:
        directory: The run directory, with pairs.jsonl, rejects.jsonl and, where items were held out, heldout.jsonl.
        result: Its result.

    Returns:
        The sections.
    """
    training, _ = read_items(directory / PAIRS)
    held_out = read_items(directory / HELD_OUT)[0] if (directory / HELD_OUT).exists() else []
    return pairing_sections(result, training, held_out, read_rejects(directory / REJECTS))


def pairing_sections(
    result: RunResult,
    training: Sequence[PairedItem],
    held_out: Sequence[PairedItem],
    rejected: Sequence[Rejected],
) -> list[Section]:
    """Lay out the page.

    Args:
        result: The run's result.
        training: Items to train on.
        held_out: Items that were held out.
        rejected: Items that were left out.

    Returns:
        The sections.
    """
    metrics = result.metrics
    lengths = {
        name: [len(getattr(item, field)) for item in training]
        for name, field in (("English answers", "english_response"), ("target answers", "target_response"))
    }
    medians = metrics["median_characters"]
    told = "; ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in medians.items())
    sections = [
        Section(
            "Items",
            [
                Paragraph(str(metrics["what"])),
                Paragraph(
                    "They are in a seeded random order, so the first so many are a random sample. Held-out items come "
                    "from documents of their own, and none of their answers nearly repeats one to train on."
                ),
                Figure("Lengths of the answers, in characters.", f"Median characters: {told}.",
                       histogram(lengths, x_label="characters of an answer")),
            ],
        ),
        Section("To train on", [_table("The first items", training)]),
    ]  # fmt: skip
    if held_out:
        sections.append(Section("Held out", [_table("The first held-out items", held_out)]))
    if rejected:
        rows = [(one.reason, *(_cut(text or "-") for text in _texts(one))) for one in first_of_each(rejected)]
        table = Table("One item for each reason; all are in rejects.jsonl", ("reason", *_COLUMNS), rows)
        sections.append(Section("Left out", [table]))
    return sections


def _table(caption: str, items: Sequence[PairedItem]) -> Table:
    shown = items[:SHOWN]
    # Ids would take the room of the texts.
    rows = [(str(number), *map(_cut, _texts(item))) for number, item in enumerate(shown, start=1)]
    return Table(f"{caption}, {len(shown)} of {len(items):,}", ("line", *_COLUMNS), rows)


def _texts(item: PairedItem | Rejected) -> tuple[str, str, str, str]:
    return (
        item.english_prompt,
        item.target_prompt or "",
        item.english_response,
        item.target_response or "",
    )


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= CUT else flat[:CUT] + " ..."
