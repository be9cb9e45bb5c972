"""What a vocabulary transfer leaves on disk: checkpoint, provenance, result and report, all or nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lingraft.files import mark_run, replacing_directory
from lingraft.models.saving import save_checkpoint
from lingraft.reports.figures import histogram
from lingraft.reports.local_paths import command_names, path_name
from lingraft.reports.page import Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, read_result, write_result
from lingraft.vocabulary.transfer import TransferResult

PROVENANCE = "provenance.parquet"
EXAMPLES_PER_ORIGIN = 8


def write_transfer(
    directory: Path,
    transferred: TransferResult,
    *,
    options: Mapping[str, Any],
    inputs: Sequence[InputRevision],
    command: Mapping[str, Any] | None = None,
    corpus_counts: Mapping[str, int] | None = None,
    inspection: Mapping[str, Any] | None = None,
) -> RunResult:
    """Write the whole outcome of a transfer as one directory, atomically.

    Args:
        directory: Missing or empty.
        transferred: The outcome.
        options: The resolved options, as `recipe.yaml` keeps them.
        inputs: Model, tokenizer, donor and corpus with their revisions.
        command: What the run is known again by; None for `options`.
        corpus_counts: Documents read, and lines passed over with the reason.
        inspection: Of `inspect_vocabulary`, to be kept in the result.

    Returns:
        What `result.json` holds.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
        ModelError: The model cannot be saved.
    """
    provenance, seeds = collect_provenance(), {"draws": int(options["seed"])}
    recipe = {
        "vocabulary": dict(options),
        "inputs": [item.model_dump() for item in inputs],
        "seeds": seeds,
        "versions": {
            "lingraft": provenance.lingraft,
            "python": provenance.python,
            **provenance.libraries,
        },
    }
    result = RunResult(
        kind="vocab transfer",
        metrics={
            "method": transferred.method,
            "reason": transferred.reason,
            "target_tokens": transferred.provenance.num_rows,
            **{f"method_{name}": value for name, value in transferred.notes.items()},
            **({} if inspection is None else {"inspection": dict(inspection)}),
        },
        counts={
            "tokens": dict(transferred.counts),
            **({"corpus": dict(corpus_counts)} if corpus_counts else {}),
        },
        inputs=tuple(inputs),
        seeds=seeds,
        files={"provenance": PROVENANCE, "report": "report.html", "checkpoint": "."},
        provenance=provenance,
    )
    with replacing_directory(directory) as temporary:
        save_checkpoint(
            temporary, transferred.model, transferred.tokenizer, recipe=recipe, card=model_card(result)
        )
        pq.write_table(transferred.provenance, temporary / PROVENANCE)
        write_page(
            temporary / "report.html",
            transfer_sections(transferred.provenance, method=transferred.method, reason=transferred.reason),
            title="Vocabulary transfer",
            summary=transfer_summary(result),
            result=result,
        )
        write_result(temporary, result)
        mark_run(temporary, options if command is None else command)
    return result


def transfer_summary(result: RunResult) -> str:
    """One sentence: how many rows came from where."""
    metrics, counts = result.metrics, result.counts["tokens"]
    parts = ", ".join(f"{number:,} {origin}" for origin, number in sorted(counts.items()))
    return f"{metrics['target_tokens']:,} target tokens by {metrics['method']}: {parts}."


def kept_transfer_sections(directory: Path) -> list[Section]:
    """The report's own part of a finished transfer, from its files.

    Args:
        directory: What `write_transfer` wrote.

    Returns:
        What `transfer_sections` gives.

    Raises:
        ConfigError: It holds no finished transfer.
    """
    metrics = read_result(directory).metrics
    table = pq.read_table(directory / PROVENANCE)
    return transfer_sections(table, method=metrics["method"], reason=metrics["reason"])


def transfer_sections(table: pa.Table, *, method: str, reason: str) -> list[Section]:
    """The report's own part: the choice, the origins with examples, the norms.

    Args:
        table: A row a token, as in provenance.parquet.
        method: Which initialiser.
        reason: Why this one.

    Returns:
        One section.
    """
    norms: dict[str, NDArray[np.float64]] = {}
    rows = []
    for origin in sorted(set(table["origin"].to_pylist())):
        group = table.filter(pa.compute.equal(table["origin"], origin))
        norms[origin] = np.asarray(group["norm"], dtype=np.float64)
        texts = [text for text in group["text"].to_pylist() if text is not None]
        residuals = [value for value in group["residual"].to_pylist() if value is not None]
        rows.append(
            (
                origin,
                len(group),
                float(np.mean(group["neighbours"])),
                float(np.mean(residuals)) if residuals else None,
                float(norms[origin].mean()),
                ", ".join(repr(text) for text in texts[:EXAMPLES_PER_ORIGIN]),
            )
        )
    headings = ("origin", "tokens", "mean neighbours", "mean residual", "mean norm", "examples")
    return [
        Section(
            "Where each row came from",
            [
                Paragraph(f"Method {method}: {reason}."),
                Table("Rows by origin", headings, rows),
                Figure(
                    "Norms of the input rows by origin",
                    "Histogram of row norms; the mean of each origin is in the table above.",
                    histogram(norms, x_label="norm of the row"),
                ),
            ],
        )
    ]


def model_card(result: RunResult) -> str:
    """Text of the checkpoint's README.md."""
    inputs = "\n".join(
        f"- {item.role}: `{path_name(item.reference)}` ({item.revision})" for item in result.inputs
    )
    counts = "\n".join(f"- {origin}: {number:,}" for origin, number in result.counts["tokens"].items())
    return (
        "# A model with a transferred vocabulary\n\n"
        f"Made by lingraft {result.provenance.lingraft}, method `{result.metrics['method']}`. The body's weights are"
        " the source model's; only the token embeddings and the tokenizer changed. It needs continued pre-training"
        f" before use.\n\nInputs:\n\n{inputs}\n\nOrigin of the rows:\n\n{counts}\n\n"
        f"Command:\n\n    {command_names(result.provenance.command)}\n\n"
        "The licence of the source model and of the donor apply to this checkpoint.\n"
    )
