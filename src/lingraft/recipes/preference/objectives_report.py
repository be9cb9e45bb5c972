"""The tables and pictures of a comparison of objectives."""

from collections.abc import Sequence
from typing import Any

from lingraft.preference.compare import BASE, Summary
from lingraft.reports.figures import Curve, loss_curves
from lingraft.reports.page import Figure, Paragraph, Section, Table


def comparison_table(lines: Sequence[Summary], language: str) -> Section:
    """Put the arms beside each other.

    Args:
        lines: An arm at a number of items each.
        language: The target language's code.

    Returns:
        A section.
    """
    rows = [
        (
            line.arm,
            line.items,
            line.seeds,
            line.target_fidelity,
            line.skipped,
            line.target_bits,
            line.english_bits,
            line.english_fidelity,
            line.spread,
            line.seconds,
        )
        for line in lines
    ]
    columns = (
        "trained by",
        "items",
        "seeds",
        f"answers in {language}",
        "skipped",
        f"{language}, bits per byte",
        "English, bits per byte",
        "answers in English",
        "spread over seeds",
        "seconds",
    )
    text = (
        "Every line had the same items in the same order, once. Bits per byte of held-out answers, lower is better."
        " Answers in the language: share of greedy answers with no line in another. 95% intervals over held-out items"
        " of the mean over seeds: they do not hold the chance of another training, for which see the spread of the"
        " target's bits between seeds. One learning rate for all: another may order them otherwise."
    )
    return Section("Objectives", [Paragraph(text), Table("Held-out items", columns, rows)])


def comparison_sentence(lines: Sequence[Summary], language: str) -> str:
    """Say what each arm came to at the largest number of items.

    Args:
        lines: An arm at a number of items each.
        language: The target language's code.

    Returns:
        A sentence or two.
    """
    most = max(line.items for line in lines)
    parts = []
    for line in lines:
        if line.items not in (0, most):
            continue
        fidelity = (
            ""
            if line.target_fidelity is None
            else f", {100 * line.target_fidelity.value:.0f} % in {language}"
        )
        parts.append(
            f"{line.arm} {line.target_bits.value:.3f} ({language}) and {line.english_bits.value:.3f} (English)"
            f" bits per byte{fidelity}"
        )
    return f"With {most:,} items: " + "; ".join(parts) + "."


def comparison_pictures(lines: Sequence[Summary]) -> Section:
    """Draw each measure by number of items.

    Args:
        lines: An arm at a number of items each.

    Returns:
        A section.
    """
    blocks: list[Any] = []
    names = [name for name in dict.fromkeys(line.arm for line in lines) if name != BASE]
    base = next((line for line in lines if line.arm == BASE), None)
    for field_name, label in (
        ("target_bits", "target, bits per byte"),
        ("english_bits", "English, bits per byte"),
        ("target_fidelity", "target prompts answered in the language"),
    ):
        curves = []
        for name in names:
            some = [line for line in lines if line.arm == name and getattr(line, field_name) is not None]
            if base is not None and getattr(base, field_name) is not None:
                some = [base, *some]
            found = [getattr(line, field_name) for line in some]
            if not found:
                continue
            curves.append(
                Curve(
                    name,
                    [float(line.items) for line in some],
                    [f.value for f in found],
                    low=[f.value if f.low is None else f.low for f in found],
                    high=[f.value if f.high is None else f.high for f in found],
                )
            )
        if curves:
            figure = loss_curves(curves, x_label="items", y_label=label)
            blocks.append(Figure(f"Data efficiency: {label}", "Curves by number of items, from 0.", figure))
    return Section("Data efficiency", blocks)


def table_lines(metrics: dict[str, Any]) -> list[str]:
    """Return the table for the terminal."""

    def told(value: Any, scale: float = 1.0, digits: int = 3) -> str:
        if value is None:
            return "–"
        text = f"{scale * value['value']:.{digits}f}"
        if value["low"] is None:
            return text
        return f"{text} ({scale * value['low']:.{digits}f}-{scale * value['high']:.{digits}f})"

    lines = [
        f"{'trained by':<22}{'items':>7}{'target fidelity %':>20}{'target bits/byte':>22}{'English bits/byte':>22}"
    ]
    for arm in metrics["arms"]:
        lines.append(
            f"{arm['arm']:<22}{arm['items']:>7,}{told(arm['target_fidelity'], 100, 0):>20}"
            f"{told(arm['target_bits']):>22}{told(arm['english_bits']):>22}"
        )
    return lines
