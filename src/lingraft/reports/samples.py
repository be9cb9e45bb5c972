"""What several models say to the same prompts, side by side in a page, one under the other on a phone.

No script is needed: a long text, and all rows after the first few, unfold by themselves.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lingraft.errors import ConfigError

STYLE = """
.samples > ol, .samples details > ol { list-style: none; margin: 0; padding: 0; }
.samples li { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem .8rem; margin: .8rem 0; }
.samples .prompt { font-weight: 600; margin: 0 0 .6rem; max-width: none; }
.samples .prompt, .samples dd { white-space: pre-wrap; overflow-wrap: anywhere; }
.samples dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr));
  gap: .6rem; margin: 0; }
.samples dl > div { background: var(--raised); border-radius: 6px; padding: .4rem .7rem .6rem; min-width: 0; }
.samples dt, .samples .note, .samples .empty { color: var(--quiet); font-size: .9rem; }
.samples dt { margin-bottom: .2rem; overflow-wrap: anywhere; }
.samples dd { margin: 0; }
.samples .note { margin: .6rem 0 0; }
.samples summary { cursor: pointer; }
.samples .fold > summary { list-style: none; }
.samples .fold > summary::-webkit-details-marker { display: none; }
.samples .fold[open] > summary .start, .samples .fold[open] > summary .open { display: none; }
.samples .fold:not([open]) > summary .close { display: none; }
.samples .open, .samples .close { color: var(--link); text-decoration: underline; font-size: .9rem;
  display: inline-block; padding: .2rem 0; }
.samples .rest > summary { color: var(--link); padding: .3rem 0; }
@media print { .samples details::details-content { content-visibility: visible; block-size: auto; }
  .samples .fold > summary, .samples .rest > summary { display: none; }
  .samples li { break-inside: avoid; } }
"""

LONG, START = 420, 320
"""Characters: a longer text is folded, and how much of it stands before the fold."""
SHOWN = 5
"""Rows before the rest is folded."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One prompt and what each model said.

    Attributes:
        prompt: What was asked.
        texts: An answer a model, in the order of the columns.
        note: A sentence below them, or "".
        language: ISO code of prompt and answers, for screen readers and fonts, or "" where it is not known.
    """

    prompt: str
    texts: Sequence[str]
    note: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Samples:
    """A block of a page: answers side by side.

    Attributes:
        caption: What the answers are, how they were drawn, and how many there are in all.
        columns: Names of the models.
        rows: What to show, `[rows][columns]`.

    Raises:
        ConfigError: A row has another number of texts than there are columns.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[SampleRow]

    def __post_init__(self) -> None:
        for place, row in enumerate(self.rows):
            if len(row.texts) != len(self.columns):
                raise ConfigError(
                    f"{len(row.texts)} texts in sample {place}",
                    f"one for each of {len(self.columns)} columns",
                    "give every model's answer",
                )


def samples_html(samples: Samples) -> str:
    """Return the block as HTML; the page must hold `STYLE`.

    Args:
        samples: What to show.

    Returns:
        A figure element.
    """
    items = [_row(row, samples.columns) for row in samples.rows]
    shown, rest = "\n".join(items[:SHOWN]), items[SHOWN:]
    more = "\n".join(rest)
    folded = (
        f'<details class="rest"><summary>{len(rest)} more</summary><ol>{more}</ol></details>' if rest else ""
    )
    return (
        f'<figure class="samples"><figcaption>{_text(samples.caption)}</figcaption>'
        f"<ol>{shown}</ol>{folded}</figure>"
    )


def _row(row: SampleRow, columns: Sequence[str]) -> str:
    spoken = f' lang="{_text(row.language)}"' if row.language else ""
    answers = "".join(
        f'<div><dt>{_text(name)}</dt><dd{spoken} dir="auto">{_answer(text)}</dd></div>'
        for name, text in zip(columns, row.texts, strict=True)
    )
    note = f'<p class="note">{_text(row.note)}</p>' if row.note else ""
    prompt = f'<div class="prompt"{spoken} dir="auto">{_folded(row.prompt)}</div>'
    return f"<li>{prompt}<dl>{answers}</dl>{note}</li>"


def _answer(text: str) -> str:
    return _folded(text) if text.strip() else '<span class="empty" lang="en" dir="ltr">(empty)</span>'


def _folded(text: str) -> str:
    """Fold a long text behind its beginning; its words are there once for who has it read out."""
    if len(text) <= LONG:
        return _text(text)
    return (
        f'<details class="fold"><summary><span class="start">{_text(text[:START].rstrip())}… </span>'
        f'<span class="open" lang="en">all {len(text):,} characters</span>'
        f'<span class="close" lang="en">fold</span></summary>{_text(text)}</details>'
    )


def _text(value: str) -> str:
    # Half of a character, which a generated text can end in, has no UTF-8.
    return html.escape(value.encode("utf-8", "replace").decode("utf-8"), quote=True)
