"""Objectives side by side at equal data: what each makes of the target language, and what is left of English."""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.claims import shared_tasks
from lingraft.errors import ConfigError
from lingraft.files import write_json
from lingraft.preference.items import PairedItem
from lingraft.preference.losses import OBJECTIVES
from lingraft.preference.monitor import Monitor
from lingraft.preference.plan import PreferencePlan
from lingraft.preference.policies import POLICIES
from lingraft.preference.training import train_preference
from lingraft.reports.intervals import Estimate, mean_interval, ratio_interval
from lingraft.training.packing import block_order

BASE = "base"
ARMS = (BASE, "sft", "sft-both", "sft-both+dpo", "clo-both", "clo")
"""What is compared where the user names nothing. `sft-both+dpo` is two trainings on the same items, one after the
other, the second with the first one's result as its initial model (which SFT comes before DPO is our choice)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        name: As the user wrote it: `OBJECTIVE[+OBJECTIVE][@PARAMETERS]`, or `base` for no training.
        objectives: One after the other.
        parameters: What learns.
    """

    name: str
    objectives: tuple[str, ...]
    parameters: str


def read_arm(name: str, parameters: str = "attention") -> Arm:
    """Read an arm's name.

    Args:
        name: See `Arm`.
        parameters: What learns where the name does not say.

    Returns:
        The arm.

    Raises:
        ConfigError: An unknown objective or policy.
    """
    text, _, policy = name.partition("@")
    objectives = () if text == BASE else tuple(text.split("+"))
    unknown = [objective for objective in objectives if objective not in OBJECTIVES]
    if unknown or (policy and policy not in POLICIES):
        raise ConfigError(
            f"the arm {name!r}",
            f"{BASE}, or OBJECTIVE[+OBJECTIVE][@PARAMETERS] of {', '.join(OBJECTIVES)} and {', '.join(POLICIES)}",
            "correct its name",
        )
    return Arm(name, objectives, policy or parameters)


@dataclass(frozen=True, slots=True)
class Cell:
    """One training's outcome.

    Attributes:
        arm: Its name.
        items: How many items it was trained on.
        seed: Of the choice and the order of items.
        found: What `Monitor` measured.
        seconds: In steps.
        answer_tokens: Tokens of answers trained on.
    """

    arm: str
    items: int
    seed: int
    found: Mapping[str, Any]
    seconds: float
    answer_tokens: int


