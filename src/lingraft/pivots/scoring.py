"""Contrastive translation scores: how much likelier a target is after its source word than after other words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.files import replacing
from lingraft.models.architecture import resolve
from lingraft.models.modelmap import ModelMap
from lingraft.pivots.greedy import greedy_lines, judge_lines, longest_answers
from lingraft.pivots.prompt_tokens import Row, common_length, encode_rows, word_token_ids
from lingraft.pivots.shared_prefix import SharedPrefix, by_length, forward_rows, read_prefix, require_context
from lingraft.pivots.wordtask import WordItem, WordTask
from lingraft.progress import progress_task
from lingraft.reports.intervals import Estimate, mean_interval

LOGITS_AT_ONCE = 2**23
"""Logits held at a time (32 MiB in float32), whatever the vocabulary."""


@dataclass(frozen=True, slots=True)
class WordScores:
    """Scores of N words in D draws of examples.

    Attributes:
        items: The words.
        probability: float64 `[N, D]`: `exp(-mean NLL of the target's tokens)` after the source word.
        distractor: float64 `[N, D]`: the mean of the same over the distractor source words, target held fixed.
        beaten_by: int64 `[N, D]`: distractors after which the target is at least as likely; 0 is best.
        first_rank: int64 `[N, D]`: rank of the target's first token among the whole vocabulary after the source word;
            1 is best.
        correct: bool `[N, D]`: the first line of the greedy continuation is an accepted translation, NFC and
            case-folded; None where nothing was generated.
        said: The greedy first lines, `[N][D]`; None likewise.
        target_tokens: int64 `[N]`, tokens of the target in the prompt.
        shares_tokens: bool `[N]`: source and target word have a token in common; tracing skips such pairs.
    """

    items: tuple[WordItem, ...]
    probability: NDArray[np.float64]
    distractor: NDArray[np.float64]
    beaten_by: NDArray[np.int64]
    first_rank: NDArray[np.int64]
    correct: NDArray[np.bool_] | None
    said: tuple[tuple[str, ...], ...] | None
    target_tokens: NDArray[np.int64]
    shares_tokens: NDArray[np.bool_]

    @property
    def score(self) -> NDArray[np.float64]:
        """`[N]`: probability after the source word less that after distractors, mean over draws (section 3)."""
        mean: NDArray[np.float64] = (self.probability - self.distractor).mean(axis=1)
        return mean

    def summary(self, *, seed: int = 0) -> dict[str, Estimate]:
        """Means over words with bootstrap intervals over words.

        Args:
            seed: Of the bootstrap.

        Returns:
            `score`, `probability`, `distractor_probability`, `accuracy` (where generated), `first_rank_reciprocal`
            (mean of 1/rank) and `above_all_distractors` (share).
        """
        columns = {
            "score": self.score,
            "probability": self.probability.mean(axis=1),
            "distractor_probability": self.distractor.mean(axis=1),
            "first_rank_reciprocal": (1 / self.first_rank).mean(axis=1),
            "above_all_distractors": (self.beaten_by == 0).mean(axis=1),
        }
        if self.correct is not None:
            columns["accuracy"] = self.correct.mean(axis=1)
        return {name: mean_interval(values, seed=seed) for name, values in columns.items()}

    def table(self) -> pa.Table:
        """One row a word; means over draws beside the values of each draw.

        Returns:
            Columns `source_word`, `target_word`, `accepted`, `distractors`, `frequency`, `part_of_speech`, `score`,
            `probability`, `distractor_probability`, `accuracy`, `first_rank` (median over draws), `beaten_by` (mean),
            `target_tokens`, `shares_tokens`, `probability_by_draw`, `distractor_by_draw`, `said_by_draw`.
        """
        accuracy = None if self.correct is None else self.correct.mean(axis=1)
        said = None if self.said is None else [list(lines) for lines in self.said]
        nothing = pa.nulls(len(self.items))
        return pa.table(
            {
                "source_word": [item.source_word for item in self.items],
                "target_word": [item.target_word for item in self.items],
                "accepted": [list(item.accepted) for item in self.items],
                "distractors": [list(item.distractors) for item in self.items],
                "frequency": pa.array([item.frequency for item in self.items], pa.float64()),
                "part_of_speech": pa.array([item.part_of_speech for item in self.items], pa.string()),
                "score": self.score,
                "probability": self.probability.mean(axis=1),
                "distractor_probability": self.distractor.mean(axis=1),
                "accuracy": nothing.cast(pa.float64()) if accuracy is None else accuracy,
                "first_rank": np.median(self.first_rank, axis=1),
                "beaten_by": self.beaten_by.mean(axis=1),
                "target_tokens": self.target_tokens,
                "shares_tokens": self.shares_tokens,
                "probability_by_draw": list(self.probability),
                "distractor_by_draw": list(self.distractor),
                "said_by_draw": nothing.cast(pa.list_(pa.string())) if said is None else said,
            }
        )

    def write(self, path: Path) -> None:
        """Write the table as parquet, atomically; raises OutputError where the disk is full or forbidden."""
        with replacing(path) as temporary:
            pq.write_table(self.table(), temporary, compression="zstd")


@torch.no_grad()
def score_words(
    model: PreTrainedModel,
    tokenizer: Any,
    task: WordTask,
    *,
    draws: int | None = None,
    batch_size: int = 64,
    generate: bool = True,
    progress: bool = False,
) -> WordScores:
    """Score every word of a task.

    Each draw's instruction and examples are read once; rows are what follows them.

    Args:
        model: A causal LM of a known architecture; set to evaluation mode meanwhile.
        tokenizer: Its tokenizer.
        task: The words, with their draws of examples.
        draws: How many of the draws; None for all.
        batch_size: Rows at a time.
        generate: Say by greedy decoding whether the model gets the word right.
        progress: Draw a bar.

    Returns:
        The scores.

    Raises:
        ArchitectureError: The architecture is unknown.
        ConfigError: More draws than the task has, no item, or prompts beyond the model's context.
        TokenizerError: A target that gives no token.
    """
    count = len(task.draws) if draws is None else draws
    if not 1 <= count <= len(task.draws) or not task.items:
        raise ConfigError(
            f"{count} draws of {len(task.items)} words",
            f"1 to {len(task.draws)} draws, 1 word",
            "give others",
        )
    found, training = resolve(model), model.training
    model.train(False)
    rows_each = 1 + max(len(item.distractors) for item in task.items)
    parts: list[_Draw] = []
    try:
        with progress_task("scoring words", count * len(task.items) * rows_each if progress else None) as bar:
            advance = bar if progress else _nothing
            for draw in range(count):
                parts.append(_score_draw(model, found, tokenizer, task, draw, batch_size, generate, advance))
    finally:
        model.train(training)
    shared = [
        bool(word_token_ids(tokenizer, item.source_word) & word_token_ids(tokenizer, item.target_word))
        for item in task.items
    ]
    said = tuple(zip(*(part.said for part in parts), strict=True)) if generate else None
    return WordScores(
        items=task.items,
        probability=np.stack([part.probability for part in parts], axis=1),
        distractor=np.stack([part.distractor for part in parts], axis=1),
        beaten_by=np.stack([part.beaten_by for part in parts], axis=1),
        first_rank=np.stack([part.first_rank for part in parts], axis=1),
        correct=None if said is None else judge_lines(task.items, said),
        said=said,
        target_tokens=parts[0].target_tokens,
        shares_tokens=np.array(shared, dtype=np.bool_),
    )


@dataclass(frozen=True, slots=True)
class _Draw:
    """One draw's columns, `[N]` each."""

    probability: NDArray[np.float64]
    distractor: NDArray[np.float64]
    beaten_by: NDArray[np.int64]
    first_rank: NDArray[np.int64]
    target_tokens: NDArray[np.int64]
    said: list[str]


