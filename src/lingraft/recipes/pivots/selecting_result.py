"""What `pivots select` leaves beside the documents: result.json, recipe.yaml and report.html."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lingraft.corpora.partials import CorpusResult
from lingraft.corpora.shards import plan_shards
from lingraft.files import sha256_of
from lingraft.pivots.matching import Matching
from lingraft.pivots.selection import SELECTED, Chosen, language_distance, language_tokens, overlap
from lingraft.pivots.selection_ranking import COUNTS
from lingraft.pivots.selection_report import pivot_share, selection_sections
from lingraft.recipes.pivots.discovering_inputs import corpus_revision
from lingraft.recipes.pivots.selecting_inputs import SelectOptions
from lingraft.recipes.pivots.selecting_setting import Setting
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Section, write_page
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, write_recipe, write_result

TABLE = "selection.parquet"
BEST = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was chosen.

    Attributes:
        chosen: The sets, by name.
        names: Their order.
        shards: Output shards of each.
        corpus: Of the ranking pass.
        share: Of the budget, that every set got.
        matched: Tokens of the control by frequency.
        from_other_corpus: Sets whose documents are not of the corpus that the selection is of.
    """

    chosen: Mapping[str, Chosen]
    names: tuple[str, ...]
    shards: Mapping[str, int]
    corpus: CorpusResult
    share: float
    matched: frozenset[str]
    from_other_corpus: tuple[str, ...]


