"""The few numbers that a report comes down to, each before and after, with intervals and where it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from lingraft.reports.blocks import escaped, source_html
from lingraft.reports.cells import Cell, cell_html

STYLE = """
.cards { list-style: none; margin: 1.1rem 0; padding: 0; display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
.cards li { border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; background: var(--raised);
  display: flex; flex-direction: column; min-width: 0; break-inside: avoid; }
.cards p { margin: 0; }
.card-label { font-weight: 600; }
.card-values { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .6rem; font-size: 1.05rem;
  font-variant-numeric: tabular-nums; padding: .35rem 0 .2rem; }
.card-values > span { display: inline-block; }
.card-values .interval { display: block; font-size: .85rem; color: var(--quiet); font-weight: 400; }
.card-after { font-size: 1.6rem; font-weight: 650; line-height: 1.2; }
.card-values .arrow, .card-note { color: var(--quiet); }
.card-note { font-size: .92rem; }
.cards .source { margin-top: auto; padding-top: .4rem; }
"""


@dataclass(frozen=True, slots=True)
class Card:
    """One number.

    Attributes:
        label: What it is, with its unit and which way is better.
        after: The number.
        before: What it was before, or None.
        note: A sentence about it: what changed, by how much.
        source: Where it is kept.
        digits: Digits after the point.
    """

    label: str
    after: Cell
    before: Cell = None
    note: str = ""
    source: str = ""
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Cards:
    """A block of a page.

    Attributes:
        label: What the numbers are, read out by a screen reader.
        cards: Four to six of them.
    """

    label: str
    cards: Sequence[Card]


def cards_html(cards: Cards) -> str:
    """Return the block as HTML; the page must hold `STYLE`.

    Args:
        cards: What to show.

    Returns:
        A list element.
    """
    items = "\n".join(f"<li>{_card(card)}</li>" for card in cards.cards)
    return f'<ul class="cards" role="list" aria-label="{escaped(cards.label)}">{items}</ul>'


def _card(card: Card) -> str:
    before = ""
    if card.before is not None:
        before = (
            f'<span class="card-before">{cell_html(card.before, card.digits)}</span>'
            '<span class="arrow"><span aria-hidden="true">→</span><span class="spoken">to</span></span>'
        )
    after = f'<span class="card-after">{cell_html(card.after, card.digits)}</span>'
    note = f'<p class="card-note">{escaped(card.note)}</p>' if card.note else ""
    return (
        f'<p class="card-label">{escaped(card.label)}</p><p class="card-values">{before}{after}</p>'
        f"{note}{source_html(card.source)}"
    )
