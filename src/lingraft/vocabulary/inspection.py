"""`inspect_vocabulary`: what a transfer would meet, before anything is changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from lingraft.models.embeddings import EmbeddingMatrices, read_embeddings
from lingraft.models.loading import LoadedDonor, LoadedModel
from lingraft.tokenizers.fertility import FertilityReport, digit_warning, measure_fertility
from lingraft.vocabulary.building import build_problem
from lingraft.vocabulary.config import Mode
from lingraft.vocabulary.problem import TransferProblem
from lingraft.vocabulary.special_ids import adapted_to

SAMPLE = 2000
"""Documents that fertility is measured on: enough for three digits, read in a second."""
SMALL_OVERLAP = 500


def inspect_vocabulary(
    model: LoadedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    donor: LoadedDonor | None = None,
    corpus: Iterable[str] | None = None,
    mode: Mode = "replace",
) -> dict[str, Any]:
    """The pre-flight report.

    Args:
        model: The source model; not changed.
        tokenizer: The target tokenizer, not yet adapted.
        donor: Target-language model.
        corpus: Target-language documents; fertility is measured on the first 2,000.
        mode: `replace` or `extend`.

    Returns:
        JSON-able: `vocabulary` (sizes), `overlap` (shared by bytes, matched by role, new), `anchors` (shared tokens
        with a donor row, the donor's whole overlap with the source, new tokens without a donor vector), `fertility`
        (`before`, `after`) and `warnings`, a line each.

    Raises:
        TransferError: The inputs do not fit each other.
        TokenizerError: A tokenizer that lacks a special role the model needs.
    """
    matrices = read_embeddings(model.model)
    adapted = tokenizer if mode == "extend" else adapted_to(tokenizer, model)
    problem = build_problem(matrices.input.float().cpu(), model.tokenizer, adapted, mode=mode, donor=donor)
    counted = describe_problem(problem, matrices)
    return complete_report(counted, model.tokenizer, adapted, corpus=corpus, has_donor=donor is not None)


def describe_problem(problem: TransferProblem, matrices: EmbeddingMatrices) -> dict[str, Any]:
    """Count what the two vocabularies share.

    Args:
        problem: The transfer to be made.
        matrices: The source model's.

    Returns:
        `vocabulary`, `overlap` and `anchors` of the pre-flight report.
    """
    shared = int((~problem.match.by_role).sum())
    return {
        "vocabulary": {
            "source": len(problem.source_pieces),
            "target": len(problem.target_pieces),
            "tied": matrices.tied,
            "parameters_saved": (len(matrices.input) - len(problem.target_pieces))
            * matrices.input.shape[1]
            * (1 if matrices.tied else 2),
        },
        "overlap": {"shared": shared, "by_role": len(problem.match) - shared, "new": len(problem.new_ids)},
        "anchors": _anchors(problem),
    }


def complete_report(
    counted: Mapping[str, Any],
    source_tokenizer: PreTrainedTokenizerBase,
    adapted: PreTrainedTokenizerBase,
    *,
    corpus: Iterable[str] | None = None,
    has_donor: bool = True,
) -> dict[str, Any]:
    """Add to the counts what the tokenizers make of the text, and warnings.

    Args:
        counted: Of `describe_problem`.
        source_tokenizer: The model's.
        adapted: The target tokenizer, adapted to the model.
        corpus: Target-language documents; fertility is measured on the first 2,000.
        has_donor: Whether there is a donor.

    Returns:
        The pre-flight report.
    """
    report: dict[str, Any] = {**counted, "fertility": None, "warnings": []}
    if corpus is not None:
        sample = list(islice((text for text in corpus if text.strip()), SAMPLE))
        report["fertility"] = {
            "before": _fertility(measure_fertility(source_tokenizer, sample)),
            "after": _fertility(measure_fertility(adapted, sample)),
        }
    report["warnings"] = list(_warnings(report, source_tokenizer, adapted, has_donor))
    return report


def inspection_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for a person to read."""
    vocabulary, overlap, anchors = report["vocabulary"], report["overlap"], report["anchors"]
    yield f"vocabulary   {vocabulary['source']:,} -> {vocabulary['target']:,} tokens"
    yield (
        f"overlap      {overlap['shared']:,} shared by bytes, {overlap['by_role']:,} special by role,"
        f" {overlap['new']:,} new"
    )
    if anchors is not None:
        yield (
            f"anchors      {anchors['shared_with_donor_row']:,} shared tokens have a donor row;"
            f" {anchors['source_tokens_in_donor']:,} source tokens are in the donor's whole vocabulary"
        )
        yield f"             {anchors['new_without_donor_vector']:,} new tokens have no donor vector"
    if report["fertility"] is not None:
        for name in ("before", "after"):
            row = report["fertility"][name]
            yield (
                f"{name:<12} {row['tokens_per_word']:.2f} tokens a word, {row['bytes_per_token']:.2f} bytes a token,"
                f" {row['whole_words']:.0%} of words whole, digits {row['digits']},"
                f" {row['round_trip']:.1%} of texts come back exactly"
            )
    for warning in report["warnings"]:
        yield f"warning      {warning}"


def _anchors(problem: TransferProblem) -> dict[str, int] | None:
    if problem.donor is None:
        return None
    shared = problem.match.target_ids[~problem.match.by_role]
    return {
        "shared_with_donor_row": int(problem.donor.target_anchors[shared].sum()),
        "source_tokens_in_donor": len(problem.donor_anchors),
        "new_without_donor_vector": int((~problem.donor.target_known[problem.new_ids]).sum()),
    }


def _fertility(measured: FertilityReport) -> dict[str, Any]:
    plain = asdict(measured)
    plain["tokens_per_word"] = measured.tokens / max(1, measured.words)
    plain["bytes_per_token"] = measured.utf8_bytes / max(1, measured.tokens)
    plain["digits"] = str(measured.digits)
    return plain


def _warnings(
    report: Mapping[str, Any],
    source_tokenizer: PreTrainedTokenizerBase,
    adapted: PreTrainedTokenizerBase,
    has_donor: bool,
) -> Iterator[str]:
    """What a user should know before starting."""
    digits = digit_warning(adapted, source_tokenizer)
    if digits is not None:
        yield digits
    if report["overlap"]["shared"] < SMALL_OVERLAP and report["overlap"]["new"]:
        yield (
            f"only {report['overlap']['shared']} shared tokens: regressions on the overlap (salt, sava, omp) will be"
            " weak; fused and subword-mean do not need it"
        )
    if not has_donor and report["overlap"]["new"]:
        yield "no --donor: salt, clp, sava, omp and fused cannot run"
    if report["fertility"] is not None:
        before, after = report["fertility"]["before"], report["fertility"]["after"]
        if after["tokens"] >= before["tokens"]:
            yield (
                f"the target tokenizer needs {after['tokens']:,} tokens where the model's needs {before['tokens']:,}:"
                " it brings no shorter sequences"
            )
        if after["unknown_tokens"]:
            yield f"{after['unknown_tokens']:,} unknown tokens: the target tokenizer hides text from the model"
        if after["round_trip"] < 1:
            yield f"{1 - after['round_trip']:.1%} of texts do not come back exactly from the target tokenizer"
