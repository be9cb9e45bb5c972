"""One probe: start a model from a method's rows, train it briefly, and score held-out text on the way."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.errors import CorpusError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.training.causal import pack_blocks, train_causal, training_flops
from lingraft.training.packing import block_order
from lingraft.vocabulary.tail_averages import TailAverages

Precision = Literal["float32", "bf16-autocast", "bfloat16"]


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """The training that every method gets alike.

    The learning rate is constant after the warm-up, so the scores of a 500-step run at step 50 are those of a
    50-step run. A score may be that of weights averaged over the last steps (`averaged_share`), which scatters less.

    Attributes:
        steps: Steps at which held-out text is scored, beside step 0; the last is the budget.
        batch_size: Blocks a step.
        block_length: Tokens a block.
        learning_rate: Of the body.
        embedding_learning_rate: Of the embeddings and the head; None for the body's.
        warmup_steps: Steps of linear warm-up.
        body_after: First steps that train the embeddings and head alone.
        averaged_share: Share of the steps before a score whose weights are averaged for it; 0 scores the last alone.
        precision: float32, or bf16-autocast (float32 weights).
    """

    steps: tuple[int, ...] = (50,)
    batch_size: int = 4
    block_length: int = 128
    learning_rate: float = 3e-4
    embedding_learning_rate: float | None = None
    warmup_steps: int = 10
    body_after: int = 0
    averaged_share: float = 0.2
    precision: Precision = "bf16-autocast"


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """What one probe measured.

    Attributes:
        method: The initialiser, or `unchanged`.
        mode: `replace`, `extend`, or `unchanged`.
        seed: Of the draws and of the data order.
        bits: Step to text name to `[total bits, total bytes]` of each document, as `[documents, 2]` lists.
        scores: Step to text name to bits per byte.
        losses: Training loss (nats a token) at each step.
        tokens: Tokens trained on.
        flops: Floating-point operations of the training (estimate of `training_flops`).
        seconds: Wall time of the training.
        notes: What the method reported of itself.
    """

    method: str
    mode: str
    seed: int
    bits: Mapping[int, Mapping[str, list[list[float]]]]
    scores: Mapping[int, Mapping[str, float]]
    losses: list[float]
    tokens: int
    flops: float
    seconds: float
    notes: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values; JSON turns the steps into strings, which `from_json` undoes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ProbeRun":
        """Read what `as_json` wrote."""
        numbered = {
            key: {int(step): scores for step, scores in value[key].items()} for key in ("bits", "scores")
        }
        return cls(**{**value, **numbered})


def shuffled_blocks(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, block_length: int, seed: int
) -> NDArray[np.int32]:
    """`[n, block_length]` blocks of the documents in an order that depends on the seed alone.

    Every tokenizer therefore begins its blocks with the same documents in the same order; which of the next documents
    fill a block depends on how long they are in its tokens.
    """
    order = np.random.default_rng(seed).permutation(len(texts))
    return pack_blocks([texts[i] for i in order], tokenizer, block_length)


def enough_blocks(
    corpus: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    settings: ProbeSettings,
    steps: int,
    seed: int,
) -> NDArray[np.int32]:
    """Blocks `[steps x batch_size, block_length]`, no text twice.

    Args:
        corpus: Training documents.
        tokenizer: What cuts them.
        settings: The training.
        steps: How many steps the blocks are for.
        seed: Of the documents' order.

    Returns:
        The first blocks of the shuffled documents.

    Raises:
        CorpusError: The corpus has fewer blocks.
    """
    blocks = shuffled_blocks(corpus, tokenizer, settings.block_length, seed)
    needed = steps * settings.batch_size
    if len(blocks) < needed:
        raise CorpusError(
            f"a corpus of {len(blocks)} blocks of {settings.block_length} tokens",
            f"{needed} for {steps} steps of {settings.batch_size} without repetition",
            "give more text, or fewer --probe-steps, a smaller --batch-size or --block-length",
        )
    return blocks[:needed]


def run_probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    blocks: NDArray[np.int32],
    held_out: Mapping[str, Sequence[str]],
    settings: ProbeSettings,
    *,
    steps: Sequence[int],
    seed: int,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a copy of `model` and score it at step 0 and at every step named.

    Args:
        model: Not changed.
        tokenizer: Its tokenizer.
        blocks: `[steps x batch_size, block_length]` training tokens, read in order.
        held_out: Text name to documents to score.
        settings: The training.
        steps: Rising steps to score at; the last ends the run.
        seed: Of dropout, where the model has any.
        progress: Show a bar.

    Returns:
        The fields of a ProbeRun but method, mode, seed and notes.
    """
    trained = copy.deepcopy(model)
    bits: dict[int, dict[str, list[list[float]]]] = {}
    scores: dict[int, dict[str, float]] = {}

    wanted = {0, *steps}
    averages = TailAverages(wanted, settings.averaged_share)

    def evaluate(step: int, current: PreTrainedModel) -> dict[str, float]:
        averages.add(step, current)
        if step not in wanted:
            return {}
        with averages.scored_weights(step, current):
            measured = {
                name: bits_per_byte(current, tokenizer, texts, precision=_scoring(settings.precision))
                for name, texts in held_out.items()
            }
        bits[step] = {
            name: np.stack([m.document_bits, m.document_bytes], axis=1).round(4).tolist()
            for name, m in measured.items()
        }
        scores[step] = {name: m.bits_per_byte for name, m in measured.items()}
        return scores[step]

    # Training shuffles blocks by their number, which differs between tokenizers; undone, so that every method reads
    # the same documents in the same order.
    arranged = np.empty_like(blocks)
    arranged[block_order(len(blocks), len(blocks), seed)] = blocks
    result = train_causal(
        trained,
        arranged,
        output_dir=None,
        steps=steps[-1],
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        embedding_learning_rate=settings.embedding_learning_rate,
        warmup_steps=settings.warmup_steps,
        schedule="constant",
        body_after=settings.body_after,
        precision=settings.precision,
        seed=seed,
        evaluate_at=averages.steps,
        evaluate=evaluate,
        progress=progress,
    )
    return {
        "bits": bits,
        "scores": scores,
        "losses": [float(loss) for loss in result.losses],
        "tokens": int(result.tokens),
        "flops": float(result.flops),
        "seconds": float(result.seconds),
    }


def equal_compute_steps(
    unchanged: PreTrainedModel, adapted: PreTrainedModel, steps: Sequence[int]
) -> list[int]:
    """Steps that the unchanged model can train for the floating-point operations of the adapted one's `steps`.

    Both take steps of equally many tokens, so only the size of the head differs.
    """
    ratio = training_flops(adapted, 1) / training_flops(unchanged, 1)
    return [max(1, round(step * ratio)) for step in steps]


def _scoring(precision: Precision) -> Any:
    return "model" if precision == "float32" else "bf16-autocast"
