"""What a sweep will cost, before it runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.models.architecture import resolve
from lingraft.patching.pairs import Pairs, token_layers
from lingraft.patching.prompts import Prompt
from lingraft.patching.scoring import Score

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class SweepCost:
    """Counts of a whole sweep; estimates of the upper end, as rows may end early.

    Attributes:
        instances: Pairs of prompts.
        rows: Transplants of all instances.
        forwards: Forward calls of the model: prefills, first steps of chunks, decoding steps.
        token_layers: Tokens times layers that they pass.
        naive_forwards: What the released code takes: for every pair the donor prompt again, and a patched generation.
        naive_token_layers: Its tokens times layers.
        flops: Floating-point operations of the matrices, attention scores left out.
        chunk_rows: Rows computed at once.
        chunk_bytes: Memory of a chunk beside the model: own keys and values, logits.
    """

    instances: int
    rows: int
    forwards: int
    token_layers: int
    naive_forwards: int
    naive_token_layers: int
    flops: float
    chunk_rows: int
    chunk_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def row_bytes(model: PreTrainedModel, new_tokens: int) -> int:
    """Memory of one row beside the model.

    Args:
        model: The model.
        new_tokens: Tokens that it will have of its own.

    Returns:
        Bytes: keys and values of all layers, logits in the model's type and twice in float32.
    """
    config: Any = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    item = next(model.parameters()).element_size()
    kept = 2 * config.num_hidden_layers * heads * width * item * new_tokens
    # Growing by concatenation holds one layer's old and new keys at once; the states of a layer are small beside.
    return int(kept + 2 * heads * width * item * new_tokens + config.vocab_size * (item + 8))


def rows_within(model: PreTrainedModel, new_tokens: int, budget_bytes: int) -> int:
    """How many rows fit into a budget.

    Args:
        model: The model.
        new_tokens: Tokens of a row.
        budget_bytes: Memory that rows may take.

    Returns:
        At least 1.

    Raises:
        ConfigError: Not even one row fits.
    """
    one = row_bytes(model, new_tokens)
    if one > budget_bytes:
        raise ConfigError(
            f"{budget_bytes / MEBIBYTE:.1f} MiB for rows",
            f"at least {one / MEBIBYTE:.1f} MiB, what one row of this model takes",
            "give more with --memory-mib",
        )
    return budget_bytes // one


def plan_sweep(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    pairs: Pairs,
    *,
    score: Score,
    new_tokens: int,
    budget_bytes: int,
) -> SweepCost:
    """Count what a sweep takes.

    Args:
        model: The model.
        prompts: All instances.
        pairs: The rows of each instance.
        score: How rows are scored.
        new_tokens: Most tokens a generated text.
        budget_bytes: Memory that rows may take.

    Returns:
        The counts.

    Raises:
        ConfigError: Not even one row fits.
    """
    layers = len(resolve(model).layers)
    chunk = min(len(pairs), rows_within(model, own_tokens(prompts, score, new_tokens), budget_bytes))
    pieces = -(-len(pairs) // chunk)
    forwards = passed = naive_forwards = naive_passed = 0
    for prompt in prompts:
        extra = _steps(prompt, score, new_tokens)
        read = len(prompt.receiver) + sum(map(len, prompt.donors))
        forwards += 1 + len(prompt.donors) + pieces * (1 + extra)
        passed += read * layers + token_layers(pairs, layers) + extra * len(pairs) * layers
        # The released code reads both prompts anew for every pair: a token after the donor's, then an answer.
        naive_forwards += len(pairs) * (2 + extra)
        naive_passed += len(pairs) * (len(prompt.receiver) + len(prompt.donors[0]) + extra) * layers
    config: Any = model.config.get_text_config()
    head = config.hidden_size * config.vocab_size
    body = sum(p.numel() for p in model.parameters()) - head * (1 if config.tie_word_embeddings else 2)
    answers = sum(len(pairs) * (1 + _steps(prompt, score, new_tokens)) for prompt in prompts)
    return SweepCost(
        instances=len(prompts),
        rows=len(prompts) * len(pairs),
        forwards=forwards,
        token_layers=passed,
        naive_forwards=naive_forwards,
        naive_token_layers=naive_passed,
        flops=2.0 * body / layers * passed + 2.0 * head * answers,
        chunk_rows=chunk,
        chunk_bytes=chunk * row_bytes(model, own_tokens(prompts, score, new_tokens)),
    )


def own_tokens(prompts: Sequence[Prompt], score: Score, new_tokens: int) -> int:
    """Tokens of its own that a row comes to hold: the last prompt token and what follows it."""
    return 1 + max((_held(prompt, score, new_tokens) for prompt in prompts), default=0)


def _held(prompt: Prompt, score: Score, new_tokens: int) -> int:
    if score == "generate":
        return new_tokens - 1
    return max((len(option) - 1 for option in prompt.options), default=0) if score == "options" else 0


def _steps(prompt: Prompt, score: Score, new_tokens: int) -> int:
    """Decoding steps after the first of every row."""
    if score == "generate":
        return new_tokens - 1
    if score != "options":
        return 0
    # Options that begin alike take those steps together.
    return len({option[:end] for option in prompt.options for end in range(1, len(option))})
