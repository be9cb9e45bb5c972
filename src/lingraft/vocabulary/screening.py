"""Which rows of a large matrix have the largest inner products: screened in low precision, decided in float64.

Multiplying in bfloat16 is several times faster than in float32 where the processor has units for it, and its error
is bounded. A screen makes all scores in the dtype that multiplies fastest, drops what lies below a cut by more than
the bound, and hands the few that remain to exact float64 products. What is found is therefore what float64
finds, on any hardware; `within_bound` notices a processor that rounds worse than assumed.
"""

import functools
import time
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

SCORE_BYTES = 96 * 2**20
"""Scores held at once."""
BLOCK_COLUMNS = 1280
"""Columns multiplied at once: their scores stay in the cache until their maxima are taken."""
LARGEST_CHUNK = 1024
"""Queries scored at once, at most."""
FLOAT32_ROUNDING = 2.0**-24


@functools.cache
def fastest_dtype() -> torch.dtype:
    """bfloat16 where this machine multiplies it at least 1.5 times faster than float32, else float32.

    Measured, since neither instruction sets nor their names tell it. Only speed depends on the answer.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        left @ right
        rounds = []
        for _ in range(3):
            start = time.perf_counter()
            left @ right
            rounds.append(time.perf_counter() - start)
        seconds[dtype] = min(rounds)
    return torch.bfloat16 if seconds[torch.bfloat16] * 1.5 < seconds[torch.float32] else torch.float32


@dataclass(frozen=True, slots=True)
class Scores:
    """Approximate inner products of some queries with all rows of a screen.

    Attributes:
        values: `[blocks, b, columns]`, the dtype of the screen; row `block * columns + column` of the matrix.
        maxima: `[b, columns]` float32 largest of `values` over the blocks.
        slack: `[b]` float64 bound of `|value - exact|` before the value itself was rounded.
    """

    values: Tensor
    maxima: Tensor
    slack: Tensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of a query and a matrix row, sorted by query.

    Attributes:
        queries: `[n]` int64.
        rows: `[n]` int64.
        values: `[n]` float64 approximate inner products.
    """

    queries: Tensor
    rows: Tensor
    values: Tensor


class Screen:
    """Scores of queries against the rows of one matrix, with a bound of their error.

    Args:
        exact: `[n, d]` float64, n >= 1.
        dtype: In which scores are made, bfloat16 or float32.
    """

    def __init__(self, exact: Tensor, dtype: torch.dtype) -> None:
        self.exact = exact
        self.size, width = exact.shape
        self.blocks = -(-self.size // BLOCK_COLUMNS)
        self.columns = -(-self.size // self.blocks)
        self.rounded = torch.zeros(self.blocks * self.columns, width, dtype=dtype)
        self.rounded[: self.size] = exact.to(dtype)
        # What a value loses when it is stored, and what a sum of `width` float32 products loses (twice the bound).
        self.rounding = torch.finfo(dtype).eps if dtype != torch.float32 else 2 * FLOAT32_ROUNDING
        self._summing = 2 * width * FLOAT32_ROUNDING
        self._norm = self._error = 0.0
        for start in range(0, self.size, 4096):
            part = self.rounded[start : min(start + 4096, self.size)].double()
            self._norm = max(self._norm, float(part.norm(dim=1).max()))
            error = (part - exact[start : start + len(part)]).norm(dim=1)
            self._error = max(self._error, float(error.max()))

    @property
    def chunk(self) -> int:
        """Queries that should be scored together."""
        bytes_each = self.rounded.element_size() * self.blocks * self.columns
        return max(32, min(LARGEST_CHUNK, SCORE_BYTES // bytes_each))

    def buffer(self, count: int) -> Tensor:
        """Room for the scores of `count` queries, to be used again and again."""
        return torch.empty(self.blocks, count, self.columns, dtype=self.rounded.dtype)

    def score(self, queries: Tensor, buffer: Tensor, *, magnitude: bool = False) -> Scores:
        """Score `[b, d]` float64 queries; with `magnitude`, absolute values."""
        rounded = queries.to(self.rounded.dtype)
        values = buffer[:, : len(queries)]
        maxima: Tensor | None = None
        for block in range(self.blocks):
            first = block * self.columns
            part = values[block]
            torch.mm(rounded, self.rounded[first : first + self.columns].T, out=part)
            if magnitude:
                part.abs_()
            if first + self.columns > self.size:
                part[:, self.size - first :] = -torch.inf
            maxima = part.clone() if maxima is None else torch.maximum(maxima, part, out=maxima)
        assert maxima is not None
        # Cauchy and Schwarz: |q'a' - qa| <= |q' - q| |a'| + |q| |a' - a|, and the rounding of the sums.
        lost = (rounded.double() - queries).norm(dim=1)
        norms = queries.norm(dim=1)
        slack = lost * self._norm + norms * self._error + self._summing * (norms + lost) * self._norm
        return Scores(values, maxima.float(), slack)

    def lower(self, values: Tensor, slack: Tensor) -> Tensor:
        """The least that the exact products can be, given approximate values `[b, n]`."""
        return values.double() - values.double().abs() * self.rounding - slack.unsqueeze(1)

    def cut(self, bound: Tensor, slack: Tensor) -> Tensor:
        """`[b]` float32 value below which no product that exactly reaches `bound [b]` can have been scored."""
        least = bound - slack
        least = least - least.abs() * self.rounding
        return (least - least.abs() * 4 * FLOAT32_ROUNDING).float()

    def select(self, scores: Scores, cut: Tensor, hits: Tensor) -> Candidates:
        """All pairs with a score of at least `cut [b]`; `hits [b, columns]` says which maxima reach it."""
        query, column = torch.nonzero(hits, as_tuple=True)
        # The buffer may hold more queries than were scored, so its own strides give the places.
        block_stride, query_stride, _ = scores.values.stride()
        first = query * query_stride + column
        places = first.unsqueeze(1) + torch.arange(self.blocks) * block_stride
        span = (self.blocks - 1) * block_stride + (scores.values.shape[1] - 1) * query_stride + self.columns
        flat = scores.values.as_strided((span,), (1,))
        values = flat.index_select(0, places.reshape(-1)).view(places.shape).float()
        group, block = torch.nonzero(values >= cut[query].unsqueeze(1), as_tuple=True)
        return Candidates(query[group], block * self.columns + column[group], values[group, block].double())

    def products(self, queries: Tensor, candidates: Candidates) -> Tensor:
        """`[n]` exact products of the candidates with `[b, d]` float64 queries."""
        counts = torch.bincount(candidates.queries, minlength=len(queries))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "CSR support is in beta state"
            wanted = torch.sparse_csr_tensor(
                offsets, candidates.rows, torch.zeros(len(candidates.rows), dtype=torch.float64),
                size=(len(queries), self.size),
            )  # fmt: skip
            products: Tensor = torch.sparse.sampled_addmm(wanted, queries, self.exact.T, beta=0.0).values()
        return products

    def within_bound(self, candidates: Candidates, exact: Tensor, slack: Tensor) -> bool:
        """Whether the scores of the candidates err by no more than was assumed."""
        allowed = slack[candidates.queries] + candidates.values.abs() * self.rounding
        return bool(((candidates.values - exact).abs() <= allowed).all())
