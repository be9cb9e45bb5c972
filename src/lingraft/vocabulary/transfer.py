"""`transfer_vocabulary`: give a loaded model another vocabulary."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.errors import ConfigError, TransferError
from lingraft.models.embeddings import EmbeddingMatrices, read_embeddings, write_embeddings
from lingraft.models.loading import LoadedDonor, LoadedModel
from lingraft.tokenizers.overlap import Normalisation
from lingraft.vocabulary.building import AuxiliaryOptions, build_problem, without_overlap_copy
from lingraft.vocabulary.choosing import choose_method
from lingraft.vocabulary.config import Mode, TransferConfig
from lingraft.vocabulary.fasttext import WordVectors
from lingraft.vocabulary.final_states import measure_final_states
from lingraft.vocabulary.initializers import COPIES_NO_OVERLAP, SHIFT_SUFFIX, find_initializer
from lingraft.vocabulary.inspection import describe_problem
from lingraft.vocabulary.mixtures import row_blocks
from lingraft.vocabulary.problem import FinalStates, Matrix, Rule, TransferProblem
from lingraft.vocabulary.provenance import provenance_table
from lingraft.vocabulary.special_ids import adapted_to, carry_special_ids


@dataclass(frozen=True, slots=True)
class TransferResult:
    """A model with its new vocabulary, and where each row came from.

    Attributes:
        model: The model given, changed in place: rows, special ids of its configurations, padding row.
        tokenizer: The target tokenizer with the source's special tokens, chat template and bos/eos behaviour.
        method: The method used; with `auto`, the one chosen.
        reason: Why that method: "asked for", or `auto`'s held-out errors.
        provenance: One row a target token: token_id, text, origin, neighbours, residual, norm.
        counts: Number of tokens of each origin.
        notes: What the method reports of itself.
        overlap: What the vocabularies share, as `describe_problem` counts it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    method: str
    reason: str
    provenance: pa.Table
    counts: Mapping[str, int]
    notes: Mapping[str, Any]
    overlap: Mapping[str, Any]


def transfer_vocabulary(
    model: LoadedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    donor: LoadedDonor | None = None,
    corpus: Iterable[str] | None = None,
    method: str = "salt",
    mode: Mode = "replace",
    auxiliary: str | WordVectors = "donor",
    lexicon: Mapping[str, Sequence[str]] | None = None,
    source_words: WordVectors | None = None,
    normalise: Normalisation = "exact",
    fasttext_dimension: int = 300,
    fasttext_epochs: int = 5,
    fasttext_minimum_count: int = 10,
    seed: int = 0,
) -> TransferResult:
    """Give a model the target tokenizer's vocabulary; its body stays as it is.

    Args:
        model: The source model; its embedding matrices are replaced in place.
        tokenizer: The target tokenizer; for `extend`, the model's own tokenizer with tokens added at the end.
        donor: Target-language pre-trained model: encoder, T5 or decoder.
        corpus: Target-language documents, iterated more than once (no generator): token counts, fastText's text.
        method: Name of an initialiser, `auto` (smallest error on held-out anchors), or `module:function`.
        mode: `replace` the vocabulary, or `extend` it and keep every source id and row.
        auxiliary: `donor`, `fasttext`, or word vectors already read.
        lexicon: Target-language word to source-language translations (`lexicon`, `wechsel`).
        source_words: Source-language word vectors (`wechsel`).
        normalise: How tokens of the two vocabularies are compared.
        fasttext_dimension: Width of trained fastText vectors.
        fasttext_epochs: Passes of fastText over the corpus.
        fasttext_minimum_count: Tokens seen less often get no vector.
        seed: Seeds every draw; the same inputs and seed give the same rows.

    Returns:
        The changed model, the adapted tokenizer, and the provenance of each row.

    Raises:
        TransferError: Inputs that do not fit each other, or an overlap too small for the method.
        ConfigError: A method or auxiliary that does not exist.
        TokenizerError: A tokenizer that lacks a special role the model needs.
        MissingExtraError: gensim, where fastText is asked for.
    """
    options = AuxiliaryOptions(
        kind="words" if isinstance(auxiliary, WordVectors) else auxiliary,
        words=auxiliary if isinstance(auxiliary, WordVectors) else None,
        source_words=source_words,
        dimension=fasttext_dimension,
        epochs=fasttext_epochs,
        minimum_count=fasttext_minimum_count,
    )
    _check_options(options, method=method, mode=mode, normalise=normalise, seed=seed)
    adapted = tokenizer if mode == "extend" else adapted_to(tokenizer, model)
    matrices = read_embeddings(model.model)
    require_finite_source(matrices)
    problem = build_problem(
        matrices.input.float().cpu(),
        model.tokenizer,
        adapted,
        mode=mode,
        donor=donor,
        corpus=corpus,
        auxiliary=options,
        final_states=_final_states(model, corpus, method),
        lexicon=lexicon,
        normalise=normalise,
        seed=seed,
    )
    overlap = describe_problem(problem, matrices)
    chosen, reason = choose_method(problem) if method == "auto" else (method, "asked for")
    problem = problem_for(chosen, problem, mode)
    rule = find_initializer(chosen)(problem)
    new_matrices = make_matrices(matrices, problem, rule, mode)
    provenance = provenance_table(problem, rule, new_matrices.input)
    write_embeddings(model.model, new_matrices, copy=False)
    carry_special_ids(model.model, adapted, problem)
    return TransferResult(
        model=model.model,
        tokenizer=adapted,
        method=chosen,
        reason=reason,
        provenance=provenance,
        counts=dict(sorted(Counter(provenance["origin"].to_pylist()).items())),
        notes=dict(rule.notes),
        overlap=overlap,
    )


