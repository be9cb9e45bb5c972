"""What a finished sweep says: numbers, pictures and the page, from its tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lingraft.files import replacing, write_json
from lingraft.patching.bounds import upper_bound
from lingraft.patching.choosing import best_pair
from lingraft.patching.instances import Instance
from lingraft.patching.map_figures import heatmaps
from lingraft.patching.map_files import answer_labels, map_keys, read_answers, read_maps
from lingraft.patching.map_report import map_sections
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.patching.plan import SweepCost
from lingraft.patching.records import DONORS_FILE, MAP_FILE, SAMPLES_FILE, VANILLA_FILE
from lingraft.reports.intervals import mean_interval
from lingraft.reports.page import Section, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result

TEXTS_FILE = "texts.json"
"""What the numbers of answers mean, by instance."""
Keyed = Mapping[tuple[str, int], LayerMaps]


def write_sweep_result(
    out: Path,
    *,
    instances: Sequence[Instance],
    tokenizer: Any,
    cost: SweepCost,
    seconds: float,
    inputs: Sequence[InputRevision],
    seed: int,
    device: str,
    control: str,
    score: str,
    layers: int,
) -> RunResult:
    """Write pictures, report.html and, last, result.json, from the tables that are in `out`.

    Args:
        out: Run directory with the merged tables.
        instances: What was asked.
        tokenizer: Decodes first tokens.
        cost: The plan's counts.
        seconds: What the instances took together.
        inputs: What the run read.
        seed: Of the run.
        device: Where it was computed.
        control: Which control it is, `none` for a real run.
        score: How rows were scored.
        layers: Of the model.

    Returns:
        The result.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    keyed, vanilla, donors = _read_kept(out, control)
    files = {"map": MAP_FILE, "vanilla": VANILLA_FILE, "donors": DONORS_FILE, "texts": TEXTS_FILE}
    files["report"] = "report.html"
    if (out / SAMPLES_FILE).exists():
        files["samples"] = SAMPLES_FILE
    tables = (MAP_FILE, VANILLA_FILE, DONORS_FILE)
    texts = answer_texts([out / name for name in tables], instances, tokenizer)
    write_json(out / TEXTS_FILE, texts)
    pictures = heatmaps(keyed, vanilla, layers=layers)
    for name, picture in pictures.items():
        with replacing(out / f"{name}.png") as temporary:
            temporary.write_bytes(picture.light)
        files[name] = f"{name}.png"
    result = RunResult(
        kind="patch sweep",
        metrics={
            "score": score,
            "control": control,
            "layers": layers,
            "accuracy": sweep_metrics(keyed, vanilla, donors),
            "cost": cost.as_json(),
            "seconds": round(seconds, 3),
        },
        counts={"instances": instance_counts(instances)},
        inputs=tuple(inputs),
        seeds={"seed": seed},
        files=files,
        provenance=collect_provenance(device=device),
    )
    write_page(
        out / "report.html",
        map_sections(
            keyed,
            vanilla,
            donors,
            texts=texts,
            control=control,
            layers=layers,
            pictures=pictures,
        ),
        title="Latent transplants, layer by layer",
        summary="What the model answers when one language's activations take another's place, for every layer pair.",
        result=result,
    )
    write_result(out, result)
    return result


def kept_sweep_sections(directory: Path, *, compared: bool = False) -> list[Section]:
    """Lay out the page of a finished sweep from what it left.

    Args:
        directory: The run directory.
        compared: The page puts the upper bound beside its controls elsewhere.

    Returns:
        What `map_sections` gives.

    Raises:
        ConfigError: It holds no finished sweep.
    """
    metrics = read_result(directory).metrics
    texts = json.loads((directory / TEXTS_FILE).read_text(encoding="utf-8"))
    return map_sections(
        *_read_kept(directory, metrics["control"]),
        texts={name: {int(label): text for label, text in said.items()} for name, said in texts.items()},
        control=metrics["control"],
        layers=metrics["layers"],
        compared=compared,
    )


