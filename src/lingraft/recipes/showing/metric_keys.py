"""Every number of a result by its key: to say where a number comes from, and to set runs side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Figure, Section, Table
from lingraft.reports.result import RunResult

LONGEST_LIST = 12
"""A longer list of numbers is a curve, which figures show."""
NAMED_KEYS = 3
"""Keys that the source of a table names; the rest are counted."""
_WITH_INTERVAL = ("value", "bits_per_byte", "rate", "mean")
"""Fields whose interval is the field `interval` beside them."""


def number_keys(result: RunResult) -> dict[str, Cell]:
    """Return what a result says, flat.

    Args:
        result: Of a stage.

    Returns:
        Key to value: `metrics.models.adapted.target.bits_per_byte`, an interval joined to its number, and
        `counts.tokens.copied`. Curves and other long lists are left out.
    """
    found: dict[str, Cell] = {}
    _walk("metrics", result.metrics, found)
    _walk("counts", result.counts, found)
    return found


def as_estimate(value: Any) -> Estimate | None:
    """Read an estimate in either of the forms in which results hold one.

    Args:
        value: A number, `{"value", "low", "high"}`, or a mapping with `interval` beside the number.

    Returns:
        The estimate, or None where the value is none.
    """
    if _is_number(value):
        return Estimate(float(value))
    if not isinstance(value, Mapping):
        return None
    name = next((name for name in _WITH_INTERVAL if _is_number(value.get(name))), None)
    if name is None:
        return None
    low, high = value.get("low"), value.get("high")
    interval = value.get("interval")
    if isinstance(interval, Sequence) and not isinstance(interval, str) and len(interval) == 2:
        low, high = interval
    seen = value.get("observations", value.get("documents", 1))
    observations = int(seen) if _is_number(seen) else 1
    if not (_is_number(low) and _is_number(high)):
        return Estimate(float(value[name]), observations=observations)
    return Estimate(float(value[name]), float(low), float(high), observations)  # type: ignore[arg-type]


def sourced(section: Section, place: str, numbers: Mapping[str, Cell], group: str) -> Section:
    """Say under every table and picture of a stage where its numbers are kept.

    Args:
        section: Of the stage.
        place: The stage's directory, as seen from the run's.
        numbers: `number_keys` of the stage's result.
        group: Heading to put the section under.

    Returns:
        The section, its tables and pictures with a source where they had none.
    """
    by_value: dict[float, str] = {}
    for key, value in numbers.items():
        for number in _told(value):
            by_value.setdefault(number, key)
    blocks: list[Block] = []
    for block in section.blocks:
        if isinstance(block, Table) and not block.source:
            blocks.append(replace(block, source=_source_of(block, place, by_value)))
        elif isinstance(block, Figure) and not block.source:
            blocks.append(replace(block, source=f"Drawn from {place} (numbers: result.json)"))
        else:
            blocks.append(block)
    return Section(section.title, blocks, group)


def _source_of(table: Table, place: str, by_value: Mapping[float, str]) -> str:
    numbers = [number for row in table.rows for cell in row[1:] for number in _told(cell)]
    keys = dict.fromkeys(by_value[number] for number in numbers if number in by_value)
    # Fewer are chance: a number of something else that happens to be equal.
    if 2 * len(keys) < len(set(numbers)) or not keys:
        return f"From the files in {place}"
    named = ", ".join(list(keys)[:NAMED_KEYS])
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return f"From {place}/result.json: {named}{more}"


def _told(value: Cell) -> Iterable[float]:
    """Yield a cell's number where it tells cells apart: small whole numbers are everywhere."""
    number = value.value if isinstance(value, Estimate) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return
    if abs(number) >= 1000 or number != int(number):
        yield float(number)


def _walk(key: str, value: Any, found: dict[str, Cell]) -> None:
    if isinstance(value, Mapping):
        estimate = as_estimate(value) if "interval" in value or {"low", "high"} <= set(value) else None
        joined: set[str] = set()
        if estimate is not None:
            name = next(name for name in _WITH_INTERVAL if _is_number(value.get(name)))
            found[key if name == "value" else f"{key}.{name}"] = estimate
            joined = {name, "interval", "low", "high"}
        for name, inner in value.items():
            if name not in joined:
                _walk(f"{key}.{name}", inner, found)
    elif isinstance(value, list | tuple):
        if len(value) <= LONGEST_LIST:
            for place, inner in enumerate(value):
                _walk(f"{key}[{place}]", inner, found)
    elif isinstance(value, str | int | float | bool):
        found[key] = value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