def write_outcome(out: Path, options: SelectOptions, setting: Setting, outcome: Outcome) -> RunResult:
    """Write result, recipe and report.

    Args:
        out: The run directory, with `selection.parquet` in it.
        options: As given.
        setting: What was read before the corpus.
        outcome: What was chosen.

    Returns:
        The result.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    names, scores, lengths = _scores(out)
    rows = [_set_row(name, outcome, scores[names == name], lengths[names == name]) for name in outcome.names]
    counted = dict(zip(COUNTS, outcome.corpus.partial["counts"].tolist(), strict=True))
    result = RunResult(
        kind="pivots select",
        metrics={
            "budget": options.tokens,
            "share_of_budget": outcome.share,
            "unit": setting.unit,
            "pivots": len(setting.pivots),
            "pivots_removed": setting.removed,
            "sets": [row | {"pivot_share": row["pivot_share"].as_json()} for row in rows],
            "guard": {
                "test_words": len(setting.test_words.words),
                "removed": setting.removed,
                "documents": counted["both words of a test pair"] if options.keep_out_test_pairs else None,
            },
            "warnings": _warnings(options, outcome),
            "semantics": (
                f"score: share of a document's {setting.tokens.name()} that are in the pivot set; {Matching()};"
                " equal texts count once; the last document of a set is cut to the budget"
            ),
        },
        counts=_counts(setting, outcome, counted),
        inputs=_inputs(options, setting),
        seeds={"seed": options.seed},
        files={"selection": TABLE, "selected": SELECTED, "controls": "controls", "report": "report.html"},
        provenance=collect_provenance(),
    )
    write_recipe(out, asdict(options), provenance=result.provenance, inputs=result.inputs, seeds=result.seeds)
    write_page(
        out / "report.html",
        kept_selection_sections(out, result),
        title="Documents chosen by pivots",
        summary=summary(result),
        result=result,
    )
    write_result(out, result)
    return result


def kept_selection_sections(directory: Path, result: RunResult) -> list[Section]:
    """Lay out the page of a selection from what it left.

    Args:
        directory: The run directory, with selection.parquet.
        result: Its result.

    Returns:
        The sections.
    """
    metrics = result.metrics
    names, scores, _ = _scores(directory)
    return selection_sections(
        [row | {"pivot_share": Estimate(**row["pivot_share"])} for row in metrics["sets"]],
        {row["name"]: scores[names == row["name"]] for row in metrics["sets"]},
        _best(directory),
        _often(directory),
        unit=metrics["unit"],
        guard=metrics["guard"],
        warnings=metrics["warnings"],
    )


def _scores(out: Path) -> tuple[NDArray[np.object_], NDArray[np.float64], NDArray[np.int64]]:
    """Return set, score and length of every chosen document."""
    table = pq.read_table(out / TABLE, columns=["set", "score", "length"])
    names = np.array(table["set"].to_pylist(), dtype=object)
    return names, table["score"].to_numpy(), table["length"].to_numpy()


def _counts(setting: Setting, outcome: Outcome, counted: Mapping[str, int]) -> dict[str, dict[str, int]]:
    documents = {"with text" if name == "documents" else name: number for name, number in counted.items()}
    return {
        "documents": documents,
        "pivots": {
            "used": len(setting.pivots),
            "test words": len(setting.removed),
            **setting.pivot_set.left_out,
        },
        "test words": {
            "words": len(setting.test_words.words),
            "given more than once": setting.test_words.repeated,
        },
        "bad lines": dict(outcome.corpus.bad),
    }


def summary(result: RunResult) -> str:
    """Say in a sentence what was chosen."""
    first, *controls = result.metrics["sets"]
    documents = result.counts["documents"]["with text"]
    text = (
        f"{first['documents']:,} of {documents:,} documents selected, {first['tokens']:,} {result.metrics['unit']},"
        f" {100 * first['pivot_share']['value']:.1f} % of them pivots"
    )
    if controls:
        listed = ", ".join(f"{row['name']} {100 * row['pivot_share']['value']:.1f} %" for row in controls)
        text += f" (controls: {listed})"
    return text + "."


def _set_row(name: str, outcome: Outcome, scores: Any, lengths: Any) -> dict[str, Any]:
    chosen = outcome.chosen[name]
    own = name == SELECTED or name in outcome.from_other_corpus
    return {
        "name": name,
        "documents": len(chosen.places),
        "tokens": chosen.tokens,
        "mean_length": float(lengths.mean()) if len(lengths) else 0.0,
        "pivot_share": pivot_share(scores, lengths),
        "overlap": None if own else overlap(chosen, outcome.chosen[SELECTED]),
        "languages": language_tokens(chosen),
        "shards": outcome.shards[name],
    }


def _warnings(options: SelectOptions, outcome: Outcome) -> list[str]:
    said = []
    if outcome.share < 1:
        said.append(
            f"The corpus does not fill {options.tokens:,} tokens for every set: all shrank to {outcome.share:.1%}."
        )
    if not options.controls:
        said.append("There is no control: a gain after training on the selection could come from any text.")
    for name in outcome.names[1:]:
        if name in outcome.from_other_corpus:
            continue
        if (common := overlap(outcome.chosen[name], outcome.chosen[SELECTED])) > 0.5:
            said.append(
                f"{common:.0%} of the control {name} is in documents that are selected too: it can hardly differ."
                " A smaller budget or a larger corpus sets them apart."
            )
        if (distance := language_distance(outcome.chosen[name], outcome.chosen[SELECTED])) > 0.2:
            said.append(
                f"{distance:.0%} of the control {name} is in other languages than the selection: --quota gives both"
                " the same ones."
            )
    return said


def _inputs(options: SelectOptions, setting: Setting) -> tuple[InputRevision, ...]:
    corpora = [("corpus", options.corpus), ("parallel corpus", options.parallel_corpus)]
    return (
        *(
            InputRevision(role=role, reference=" ".join(paths), revision=corpus_revision(plan_shards(paths)))
            for role, paths in corpora
            if paths
        ),
        InputRevision(role="pivots", reference=options.pivots, revision=sha256_of(Path(options.pivots))),
        *(
            InputRevision(role="test words", reference=path, revision=sha256_of(Path(path)))
            for path in options.test_words
        ),
        *setting.revisions,
    )


def _best(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / TABLE, filters=[("set", "=", SELECTED), ("rank", "<=", BEST)])
    rows: list[dict[str, Any]] = table.sort_by("rank").to_pylist()
    return rows


def _often(out: Path) -> list[tuple[str, int]]:
    found: Counter[str] = Counter()
    with pq.ParquetFile(out / TABLE) as file:
        for batch in file.iter_batches(columns=["set", "pivots"]):
            for row in batch.to_pylist():
                if row["set"] == SELECTED:
                    found.update(row["pivots"])
    return sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
