"""What a run will take, said before it starts: time, memory and disk of each stage.

Rough on purpose: operations are counted from the settings (six a parameter and trained token, two a token that is only
read), and divided by what this machine's matrix products reach in a fraction of a second.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.files import require_free_space
from lingraft.recipes.checking.model_facts import ModelFacts, model_facts
from lingraft.recipes.checking.recipe import CheckedRecipe, CheckedStage
from lingraft.recipes.running.planning import PlannedStage, plan_stages
from lingraft.recipes.running.starting import require_stage, started_from
from lingraft.recipes.running.store import Store
from lingraft.recipes.running.work import Work, stage_work

REACHED = 0.5
"""Share of a large matrix product's speed that training reaches, as measured on small models (our choice)."""
TRAINED_BYTES = 16
"""Bytes a parameter that learns: bfloat16 weight and gradient, float32 master and two moments."""
READ_BYTES = 4
"""Bytes a parameter of a model that only reads, in float32."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage will take.

    Attributes:
        name: The stage.
        kind: Its kind.
        kept: It is finished already.
        seconds: Time; None where the model's size is not known.
        memory_bytes: Peak memory, with a guess at activations; None where it is not known.
        disk_bytes: What it leaves; None where it is not known.
        passing_bytes: Disk that it needs while it runs, beside what it leaves.
    """

    name: str
    kind: str
    kept: bool
    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    passing_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run will take.

    Attributes:
        stages: Each stage.
        speed: Operations a second that were reckoned with.
        device: Of the measurement.
        note: What is not known, or empty.
    """

    stages: Sequence[StageEstimate]
    speed: float
    device: str
    note: str

    @property
    def seconds(self) -> float | None:
        """Time of what is not kept; None where a part is not known."""
        times = [stage.seconds for stage in self.stages if not stage.kept]
        return None if any(value is None for value in times) else float(sum(filter(None, times)))

    @property
    def disk_bytes(self) -> int:
        """Disk at its peak of what is not kept, as far as it is known."""
        coming = [stage for stage in self.stages if not stage.kept]
        passing = max((stage.passing_bytes for stage in coming), default=0)
        return sum(stage.disk_bytes or 0 for stage in coming) + passing

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        totals = {"seconds": self.seconds, "disk_bytes": self.disk_bytes}
        head = {"device": self.device, "operations_a_second": self.speed, "note": self.note}
        return {"stages": [asdict(stage) for stage in self.stages], **totals, **head}


def estimate_run(
    checked: CheckedRecipe, out: Path | None, *, device: str | None = None, start_from: str | None = None
) -> RunEstimate:
    """Estimate a run; nothing is fetched or written.

    Args:
        checked: The recipe.
        out: Run directory, whose finished stages are kept; None for a new one.
        device: Where models would be put; None takes the recipe's.
        start_from: This stage and all after it would run again.

    Returns:
        The estimate.

    Raises:
        ConfigError: The recipe has no stage `start_from`.
        OutputError: `out` holds something else or cannot be made, or its disk has too little space.
    """
    require_stage(checked, start_from)
    facts = model_facts(checked.recipe.model)
    store = Store(out if out is not None else Path("new run"))
    if out is not None:
        store.require_usable()
    planned = started_from(plan_stages(checked, store), store, start_from)
    name, speed = measured_speed(device or checked.recipe.device)
    sizes: dict[str, ModelFacts | None] = {}
    items = {stage.name: limit for stage in checked.stages if (limit := _items_made(stage)) is not None}
    stages = [_estimate(stage, facts, sizes, speed, items) for stage in planned]
    note = ""
    if facts is None:
        note = f"{checked.recipe.model} is not on this machine yet, so its size is not known"
    estimate = RunEstimate(stages, speed, name, note)
    if out is not None:
        require_free_space(out, estimate.disk_bytes)
    return estimate


def _estimate(
    planned: PlannedStage,
    facts: ModelFacts | None,
    sizes: dict[str, ModelFacts | None],
    speed: float,
    items: Mapping[str, int],
) -> StageEstimate:
    """Estimate one stage; what its model becomes is kept in `sizes` for the stages after it."""
    stage = planned.stage
    given = _facts_of(stage.filled.get("model"), facts, sizes)
    head: dict[str, Any] = {"name": stage.name, "kind": stage.kind_name, "kept": planned.done}
    if given is None:
        sizes[stage.name] = None
        return StageEstimate(**head, seconds=None, memory_bytes=None, disk_bytes=None)
    work: Work = stage_work(stage.kind_name, stage.settings, stage.filled, given, items)
    after = given.with_rows(work.vocabulary_rows)
    sizes[stage.name] = after
    operations = 6.0 * after.parameters * work.trained_tokens + 2.0 * after.parameters * work.read_tokens
    weights = after.parameters * (
        TRAINED_BYTES if work.trained_tokens else READ_BYTES if work.read_tokens else 0
    )
    model_bytes = after.parameters * after.bytes_each if "model" in stage.kind.outputs else 0
    return StageEstimate(
        **head,
        seconds=round(operations / speed + work.seconds, 1),
        memory_bytes=int(weights + work.memory_bytes),
        disk_bytes=int(model_bytes + work.disk_bytes),
        # A checkpoint with its moments is there beside the one that replaces it, and both go at the end.
        passing_bytes=24 * after.parameters if work.trained_tokens else 0,
    )


def _items_made(stage: CheckedStage) -> int | None:
    """Return how many paired items a stage makes at most, where its settings say so."""
    limit = getattr(stage.settings, "limit", None)
    return limit if stage.kind_name in {"pairs", "translate"} else None


def _facts_of(
    reference: Any, facts: ModelFacts | None, sizes: Mapping[str, ModelFacts | None]
) -> ModelFacts | None:
    """Return the facts of the model that a stage reads: an earlier stage's, or the recipe's."""
    if isinstance(reference, str) and reference.startswith("stage:"):
        return sizes.get(reference.removeprefix("stage:").partition("/")[0], facts)
    return facts


def measured_speed(device: str, seconds: float = 0.3) -> tuple[str, float]:
    """Measure matrix products in bfloat16 for a moment.

    Args:
        device: `auto`, `cpu`, `cuda`, `mps`.
        seconds: For how long.

    Returns:
        The device's name, and operations a second that training will about reach.
    """
    import torch

    from lingraft.models.devices import choose_device

    place = torch.device(choose_device(device))
    left, right = (torch.ones(1024, 1024, dtype=torch.bfloat16, device=place) for _ in range(2))
    float((left @ right)[0, 0])
    started, times = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        # Reading a number waits for the product, on every kind of device.
        float((left @ right)[0, 0])
        times += 1
    return str(place), REACHED * times * 2 * 1024**3 / (time.perf_counter() - started)


def estimate_lines(estimate: RunEstimate) -> list[str]:
    """Say it to a person.

    Args:
        estimate: The estimate.

    Returns:
        Lines.
    """
    lines = [f"{'stage':<20} {'kind':<12} {'time':>12} {'memory':>10} {'disk':>10}"]
    for stage in estimate.stages:
        when = "kept" if stage.kept else duration(stage.seconds)
        cells = f"{when:>12} {_size(stage.memory_bytes):>10} {_size(stage.disk_bytes):>10}"
        lines.append(f"{stage.name:<20} {stage.kind:<12} {cells}")
    lines.append(f"{'all':<33} {duration(estimate.seconds):>12} {'':>10} {_size(estimate.disk_bytes):>10}")
    speed = f"{estimate.speed / 1e12:.2f} TFLOP/s on {estimate.device}"
    lines.append(
        f"rough: reckoned with {speed}; memory of weights, optimiser and about the activations; disk at its peak"
    )
    return lines + ([estimate.note] if estimate.note else [])


def duration(seconds: float | None) -> str:
    """Return a time as a person says it."""
    if seconds is None:
        return "?"
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
