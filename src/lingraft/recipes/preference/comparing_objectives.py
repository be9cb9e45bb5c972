"""Compare objectives on the user's own model and items: the grid of trainings, tables, pictures, the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.corpora.language_id import COMMON_LANGUAGES
from lingraft.corpora.named_datasets import rows_revision
from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, find_run, open_run_directory, replacing, sha256_of
from lingraft.models.loading import LoadedModel, load_model
from lingraft.preference.collation import fitting_items
from lingraft.preference.compare import (
    ARMS,
    BASE,
    Arm,
    Cell,
    Summary,
    compare_objectives,
    difference,
    read_arm,
    summarise,
)
from lingraft.preference.items import PairedItem, read_items
from lingraft.preference.monitor import Monitor, MonitorOptions
from lingraft.preference.plan import PreferencePlan
from lingraft.preference.training import check_training
from lingraft.recipes.evaluating.fidelity_inputs import find_identifier
from lingraft.recipes.preference.objectives_report import (
    comparison_pictures,
    comparison_sentence,
    comparison_table,
)
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result
from lingraft.tokenizers.chat import prompt_format, read_template


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Everything that changes the result.

    Attributes:
        model: Reference of the model.
        pairs: JSON lines of paired items to train on.
        held_out: JSON lines of paired items to measure on.
        arms: What to compare, see `preference.compare.Arm`.
        sizes: Numbers of items.
        seeds: How many seeds.
        plan: Batch size, rate and the like.
        template: `chat`, `plain` or the path of a Jinja template.
        monitor: How much is measured.
    """

    model: str
    pairs: Path
    held_out: Path
    arms: tuple[str, ...] = ARMS
    sizes: tuple[int, ...] = (400,)
    seeds: int = 1
    plan: PreferencePlan = field(default_factory=PreferencePlan)
    template: str = "chat"
    monitor: MonitorOptions = field(default_factory=MonitorOptions)

    def command(self) -> dict[str, Any]:
        """Return what a run is known again by: all but the grid, which may grow or shrink in one directory."""
        contents = {
            f"{CONTENT_OF}{name}": rows_revision(getattr(self, name)) for name in ("pairs", "held_out")
        }
        if Path(self.template).is_file():
            contents[f"{CONTENT_OF}template"] = sha256_of(Path(self.template))
        given = {**asdict(self), "pairs": str(self.pairs), "held_out": str(self.held_out)}
        settled = {name: value for name, value in given.items() if name not in self.grid()}
        return {"verb": "clo compare", **settled, **contents}

    def grid(self) -> dict[str, Any]:
        """Return which trainings the tables hold."""
        return {"arms": list(self.arms), "sizes": list(self.sizes), "seeds": self.seeds}