def compare_objectives(
    load: Callable[[], Any],
    items: Sequence[PairedItem],
    monitor: Monitor,
    plan: PreferencePlan,
    *,
    arms: Sequence[Arm],
    sizes: Sequence[int],
    seeds: Sequence[int],
    out: Path,
    gradient_accumulation: int = 1,
    tokens_together: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> list[Cell]:
    """Train every arm on every number of items with every seed; finished ones are kept, so a killed run continues.

    Several processes that are given the same directory share the trainings.

    Seed by seed, small sizes first, so that a comparison that is cut short has all arms. A seed draws the items'
    order; a smaller number of items is the beginning of a larger one. Every arm of a seed has the same items in the
    same order, once.

    Args:
        load: Loads the model anew.
        items: Paired items to draw from, each short enough for every arm (`collation.fitting_items`).
        monitor: What measures.
        plan: Batch size, rate and the like; objective, parameters, steps and seed are the arm's.
        arms: What to compare.
        sizes: Numbers of items, at most as many as there are.
        seeds: Seeds.
        out: Run directory; every outcome is a file in its `cells`.
        gradient_accumulation: Pieces that a step is computed in: less memory, same result.
        tokens_together: Tokens of one forward pass: less memory, same result.
        say: Called with one line for each training.
        progress: Show progress bars.

    Returns:
        All outcomes, arm by arm; `base` once, with no items.

    Raises:
        TrainingError: Options or items that do not fit, or a loss that is no finite number.
    """
    memory: Any = {"gradient_accumulation": gradient_accumulation, "tokens_together": tokens_together}
    all_places = dict.fromkeys((seed, size) for seed in seeds for size in sizes)
    grids = {arm: list(all_places) if arm.objectives else [(0, 0)] for arm in arms}
    places = dict.fromkeys(place for grid in grids.values() for place in grid)
    tasks = [(arm, size, seed) for seed, size in sorted(places) for arm in arms if (seed, size) in grids[arm]]
    for arm, size, seed in shared_tasks(tasks, lambda task: _file(out, *task)):
        say(f"{arm.name}, {size:,} items, seed {seed}")
        order = block_order(len(items), len(items), seed)[:size]
        some = [items[number] for number in order]
        found = _run(load(), some, monitor, plan, arm, seed, **memory, progress=progress)
        write_json(_file(out, arm, size, seed), found)
        # A trainer and its callbacks hold each other, and the model with them.
        gc.collect()
    return [
        Cell(arm.name, size, seed, **json.loads(_file(out, arm, size, seed).read_text(encoding="utf-8")))
        for arm, grid in grids.items()
        for seed, size in sorted(grid, key=lambda place: (place[1], place[0]))
    ]


def _file(out: Path, arm: Arm, size: int, seed: int) -> Path:
    """Return where an outcome is kept."""
    return out / "cells" / f"{arm.name.replace('@', '-at-')}-{size}-{seed}.json"


def _run(
    model: Any,
    items: Sequence[PairedItem],
    monitor: Monitor,
    plan: PreferencePlan,
    arm: Arm,
    seed: int,
    *,
    gradient_accumulation: int,
    tokens_together: int | None,
    progress: bool,
) -> dict[str, Any]:
    dtype, seconds, tokens = model.dtype, 0.0, 0
    for objective in arm.objectives:
        chosen = replace(
            plan, objective=objective, parameters=arm.parameters, seed=seed, steps=None, share=None, beta=None
        )
        if objective.startswith("clo"):
            chosen = replace(chosen, share=plan.share, beta=plan.beta)
        trained = train_preference(
            model,
            items,
            monitor.form,
            chosen,
            gradient_accumulation=gradient_accumulation,
            tokens_together=tokens_together,
            progress=progress,
        )
        model, seconds, tokens = trained.model, seconds + trained.seconds, tokens + trained.answer_tokens
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return {"found": monitor.outside(model), "seconds": seconds, "answer_tokens": tokens}


@dataclass(frozen=True, slots=True)
class Summary:
    """What an arm came to at a number of items, over seeds.

    Attributes:
        arm: Its name.
        items: Its number of items.
        seeds: How many seeds.
        target_bits: Bits per byte of target answers; interval over items, of the mean over seeds.
        english_bits: The same of English answers.
        target_fidelity: Share of target prompts answered in the language, over prompts judged with any seed.
        english_fidelity: The same of English.
        skipped: Target answers that could not be judged, over all seeds.
        spread: Difference of the largest and the smallest target bits per byte between seeds.
        seconds: Mean over seeds.
    """

    arm: str
    items: int
    seeds: int
    target_bits: Estimate
    english_bits: Estimate
    target_fidelity: Estimate | None
    english_fidelity: Estimate | None
    skipped: int
    spread: float
    seconds: float


def summarise(cells: Sequence[Cell], monitor: Monitor) -> list[Summary]:
    """Put the seeds of each arm and number of items together.

    Args:
        cells: Outcomes.
        monitor: What measured them.

    Returns:
        A line each, in the order of the cells.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.items), []).append(cell)
    return [
        Summary(
            arm=arm,
            items=size,
            seeds=len(group),
            target_bits=ratio_interval(mean_bits(group, "target"), monitor.bytes[:, 1]),
            english_bits=ratio_interval(mean_bits(group, "english"), monitor.bytes[:, 0]),
            target_fidelity=_fidelity(group, "target"),
            english_fidelity=_fidelity(group, "english"),
            skipped=sum(int(cell.found.get("target_skipped", 0)) for cell in group),
            spread=float(np.ptp([cell.found["target_bits_per_byte"] for cell in group])),
            seconds=float(np.mean([cell.seconds for cell in group])),
        )
        for (arm, size), group in groups.items()
    ]


def mean_bits(group: Sequence[Cell], side: str) -> NDArray[np.float64]:
    """Return the bits of each held-out answer, mean over the cells' seeds, `[items]`."""
    bits = np.array([cell.found[f"{side}_bits"] for cell in group], dtype=np.float64)
    mean: NDArray[np.float64] = bits.mean(axis=0)
    return mean


def difference(ours: Sequence[Cell], theirs: Sequence[Cell], monitor: Monitor, side: str) -> Estimate:
    """Compare two arms on the same held-out items.

    Args:
        ours: The cells of one arm and number of items.
        theirs: Those of another.
        monitor: What measured them.
        side: `target` or `english`.

    Returns:
        The first's bits per byte less the second's; below zero the first is better. Interval over items.
    """
    column = 0 if side == "english" else 1
    return ratio_interval(mean_bits(ours, side) - mean_bits(theirs, side), monitor.bytes[:, column])


def _fidelity(group: Sequence[Cell], side: str) -> Estimate | None:
    if any(f"{side}_passes" not in cell.found for cell in group):
        return None
    passes = np.array(
        [[np.nan if x is None else float(x) for x in cell.found[f"{side}_passes"]] for cell in group]
    )
    judged = ~np.isnan(passes).all(axis=0)
    return mean_interval(np.nanmean(passes[:, judged], axis=0)) if judged.any() else None