def _check_options(
    auxiliary: AuxiliaryOptions, *, method: str, mode: Mode, normalise: Normalisation, seed: int
) -> None:
    """Refuse options that would fail late or, as an unknown mode, not at all."""
    if auxiliary.kind not in {"donor", "fasttext", "words"} or (auxiliary.kind == "words") != bool(
        auxiliary.words
    ):
        raise ConfigError(
            f"auxiliary {auxiliary.kind!r}", "donor, fasttext, or word vectors", "name one of them"
        )
    TransferConfig.read(
        {
            "model": "-",
            "method": method,
            "mode": mode,
            "normalise": normalise,
            "fasttext_dimension": auxiliary.dimension,
            "fasttext_epochs": auxiliary.epochs,
            "fasttext_minimum_count": auxiliary.minimum_count,
            "seed": seed,
        }
    )
    if method != "auto":
        find_initializer(method)


def require_finite_source(matrices: EmbeddingMatrices) -> None:
    """Refuse source rows from which nothing could be computed.

    Args:
        matrices: The source model's.

    Raises:
        TransferError: NaN or infinity in a row of the input or output matrix, or in the bias.
    """
    parts = {"input": matrices.input, "output": matrices.output, "bias": matrices.output_bias}
    for which, part in parts.items():
        if part is None:
            continue
        # A sum over the row shows both, and needs no second matrix.
        finite = torch.isfinite(part.reshape(len(part), -1).sum(dim=1, dtype=torch.float32))
        if not bool(finite.all()):
            raise TransferError(
                f"NaN or infinity in the model's {which} row {int((~finite).nonzero()[0])}"
                f" ({int((~finite).sum())} such rows)",
                "finite embeddings",
                "check the source model's checkpoint",
            )


def _final_states(model: LoadedModel, corpus: Iterable[str] | None, method: str) -> FinalStates | None:
    """Statistics of the model's last hidden states, for the methods that shift output rows to a token's frequency."""
    wanted = method in {"fused", "auto"} or method.endswith(SHIFT_SUFFIX)
    if corpus is None or not wanted:
        return None
    return measure_final_states(model.model, model.tokenizer, corpus)


