"""Where each row of a transferred vocabulary came from, a table row a token."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from lingraft.vocabulary.mixtures import row_blocks
from lingraft.vocabulary.problem import Rule, TransferProblem


def provenance_table(problem: TransferProblem, rule: Rule, matrix: Tensor) -> pa.Table:
    """One row a target id: token_id, text, origin, neighbours, residual, norm.

    Origins: `copied` (same bytes), `matched` (special token, by role), `regressed`, `averaged`, `drawn`, `special`
    (a special token that the source lacks), `unused` (a hole).
    """
    size = len(problem.target_pieces)
    origin = np.full(size, "unused", dtype="<U16")
    for token_id, piece in enumerate(problem.target_pieces):
        if piece is not None and piece.role:
            origin[token_id] = "special"
    origin[problem.match.target_ids] = np.where(problem.match.by_role, "matched", "copied")
    origin[problem.new_ids] = rule.origin
    neighbours = np.zeros(size, dtype=np.int64)
    neighbours[problem.match.target_ids] = 1
    neighbours[problem.new_ids] = rule.neighbours
    residual = np.full(size, np.nan)
    residual[problem.new_ids] = rule.residual
    norms = torch.cat([matrix[ids].float().norm(dim=1) for _, ids in row_blocks(np.arange(size))])
    return pa.table(
        {
            "token_id": pa.array(np.arange(size)),
            "text": pa.array([piece_text(piece) for piece in problem.target_pieces], pa.string()),
            "origin": pa.array(origin.astype(object), pa.string()),
            "neighbours": pa.array(neighbours),
            "residual": pa.array(residual, from_pandas=True),
            "norm": pa.array(norms.numpy()),
        }
    )


def piece_text(piece: Any) -> str | None:
    """A piece's text with its leading space; None for a hole."""
    if piece is None:
        return None
    return str(piece.surface) if piece.role else (" " if piece.word_start else "") + str(piece.text)