def run_comparison_of_objectives(
    options: CompareOptions,
    *,
    out: Path,
    device: str = "auto",
    gradient_accumulation: int = 1,
    tokens_together: int | None = None,
    trust_remote_code: bool = False,
    accept_terms: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Train, measure and write; finished trainings are kept, so a killed run continues, and a larger grid adds to it.

    Args:
        options: What to compare.
        out: Run directory, for `cells`, comparison.parquet, result.json, and report.html.
        device: Where to train.
        gradient_accumulation: Pieces that a step is computed in; changes memory, not the result.
        tokens_together: Tokens of one forward pass; changes memory, not the result.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.
        say: Called with one line for each training.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or a directory that holds something else.
    """
    arms = _arms(options)
    template = read_template(options.template)
    items, held_out, language = _read(options)
    identifier = find_identifier(language, COMMON_LANGUAGES) if options.monitor.fidelity_prompts else None
    command = options.command()
    if find_run(out, command) and (out / "result.json").exists():
        finished = read_result(out)
        if finished.metrics.get("grid") == options.grid():
            return finished

    def load() -> LoadedModel:
        return load_model(
            options.model, device=device, trust_remote_code=trust_remote_code, accept_terms=accept_terms
        )

    loaded = load()
    form = prompt_format(loaded.tokenizer, template)
    longest = options.plan.longest_for(loaded.model)
    monitor = Monitor(held_out, form, language, identifier, longest=longest, options=options.monitor)
    source = InputRevision(role="model", reference=loaded.reference, revision=loaded.revision)
    items, dropped = fitting_items(items, form, longest=longest)
    _require_enough(items, options, " that fit every arm" if dropped else "")
    check_training(loaded.model, items[: min(options.sizes)], form, replace(options.plan, objective="clo"))
    del loaded
    open_run_directory(out, command)
    cells = compare_objectives(
        lambda: load().model,
        items,
        monitor,
        options.plan,
        arms=arms,
        sizes=options.sizes,
        seeds=range(options.seeds),
        out=out,
        gradient_accumulation=gradient_accumulation,
        tokens_together=tokens_together,
        say=say,
        progress=True,
    )
    counted = {"to draw from": len(items), **{reason: len(numbers) for reason, numbers in dropped.items()}}
    return _write(options, cells, monitor, source, out, device, counted)


def _arms(options: CompareOptions) -> list[Arm]:
    names = options.arms if BASE in options.arms else (BASE, *options.arms)
    return [read_arm(name, options.plan.parameters) for name in names]


def _write(
    options: CompareOptions,
    cells: Sequence[Cell],
    monitor: Monitor,
    source: InputRevision,
    out: Path,
    device: str,
    counted: Mapping[str, int],
) -> RunResult:
    """Write the table, the report and, last, the result."""
    lines = summarise(cells, monitor)
    files = {"pairs": options.pairs, "held-out": options.held_out}
    result = RunResult(
        kind="clo compare",
        metrics={
            "target_language": monitor.language,
            "grid": options.grid(),
            "arms": [_as_json(line) for line in lines],
            "differences": _differences(cells, monitor),
        },
        counts={
            "items": counted,
            "held-out items": {"measured on": len(monitor.items), **monitor.left_out},
        },
        inputs=(
            source,
            *(
                InputRevision(role=r, reference=str(path), revision=rows_revision(path))
                for r, path in files.items()
            ),
        ),
        seeds={"seeds": options.seeds},
        files={"table": "comparison.parquet", "cells": "cells", "report": "report.html"},
        provenance=collect_provenance(device=device),
    )
    with replacing(out / "comparison.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist([_flat(line) for line in lines]), temporary)
    write_page(
        out / "report.html",
        [comparison_table(lines, monitor.language), comparison_pictures(lines)],
        title=f"Objectives compared: {monitor.language}",
        summary=comparison_sentence(lines, monitor.language),
        result=result,
    )
    write_result(out, result)
    return result


def _read(options: CompareOptions) -> tuple[list[PairedItem], list[PairedItem], str]:
    items, _ = read_items(options.pairs)
    held_out, _ = read_items(options.held_out)
    languages = {item.target_language for item in [*items, *held_out]}
    if len(languages) != 1:
        raise ConfigError(
            f"items in {', '.join(sorted(languages))}",
            "one target language in both files",
            "compare one at a time",
        )
    shared = {(item.english_prompt, item.english_response) for item in items}
    leaked = sum((item.english_prompt, item.english_response) in shared for item in held_out)
    if leaked:
        raise ConfigError(
            f"{leaked} of the {len(held_out)} held-out items are among those to train on",
            "none",
            "make the files with `lingraft clo pairs --held-out`, which splits by document",
        )
    _require_enough(items, options, " given")
    return items, held_out, languages.pop()


def _require_enough(items: Sequence[PairedItem], options: CompareOptions, which: str) -> None:
    if max(options.sizes) > len(items):
        raise ConfigError(
            f"{max(options.sizes)} items wanted, {len(items)}{which}",
            "at most as many as there are",
            "give fewer in --sizes, or more in --pairs",
        )


def _as_json(line: Summary) -> dict[str, Any]:
    return {
        name: value.as_json() if isinstance(value, Estimate) else value
        for name, value in asdict_shallow(line).items()
    }


def asdict_shallow(line: Summary) -> dict[str, Any]:
    """Return the fields of a summary, estimates as they are."""
    return {name: getattr(line, name) for name in line.__dataclass_fields__}


def _flat(line: Summary) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in asdict_shallow(line).items():
        if isinstance(value, Estimate) or name.endswith("fidelity"):
            row[name] = None if value is None else value.value
            row[f"{name}_low"] = None if value is None else value.low
            row[f"{name}_high"] = None if value is None else value.high
        else:
            row[name] = value
    return row


def _differences(cells: Sequence[Cell], monitor: Monitor) -> list[dict[str, Any]]:
    """`clo` less every other arm at the same number of items."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.items), []).append(cell)
    found = []
    for (arm, size), group in groups.items():
        ours = groups.get(("clo", size))
        if ours is None or arm == "clo":
            continue
        for side in ("target", "english"):
            estimate = difference(ours, group, monitor, side)
            found.append({"clo less": arm, "items": size, "side": side, **estimate.as_json()})
    return found
