"""Choose a layer pair from what sweeps left, and put the upper bound beside its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, open_run_directory, replacing, sha256_of
from lingraft.patching.bounds import BoundReport, bound_verdict, compare_bound, independent_curve, union_curve
from lingraft.patching.choosing import TaskKind, best_pair, coarse_pair, target_first
from lingraft.patching.map_files import read_answers, read_maps
from lingraft.patching.map_report import selection_sections
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.patching.records import DONORS_FILE, MAP_FILE, SAMPLES_FILE, VANILLA_FILE
from lingraft.patching.selection import SelectionLine, selection_table
from lingraft.patching.unions import Samples, read_samples
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Section, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result

SAMPLES_CONTROL = "samples"
"""Name of the control made of answers drawn from the unpatched model."""


def run_selection(
    run: Path,
    *,
    out: Path,
    controls: Mapping[str, Path],
    site: str | None = None,
    donor: int | None = None,
    task_kind: TaskKind = "understanding",
    folds: int = 5,
    seed: int = 0,
) -> tuple[RunResult, list[SelectionLine]]:
    """Score every way to choose a pair, and the upper bound against its controls.

    Args:
        run: A finished sweep's directory.
        out: Directory for selection.parquet, result.json and report.html.
        controls: By name, directories of sweeps whose donors are a control's; samples in `run` are one more.
        site: Which site; None where the sweep has one.
        donor: Which donor; None where the sweep has one.
        task_kind: Which coarse choice is the paper's.
        folds: Of the cross-fitting.
        seed: Of folds and bootstrap.

    Returns:
        The result, and the table's lines.

    Raises:
        LingraftError: A directory is no finished sweep, sites or donors are ambiguous, or too few answers are known.
    """
    for directory in (run, *controls.values()):
        read_result(directory)
    options = {
        "verb": "select",
        "run": str(run),
        "controls": {name: str(path) for name, path in controls.items()},
        "site": site,
        "donor": donor,
        "task_kind": task_kind,
        "folds": folds,
        "seed": seed,
        f"{CONTENT_OF}run": sha256_of(run / MAP_FILE),
        f"{CONTENT_OF}controls": {name: sha256_of(path / MAP_FILE) for name, path in controls.items()},
    }
    maps = read_maps(run / MAP_FILE, site=site, donor=donor)
    lines, bound, curves = _weigh(run, maps, controls, folds=folds, seed=seed, task_kind=task_kind)
    open_run_directory(out, options)
    _write_table(out / "selection.parquet", lines)
    result = RunResult(
        kind="patch select",
        metrics={
            "site": maps.site,
            "donor": maps.donor,
            "verdict": bound_verdict(bound),
            "bound": _plain(asdict(bound)),
            "methods": [_plain(asdict(line)) for line in lines],
            "settings": inference_settings(maps, task_kind),
            "task_kind": task_kind,
            "folds": folds,
            "seed": seed,
        },
        counts={"instances": {"judged": int(maps.known.sum()), "unknown": int((~maps.known).sum())}},
        inputs=tuple(
            InputRevision(role=role, reference=str(path), revision=sha256_of(path / MAP_FILE))
            for role, path in {"run": run, **{f"control {k}": v for k, v in controls.items()}}.items()
        ),
        seeds={"seed": seed},
        files={"selection": "selection.parquet", "report": "report.html"},
        provenance=collect_provenance(),
    )
    write_page(
        out / "report.html",
        selection_sections(lines, bound, curves),
        title="Choosing a layer pair",
        summary=bound_verdict(bound),
        result=result,
    )
    write_result(out, result)
    return result, lines


def kept_choice_sections(directory: Path, run: Path, controls: Mapping[str, Path]) -> list[Section]:
    """Lay out the page of a finished selection, from it and the sweeps that it read.

    Args:
        directory: Of the selection.
        run: Of the sweep.
        controls: By name, of the controls' sweeps.

    Returns:
        The sections.

    Raises:
        ConfigError: One of them is not finished.
    """
    metrics = read_result(directory).metrics
    maps = read_maps(run / MAP_FILE, site=metrics["site"], donor=metrics["donor"])
    given = {name: metrics[name] for name in ("folds", "seed", "task_kind")}
    return selection_sections(*_weigh(run, maps, controls, **given))


def _weigh(
    run: Path,
    maps: LayerMaps,
    controls: Mapping[str, Path],
    *,
    folds: int,
    seed: int,
    task_kind: TaskKind,
) -> tuple[list[SelectionLine], BoundReport, dict[str, dict[int, Estimate]]]:
    """Score all ways to choose, put the bound beside its controls, and count what so many tries give."""
    vanilla = read_answers(run / VANILLA_FILE)
    donors = read_answers(run / DONORS_FILE, donor=max(0, maps.donor))
    others = {name: _control(path, maps, name) for name, path in controls.items()}
    unpatched = {name: read_answers(path / VANILLA_FILE) for name, path in controls.items()}
    lines = selection_table(
        maps, vanilla, donors, controls=others, folds=folds, seed=seed, task_kind=task_kind
    )
    tries: dict[str, LayerMaps | Samples] = {**others}
    curves = {"layer pairs": union_curve(maps, seed=seed)}
    curves |= {name: union_curve(control, seed=seed) for name, control in others.items()}
    if (run / SAMPLES_FILE).exists():
        drawn = read_samples(run / SAMPLES_FILE)
        tries[SAMPLES_CONTROL] = drawn
        curves[SAMPLES_CONTROL] = union_curve(drawn, seed=seed)
        if drawn.correct.shape[1] < maps.pairs:
            name = f"{SAMPLES_CONTROL}, at each instance's rate"
            curves[name] = independent_curve(drawn, sorted(curves["layer pairs"]), seed=seed)
    return lines, compare_bound(maps, tries, vanilla=vanilla, control_vanilla=unpatched, seed=seed), curves


def inference_settings(maps: LayerMaps, task_kind: TaskKind) -> dict[str, Any]:
    """Pairs to use at inference, chosen on all labelled instances: their accuracy here is hindsight, so none is given.

    Args:
        maps: The maps.
        task_kind: Which coarse choice is the paper's.

    Returns:
        By language, or `all`: `coarse`, `target first` and `best pair`, each a donor and a receiver layer.
    """
    judged = maps.rows(maps.known)
    languages = np.array(judged.languages)
    groups = {"all": np.ones(len(languages), dtype=np.bool_)}
    if len(set(judged.languages)) > 1:
        groups |= {name: languages == name for name in sorted(set(judged.languages))}
    found: dict[str, Any] = {}
    for name, rows in groups.items():
        part = judged.rows(rows)
        pairs = {
            "coarse": coarse_pair(part, task_kind),
            "target first": best_pair(part, target_first(part)) if len(target_first(part)) else None,
            "best pair": best_pair(part, np.arange(part.pairs)),
        }
        found[name] = {
            method: {
                "donor_layer": int(maps.donor_layers[pair]),
                "receiver_layer": int(maps.receiver_layers[pair]),
            }
            for method, pair in pairs.items()
            if pair is not None
        }
    return found


def answer_lines(maps: LayerMaps, vanilla: Answers, donors: Answers | None, seed: int) -> list[SelectionLine]:
    """Score one fixed pair, the unpatched model, and the donor's own answers.

    Args:
        maps: Maps of a single pair.
        vanilla: Unpatched answers.
        donors: The donor's own.
        seed: Of the bootstrap.

    Returns:
        A line each for all languages, and one for every language.

    Raises:
        ConfigError: More than one pair, or no known answer.
    """
    from lingraft.patching.selection import method_lines

    judged = maps.rows(maps.known)
    if judged.pairs != 1 or not judged.instances:
        raise ConfigError(
            f"{judged.pairs} pairs and {len(judged.instances)} instances with known answers",
            "one pair, and at least one answer",
            "give rows an answer",
        )
    own = vanilla.of(judged.instances)
    lines = method_lines("vanilla", own.correct, own, judged, pairs=0, uses_labels=False, seed=seed)
    if donors is not None and donors.of(judged.instances).known.all():
        right = donors.of(judged.instances).correct
        lines += method_lines("donor", right, own, judged, pairs=0, uses_labels=False, seed=seed)
    return lines + method_lines(
        "patched", judged.correct[:, 0], own, judged, pairs=1, uses_labels=False, seed=seed
    )


def selection_rows(lines: Sequence[SelectionLine]) -> list[str]:
    """The table for a person."""
    width = max((len(line.method) for line in lines), default=0)
    shown = []
    for language in dict.fromkeys(line.language for line in lines):
        members = [line for line in lines if line.language == language]
        shown.append(f"{language} ({members[0].instances} instances)")
        for line in members:
            against = "" if line.difference is None else f"  {_points(line.difference)} points to vanilla"
            shown.append(f"  {line.method:<{width}}  {_share(line.accuracy)}{against}")
    return shown


def _control(path: Path, maps: LayerMaps, name: str) -> LayerMaps:
    try:
        return read_maps(path / MAP_FILE, site=maps.site, donor=maps.donor)
    except ConfigError:
        # A control with one donor (`self`) stands beside each of several.
        try:
            return read_maps(path / MAP_FILE, site=maps.site)
        except ConfigError as error:
            raise ConfigError(
                f"control {name!r}: {error.found}", error.expected, "sweep it at the same site"
            ) from error


def _write_table(path: Path, lines: Sequence[SelectionLine]) -> None:
    rows: list[dict[str, Any]] = []
    for line in lines:
        row = {
            name: getattr(line, name) for name in ("method", "language", "instances", "pairs", "uses_labels")
        }
        for name, estimate in (("accuracy", line.accuracy), ("difference", line.difference)):
            for part in ("value", "low", "high"):
                row[f"{name}_{part}"] = None if estimate is None else getattr(estimate, part)
        rows.append(row)
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def _plain(value: Any) -> Any:
    """Without numpy's types and tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _share(estimate: Estimate) -> str:
    interval = (
        ""
        if estimate.low is None
        else f" ({100 * estimate.low:.1f} to {100 * cast(float, estimate.high):.1f})"
    )
    return f"{100 * estimate.value:5.1f} %{interval}"


def _points(estimate: Estimate) -> str:
    interval = (
        ""
        if estimate.low is None
        else f" ({100 * estimate.low:+.1f} to {100 * cast(float, estimate.high):+.1f})"
    )
    return f"{100 * estimate.value:+.1f}{interval}"
