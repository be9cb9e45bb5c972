"""What co-occurrence says about behaviour and score, for a page."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lingraft.pivots.attribution import Attribution
from lingraft.pivots.behaviour import BEHAVIOURS
from lingraft.reports.figures import histogram
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table


def attribution_sections(found: Attribution, words: pa.Table) -> list[Section]:
    """Show whether directly translated words meet more often in the corpus.

    Args:
        found: Of `attribute`.
        words: The joined table of `attribute`.

    Returns:
        A section.
    """
    rows: list[Sequence[Cell]] = [
        ["area under the ROC curve, direct against pivot (0.5 is chance)", found.auc, _counted(found)],
        ["Pearson's correlation of log(1 + documents) and score", found.pearson, found.scored],
        ["Spearman's", found.spearman, found.scored],
    ]
    blocks: list[Block] = [
        Paragraph(attribution_sentence(found)),
        Table(
            "Documents with both words against what the model does; intervals 95 %.",
            ["", "value", "words"],
            rows,
        ),
    ]
    labels, both = np.array(words["behaviour"].to_pylist()), words["both"].to_numpy()
    groups = {name: np.log10(1 + both[labels == name]) for name in BEHAVIOURS if (labels == name).any()}
    if groups:
        said = "; ".join(f"{name}: median {np.median(10**values - 1):.0f}" for name, values in groups.items())
        blocks.append(
            Figure(
                "In how many documents the words of a pair meet, by the model's behaviour.",
                f"Documents with both words, {said}.",
                histogram(groups, x_label="log10(1 + documents with both words)", bins=20),
            )
        )
    return [Section("Co-occurrence in the corpus", blocks)]


def attribution_sentence(found: Attribution) -> str:
    """Say in a sentence or two what came out."""
    if found.auc is None:
        text = "Not both behaviours occur, so nothing can be told apart."
    else:
        area = found.auc
        text = "A directly translated word's pair meets in more documents than a pivot word's with chance"
        text += f" {_said(area)}."
        if area.low is not None and area.high is not None and area.low <= 0.5 <= area.high:
            text += " The interval holds one half: this corpus does not tell the behaviours apart."
    text += f" {100 * found.never_together:.0f} % of the pairs meet in no document."
    if found.missing:
        text += f" {found.missing:,} words were traced and not counted."
    return text


def _counted(found: Attribution) -> int:
    return 0 if found.auc is None else found.auc.observations


def _said(estimate: Estimate) -> str:
    interval = "" if estimate.low is None else f" ({estimate.low:.2f} to {estimate.high:.2f})"
    return f"{estimate.value:.2f}{interval}"