def problem_for(method: str, problem: TransferProblem, mode: Mode) -> TransferProblem:
    """The problem as the method sees it: WECHSEL copies no overlap when it replaces a vocabulary.

    `wechsel+unigram` copies none either; without kept rows there is no level to shift to, and the rule says so.
    """
    base = method.removesuffix(SHIFT_SUFFIX)
    return without_overlap_copy(problem) if base in COPIES_NO_OVERLAP and mode == "replace" else problem


def make_matrices(
    matrices: EmbeddingMatrices, problem: TransferProblem, rule: Rule, mode: Mode
) -> EmbeddingMatrices:
    """New matrices `[rows, h]` in the old ones' dtype, from copies and the rule.

    A target vocabulary that holds every source token under its own id keeps the source's padding rows; any other
    gets as many rows as it has ids.

    Args:
        matrices: The source model's.
        problem: The transfer.
        rule: How its new rows are made.
        mode: `replace` or `extend`.

    Returns:
        Matrices on the CPU, with the ties of the source's.

    Raises:
        TransferError: The rule left NaN or infinity behind.
    """
    target_rows, source_rows = len(problem.target_pieces), len(matrices.input)
    keeps_padding = mode == "extend" or problem.keeps_source_ids
    rows = max(target_rows, source_rows) if keeps_padding else target_rows
    output = None
    if matrices.output is not None:
        output = _new_matrix("output", matrices.output, problem, rule, rows)
    bias = None
    if matrices.output_bias is not None:
        bias = _new_matrix("bias", matrices.output_bias.unsqueeze(1), problem, rule, rows).squeeze(1)
    return EmbeddingMatrices(
        input=_new_matrix("input", matrices.input, problem, rule, rows),
        output=output,
        output_bias=bias,
        tied=matrices.tied,
    )


def _new_matrix(which: Matrix, source: Tensor, problem: TransferProblem, rule: Rule, rows: int) -> Tensor:
    """One matrix: copies, then the rule, then averages for special tokens that the source lacks."""
    matrix = source.float().cpu()
    # NaN, so that a row which a third party's rule leaves out is found out below.
    out = torch.full((rows, matrix.shape[1]), torch.nan, dtype=source.dtype)
    match = problem.match
    filled = np.zeros(rows, dtype=np.bool_)
    rule.fill(which, matrix, out)
    filled[problem.new_ids] = True
    for block, ids in row_blocks(match.target_ids):
        out[ids] = source[torch.from_numpy(match.source_ids[block])].cpu()
    filled[match.target_ids] = True
    rest = np.nonzero(~filled)[0]
    if len(rest):
        out[torch.from_numpy(rest)] = _rest_rows(matrix, problem, rest).to(source.dtype)
    finite = torch.isfinite(out.sum(dim=1, dtype=torch.float32))
    if not bool(finite.all()):
        raise TransferError(
            f"NaN or infinity in the new {which} row {int((~finite).nonzero()[0])}",
            "finite rows",
            "check the donor and the auxiliary vectors, or use another method",
        )
    return out


def _rest_rows(matrix: Tensor, problem: TransferProblem, rest: NDArray[np.int64]) -> Tensor:
    """Rows for special tokens without a counterpart (mean of the source's special rows), holes and padding.

    A hole or padding row below the source's size keeps the source's row of that id, others take the mean row.
    """
    special = [i for i, piece in enumerate(problem.source_pieces) if piece is not None and piece.role]
    average = matrix.mean(dim=0)
    special_average = matrix[special].mean(dim=0) if special else average
    rows = []
    for token_id in rest:
        piece = problem.target_pieces[token_id] if token_id < len(problem.target_pieces) else None
        inside = token_id < len(matrix)
        rows.append(special_average if piece is not None else matrix[token_id] if inside else average)
    return torch.stack(rows)