def _read_kept(out: Path, control: str) -> tuple[Keyed, Answers, Answers | None]:
    """Return maps by site and donor, unpatched answers, and the first donor's own."""
    keyed = {
        (site, donor): read_maps(out / MAP_FILE, site=site, donor=donor)
        for site, donor in map_keys(out / MAP_FILE)
    }
    # Another instance's donor answers another question.
    donors = None if control == "shuffled" else read_answers(out / DONORS_FILE, donor=0)
    return keyed, read_answers(out / VANILLA_FILE), donors


def sweep_metrics(keyed: Keyed, vanilla: Answers, donors: Answers | None) -> dict[str, Any]:
    """Shares of right answers, for every site and donor; nothing where no answer is known.

    Args:
        keyed: Maps by site and donor.
        vanilla: Unpatched answers.
        donors: The first donor's own.

    Returns:
        By site and donor: `vanilla`, `donor`, `mean_pair`, `best_pair_in_hindsight`, `upper_bound`, with intervals.
    """
    found: dict[str, Any] = {}
    for (site, donor), maps in keyed.items():
        judged = maps.rows(maps.known)
        if not judged.instances:
            continue
        own = vanilla.of(judged.instances)
        line: dict[str, Any] = {"vanilla": mean_interval(own.correct).as_json()}
        if donors is not None and donors.of(judged.instances).known.all():
            line["donor"] = mean_interval(donors.of(judged.instances).correct).as_json()
        best = best_pair(judged, np.arange(judged.pairs))
        line["mean_pair"] = mean_interval(judged.correct.mean(axis=1)).as_json()
        line["best_pair_in_hindsight"] = {
            "donor_layer": int(judged.donor_layers[best]),
            "receiver_layer": int(judged.receiver_layers[best]),
            **mean_interval(judged.correct[:, best]).as_json(),
        }
        line["upper_bound"] = upper_bound(judged).as_json()
        found.setdefault(site, {})[f"donor {donor}"] = line
    return found


def instance_counts(instances: Sequence[Instance]) -> dict[str, int]:
    """How many instances there are, by language."""
    counts: dict[str, int] = {}
    for instance in instances:
        name = instance.language or "no language named"
        counts[name] = counts.get(name, 0) + 1
    return counts


def answer_texts(
    paths: Sequence[Path], instances: Sequence[Instance], tokenizer: Any
) -> dict[str, dict[int, str]]:
    """What the numbers of answers mean.

    Args:
        paths: The sweep's tables.
        instances: For their options.
        tokenizer: For first tokens.

    Returns:
        By instance and label (see `answer_labels`), the option, the generated text, or the token.
    """
    options = {instance.id: instance.options for instance in instances}
    columns = ["instance", "choice", "text", "token_id"]
    texts: dict[str, dict[int, str]] = {}
    # Batch by batch: the whole table need not be held.
    for batch in (part for path in paths for part in pq.ParquetFile(path).iter_batches(columns=columns)):
        labels = answer_labels(*(batch[name].to_numpy(zero_copy_only=False) for name in columns[1:]))
        names = batch["instance"].to_pylist()
        for place in _first_of_each(names, labels):
            row = {name: batch[name][place].as_py() for name in columns[1:]}
            if row["choice"] >= 0:
                text = options[names[place]][row["choice"]]
            elif row["text"] is not None:
                text = row["text"]
            else:
                text = str(tokenizer.decode([row["token_id"]]))
            texts.setdefault(names[place], {}).setdefault(int(labels[place]), text)
    return texts


def _first_of_each(names: Sequence[str], labels: Any) -> list[int]:
    """Place of the first row of every instance and label."""
    seen: dict[tuple[str, int], int] = {}
    for place, key in enumerate(zip(names, labels.tolist(), strict=True)):
        seen.setdefault(key, place)
    return list(seen.values())
