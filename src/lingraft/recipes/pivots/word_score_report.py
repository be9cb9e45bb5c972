"""The report of a scoring: means with intervals, their spread over words and examples, and the words themselves."""

import numpy as np
from numpy.typing import NDArray

from lingraft.pivots.scoring import WordScores
from lingraft.pivots.wordtask import WordTask
from lingraft.reports.figures import dot_chart, histogram
from lingraft.reports.intervals import Estimate, mean_interval
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table

SHOWN_WORDS = 15
"""Words at either end of the table of words."""
_NAMES = {
    "score": "contrastive score",
    "probability": "probability after the source word",
    "distractor_probability": "probability after distractor words",
    "above_all_distractors": "share likelier than after every distractor",
    "first_rank_reciprocal": "mean reciprocal rank of the first token",
    "accuracy": "share of right first lines (greedy)",
}
_READING = (
    "The score of a word is exp(-mean negative log-likelihood of its target's tokens) after the word, less the mean of"
    " the same after other source words with the target held fixed, averaged over draws of examples: what the model"
    " owes to the word and not to the target's own frequency. Intervals are 95 %, by bootstrap over words."
)


def score_sentence(task: WordTask, scores: WordScores, *, seed: int = 0) -> str:
    """Say in a sentence what came out.

    Args:
        task: The words.
        scores: Their scores.
        seed: Of the bootstrap.

    Returns:
        The sentence.
    """
    summary = scores.summary(seed=seed)
    right = ""
    if "accuracy" in summary:
        right = f"; the greedy answer is right in {_percent(summary['accuracy'])}"
    return (
        f"{len(scores.items):,} words from {task.source_language.name} to {task.target_language.name}: the mean"
        f" contrastive score is {_plain(summary['score'])}{right}."
    )


def score_sections(task: WordTask, scores: WordScores, *, seed: int = 0) -> list[Section]:
    """Say what a scoring found.

    Args:
        task: The words.
        scores: Their scores.
        seed: Of the bootstrap.

    Returns:
        Sections for a page.
    """
    summary = scores.summary(seed=seed)
    rows: list[tuple[Cell, ...]] = [(_NAMES[name], summary[name]) for name in _NAMES if name in summary]
    rows.append(("median rank of the first token", round(float(np.median(scores.first_rank)))))
    return [
        Section("Scores", [Paragraph(_READING), Table("Means over words", ("", "estimate"), rows, digits=4)]),
        Section("Spread", _spread(scores, seed)),
        Section("The words", _words(scores)),
        Section("What the model was asked", _asked(task)),
    ]


def _spread(scores: WordScores, seed: int) -> list[Block]:
    score = scores.score
    blocks: list[Block] = [
        Figure(
            "Contrastive scores of the words.",
            f"A histogram of {len(score):,} scores; the median is {np.median(score):.4f}, the highest"
            f" {score.max():.4f}.",
            histogram({"words": score}, x_label="contrastive score"),
        )
    ]
    groups = _by_tokens(scores.target_tokens)
    series = {"score": {name: mean_interval(score[rows], seed=seed) for name, rows in groups.items()}}
    if scores.correct is not None:
        right = scores.correct.mean(axis=1)
        series["share right"] = {name: mean_interval(right[rows], seed=seed) for name, rows in groups.items()}
    told = ", ".join(f"{name}: {one.value:.3f}" for name, one in series["score"].items())
    blocks.append(
        Figure(
            "Words by the number of tokens of their target, 95 % over words.",
            f"Mean scores: {told}.",
            dot_chart(series, x_label="mean over words"),
        )
    )
    contrast = scores.probability - scores.distractor
    rows: list[tuple[Cell, ...]] = []
    for draw in range(contrast.shape[1]):
        right_share: Cell = None if scores.correct is None else float(scores.correct[:, draw].mean())
        rows.append((f"draw {draw + 1}", float(contrast[:, draw].mean()), right_share))
    columns = ("examples", "mean score", "share right")
    blocks.append(Table("How much the choice of examples matters", columns, rows, digits=4))
    return blocks


def _by_tokens(tokens: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    groups = {
        "1 token": tokens == 1,
        "2 tokens": tokens == 2,
        "3 tokens": tokens == 3,
        "4 or more tokens": tokens > 3,
    }
    return {f"{name} ({rows.sum():,} words)": rows for name, rows in groups.items() if rows.any()}


def _words(scores: WordScores) -> list[Block]:
    order = np.argsort(-scores.score, kind="stable")
    if len(order) > 2 * SHOWN_WORDS:
        chosen = [*order[:SHOWN_WORDS], *order[-SHOWN_WORDS:]]
        caption = f"The {SHOWN_WORDS} highest and the {SHOWN_WORDS} lowest scores; all are in scores.parquet"
    else:
        chosen, caption = list(order), "All words"
    rows: list[tuple[Cell, ...]] = []
    for number in chosen:
        item = scores.items[number]
        rows.append(
            (
                item.source_word,
                item.target_word,
                float(scores.score[number]),
                float(scores.probability[number].mean()),
                float(scores.distractor[number].mean()),
                round(float(np.median(scores.first_rank[number]))),
                "" if scores.said is None else scores.said[number][0],
                None if scores.correct is None else float(scores.correct[number].mean()),
            )
        )
    columns = (
        "word",
        "target",
        "score",
        "probability",
        "after others",
        "rank",
        "said (draw 1)",
        "right",
    )
    blocks: list[Block] = [Table(caption, columns, rows)]
    if scores.shares_tokens.any():
        shared = [
            f"{item.source_word} / {item.target_word}"
            for item, same in zip(scores.items, scores.shares_tokens, strict=True)
            if same
        ]
        blocks.append(
            Paragraph(
                f"{len(shared):,} pairs share tokens, so a copy may count as a translation; tracing leaves them"
                f" out: {', '.join(shared[:40])}{' ...' if len(shared) > 40 else ''}."
            )
        )
    return blocks


def _asked(task: WordTask) -> list[Block]:
    from lingraft.reports.page import Command

    item = task.items[0]
    return [
        Paragraph(f"The first prompt of draw 1, which {item.target_word!r} should continue:"),
        Command(task.prompt(item.source_word, 0)),
        Paragraph(f"Its distractors: {', '.join(item.distractors)}."),
    ]


def _plain(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _percent(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:.1f} %"
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
