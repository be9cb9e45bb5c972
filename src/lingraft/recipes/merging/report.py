"""What a merge leaves beside its weights: result, recipe, model card and report."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.files import write_text
from lingraft.preference.merging import MergePlan
from lingraft.reports.local_paths import path_name
from lingraft.reports.page import Paragraph, Section, Table, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, write_recipe, write_result

NO_TOKENIZER = "no tokenizer was found beside the weights: the result has none"


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge that was carried out.

    Attributes:
        kind: The verb.
        plan: What was done with every tensor.
        options: All options of the command.
        inputs: What was read.
        carried: Files copied from one input.
        files_from: That input's role.
        seconds: How long it took.
    """

    kind: str
    plan: MergePlan
    options: Mapping[str, Any]
    inputs: tuple[InputRevision, ...]
    carried: tuple[str, ...]
    files_from: str
    seconds: float

    def warnings(self) -> list[str]:
        """Return what the user should know, a line each."""
        lacking = not any(name.startswith(("tokenizer", "vocab")) for name in self.carried)
        same = [
            f"{one.role} and {other.role} have the same weights"
            for one, other in itertools.combinations(self.inputs, 2)
            if one.revision == other.revision
        ]
        return [*self.plan.warnings, *same, *([NO_TOKENIZER] if lacking else [])]


def merge_result(merge: Merge) -> RunResult:
    """Return what `result.json` holds: tensors, parameters and bytes by where they come from."""
    origins = merge.plan.origins()
    return RunResult(
        kind=f"merge {merge.kind}",
        metrics={
            "tensors": len(merge.plan.tensors),
            "bytes": merge.plan.bytes,
            "config_from": merge.plan.first,
            "tokenizer_from": merge.files_from,
            "carried": list(merge.carried),
            "layers": _layers(merge),
            "warnings": merge.warnings(),
            "seconds": round(merge.seconds, 2),
        },
        counts={
            **{
                what: {origin: entry[what] for origin, entry in origins.items()}
                for what in ("tensors", "parameters", "bytes")
            },
            "dtypes": merge.plan.dtypes(),
        },
        inputs=merge.inputs,
        files={"checkpoint": ".", "report": "report.html", "recipe": "recipe.yaml"},
        provenance=collect_provenance(),
    )


def merge_lines(result: RunResult) -> list[str]:
    """Return what a person reads of a merge.

    Args:
        result: Of the merge.

    Returns:
        A line an origin, then dtypes, carried files and warnings.
    """
    counts, metrics = result.counts, result.metrics
    width = max(len(origin) for origin in counts["tensors"])
    dtypes = ", ".join(counts["dtypes"])
    return [
        f"{metrics['tensors']:,} tensors, {metrics['bytes'] / 2**20:,.1f} MiB, {dtypes}",
        *(
            f"  {origin:<{width}}  {number:>6,} tensors {counts['bytes'][origin] / 2**20:>10,.1f} MiB"
            for origin, number in counts["tensors"].items()
        ),
        f"config from {metrics['config_from']}; tokenizer, chat template and generation config from"
        f" {metrics['tokenizer_from']}",
        *(f"warning: {line}" for line in metrics["warnings"]),
    ]


def write_merge_pages(directory: Path, merge: Merge, result: RunResult) -> None:
    """Write recipe.yaml, README.md, report.html and result.json.

    Args:
        directory: Of the checkpoint.
        merge: What was done.
        result: Its result.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    write_recipe(
        directory,
        {"merge": merge.kind, **merge.options},
        provenance=result.provenance,
        inputs=result.inputs,
    )
    write_text(directory / "README.md", _model_card(merge, result))
    write_page(
        directory / "report.html",
        merge_sections(result),
        title=f"Merged checkpoint: {merge.kind}",
        summary=" ".join(merge_lines(result)[:1]) + " " + merge_summary(result),
        result=result,
    )
    write_result(directory, result)


def merge_summary(result: RunResult) -> str:
    """Say in a sentence where the tensors come from."""
    return "; ".join(f"{number:,} {origin}" for origin, number in result.counts["tensors"].items()) + "."


def _layers(merge: Merge) -> list[list[Any]]:
    """Return a row a part of the model, from the first layer on: its name, its tensors, and where they come from."""
    layers: dict[int | None, dict[str, int]] = {}
    for tensor in merge.plan.tensors:
        entry = layers.setdefault(tensor.layer, {})
        entry[tensor.origin] = entry.get(tensor.origin, 0) + 1
    return [
        ["outside the layers" if layer is None else f"layer {layer}", sum(entry.values()), ", ".join(entry)]
        for layer, entry in sorted(layers.items(), key=lambda item: (item[0] is None, item[0] or 0))
    ]


def merge_sections(result: RunResult) -> list[Section]:
    """Show where the tensors come from, in total and layer by layer.

    Args:
        result: Of the merge.

    Returns:
        The page's own sections.
    """
    metrics, counts = result.metrics, result.counts
    origins = [
        (origin, counts["tensors"][origin], counts["parameters"][origin], counts["bytes"][origin] / 2**20)
        for origin in counts["tensors"]
    ]
    return [
        Section(
            "Where the weights come from",
            [
                *(Paragraph(line, warning=True) for line in metrics["warnings"]),
                Table("Tensors by origin", ("origin", "tensors", "parameters", "MiB"), origins, digits=1),
                Table("Layer by layer", ("part", "tensors", "origin"), metrics["layers"]),
            ],
        ),
        Section(
            "Files carried over",
            [Paragraph(f"From {metrics['tokenizer_from']}: {', '.join(metrics['carried']) or 'none'}.")],
        ),
    ]


def _model_card(merge: Merge, result: RunResult) -> str:
    """Return the text of the checkpoint's README.md, which goes to others: no paths of this machine."""
    inputs = "\n".join(
        f"- {item.role}: `{path_name(item.reference)}` ({item.revision})" for item in result.inputs
    )
    roles = {item.role for item in result.inputs}
    given = {name: value for name, value in merge.options.items() if name not in roles and value is not None}
    options = "\n".join(f"- {name}: {value}" for name, value in given.items())
    origins = "\n".join(f"- {origin}: {number:,}" for origin, number in result.counts["tensors"].items())
    warnings = "".join(f"\nNote: {line}.\n" for line in merge.warnings())
    return (
        f"# A merged model ({merge.kind})\n\n"
        f"Made by lingraft {result.provenance.lingraft} without training. Config and tensor names are those of"
        f" {merge.plan.first}, tokenizer, chat template and generation config those of {merge.files_from}.\n\n"
        f"Inputs:\n\n{inputs}\n\nOptions of `lingraft merge {merge.kind}`:\n\n{options}\n\n"
        f"Tensors by origin:\n\n{origins}\n{warnings}\n"
        "The licences of all inputs apply to this checkpoint.\n"
    )
