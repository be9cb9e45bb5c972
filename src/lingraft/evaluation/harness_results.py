"""What lm-eval returns, in plain names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class HarnessResult:
    """What lm-eval measured.

    Attributes:
        metrics: Task or group to metric to value; a metric's name is lm-eval's, `acc`, with `_stderr` for its standard
            error and `,filter` where a filter other than `none` made it.
        documents: Task to the number of documents.
        shots: Task to the number of examples in front of each document.
        samples: Task to its documents, each with `doc_id`, `arguments`, `responses` and a value for every metric.
        counts: What happened on the way, as `truncated` requests.
    """

    metrics: dict[str, dict[str, float]]
    documents: dict[str, int]
    shots: dict[str, int]
    samples: dict[str, list[dict[str, Any]]]
    counts: dict[str, int]


def read_result(found: Mapping[str, Any], counts: Mapping[str, int]) -> HarnessResult:
    """Take what is wanted from lm-eval's results.

    Args:
        found: What `lm_eval.evaluator.evaluate` returned.
        counts: What was counted on the way; zeros are left out.

    Returns:
        The result.
    """
    return HarnessResult(
        metrics={task: _metrics(values) for task, values in found["results"].items()},
        documents={task: int(count["effective"]) for task, count in found["n-samples"].items()},
        shots={task: int(found["n-shot"][task]) for task in found["n-samples"]},
        samples={task: [_sample(one) for one in rows] for task, rows in found["samples"].items()},
        counts={name: count for name, count in sorted(counts.items()) if count},
    )


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """`{"acc,none": 0.5, "alias": ...}` to `{"acc": 0.5}`."""
    metrics = {}
    for key, value in values.items():
        name, comma, kind = key.partition(",")
        if comma and isinstance(value, int | float):
            metrics[name if kind == "none" else f"{name},{kind}"] = float(value)
    return metrics


def _sample(logged: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: logged[name] for name in ("doc_id", "filter", "target", "arguments")}
    values = {name: logged[name] for name in logged["metrics"]}
    return {**kept, "responses": logged["filtered_resps"], **values}