def _nothing(amount: float = 1, description: str | None = None) -> None:
    """Stand in for a bar."""


def _score_draw(
    model: PreTrainedModel,
    found: ModelMap,
    tokenizer: Any,
    task: WordTask,
    draw: int,
    batch_size: int,
    generate: bool,
    advance: Any,
) -> _Draw:
    prompts: list[str] = []
    targets: list[str] = []
    owner: list[int] = []
    for number, item in enumerate(task.items):
        for word in (item.source_word, *item.distractors):
            prompts.append(task.prompt(word, draw))
            targets.append(item.target_word)
            owner.append(number)
    rows = encode_rows(tokenizer, prompts, targets)
    require_context(model, max(len(row.ids) for row in rows))
    # One token at least stays in every row, to predict the target from.
    shared = min(common_length([row.ids for row in rows]), min(row.begin for row in rows) - 1)
    prefix = read_prefix(model, found, rows[0].ids[:shared])
    probability, rank = np.empty(len(rows)), np.empty(len(rows), dtype=np.int64)
    for batch in by_length([len(row.ids) for row in rows], batch_size):
        chosen = [rows[row] for row in batch]
        probability[batch], rank[batch] = _probabilities(model, found, prefix, chosen)
        advance(len(batch))
    first = np.flatnonzero(np.diff([-1, *owner]))
    said = [""] * len(task.items)
    if generate:
        own = [rows[row].ids[: rows[row].begin] for row in first]
        limits = longest_answers(tokenizer, task.items)
        said = greedy_lines(model, found, tokenizer, prefix, own, limits, batch_size)
    groups = np.split(probability, first[1:])
    return _Draw(
        probability=probability[first],
        distractor=np.array([group[1:].mean() if len(group) > 1 else 0.0 for group in groups]),
        beaten_by=np.array([(group[1:] >= group[0]).sum() for group in groups], dtype=np.int64),
        first_rank=rank[first],
        target_tokens=np.array([len(rows[row].ids) - rows[row].begin for row in first], dtype=np.int64),
        said=said,
    )


def _probabilities(
    model: PreTrainedModel, found: ModelMap, prefix: SharedPrefix, rows: Sequence[Row]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Geometric mean probability of each row's target, and its first token's rank; logits are made a few at a time."""
    rests = [row.ids[prefix.length : -1] for row in rows]
    hidden = forward_rows(model, found, prefix, rests)
    owners, places, tokens, firsts = [], [], [], []
    for number, row in enumerate(rows):
        for place in range(row.begin, len(row.ids)):
            owners.append(number)
            places.append(place - 1 - prefix.length)
            tokens.append(row.ids[place])
            firsts.append(place == row.begin)
    states, wanted = hidden[owners, places], torch.tensor(tokens, device=hidden.device)

    size = max(1, LOGITS_AT_ONCE // int(model.config.get_text_config().vocab_size))
    losses, ranks = [], []
    for begin in range(0, len(states), size):
        logits = found.logits_of(states[begin : begin + size]).float()
        own = logits.gather(1, wanted[begin : begin + size, None])
        losses.append(torch.logsumexp(logits, dim=-1) - own[:, 0])
        ranks.append((logits > own).sum(dim=-1) + 1)
    nll, rank = torch.cat(losses).double().cpu().numpy(), torch.cat(ranks).cpu().numpy()
    owner = np.array(owners)
    mean = np.bincount(owner, nll, len(rows)) / np.bincount(owner, minlength=len(rows))
    return np.exp(-mean), rank[np.array(firsts)]
