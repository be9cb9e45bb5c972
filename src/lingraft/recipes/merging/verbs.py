"""The three merges by name: what a user types, resolved, and carried out. `lingraft merge` calls these."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lingraft.preference.merging_plans import chat_vector_plan, interpolation_plan, layer_swap_plan
from lingraft.recipes.merging.run import run_merge
from lingraft.reports.result import RunResult

_NOT_OPTIONS = {"out", "accept_terms"}


def run_layer_swap(
    *,
    language: str,
    task: str,
    bottom: int,
    top: int,
    out: Path,
    bottom_transition: int = 0,
    top_transition: int = 0,
    share: float = 0.5,
    outside: Literal["language", "task"] = "language",
    tokenizer_from: Literal["language", "task"] | None = None,
    dtype: str | None = None,
    accept_terms: bool = False,
) -> RunResult:
    """Put outer layers of a language expert around the inner layers of a task expert (arXiv 2410.01335).

    Args:
        language: Reference of the language expert: hub id, directory, asset name or LoRA adapter.
        task: Reference of the task expert, tuned from the same base.
        bottom: First layers taken from the language expert.
        top: Last layers taken from it.
        out: Output directory: missing, empty, or a finished run of the same command.
        bottom_transition: Layers above the bottom ones that are a mean of both.
        top_transition: Layers below the top ones that are a mean of both.
        share: Weight of the language expert in these means.
        outside: Whose embeddings, final norm and head are taken, with its config (our choice).
        tokenizer_from: Whose tokenizer, chat template and generation config; None for that of `outside`.
        dtype: Of the result; None for that of `outside`.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or an output directory that is taken or cannot be written.
    """
    options = _options(locals())
    return run_merge(
        "layer-swap",
        {"language": language, "task": task},
        lambda inputs, written: layer_swap_plan(
            inputs["language"],
            inputs["task"],
            bottom=bottom,
            top=top,
            bottom_transition=bottom_transition,
            top_transition=top_transition,
            share=share,
            outside=outside,
            dtype=written,
        ),
        options,
        out=out,
        dtype=dtype,
        tokenizer_from=tokenizer_from,
        accept_terms=accept_terms,
    )


def run_chat_vector(
    *,
    target: str,
    chat: str,
    base: str,
    out: Path,
    scale: float = 1.0,
    embeddings: Literal["auto", "add", "skip"] = "auto",
    tokenizer_from: Literal["target", "chat"] | None = None,
    dtype: str | None = None,
    accept_terms: bool = False,
) -> RunResult:
    """Add what tuning did to one model to another model of the same base (chat vector, arXiv 2310.04799).

    Args:
        target: Reference of the model of the language.
        chat: Reference of the tuned model whose behaviour is wanted.
        base: Reference of what `chat` was tuned from and `target` continued from.
        out: Output directory: missing, empty, or a finished run of the same command.
        scale: Of the difference `chat - base`.
        embeddings: Whether it is added to embeddings and head; `auto`: where the vocabularies are the same.
        tokenizer_from: Whose tokenizer, chat template and generation config; None for chat's where the vocabularies
            are the same, else target's.
        dtype: Of the result; None for that of `target`.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or an output directory that is taken or cannot be written.
    """
    options = _options(locals())
    return run_merge(
        "chat-vector",
        {"target": target, "chat": chat, "base": base},
        lambda inputs, written: chat_vector_plan(
            inputs["target"],
            inputs["chat"],
            inputs["base"],
            scale,
            embeddings=embeddings,
            dtype=written,
        ),
        options,
        out=out,
        dtype=dtype,
        tokenizer_from=tokenizer_from,
        accept_terms=accept_terms,
    )


def run_interpolation(
    *,
    base: str,
    tuned: str,
    out: Path,
    weight: float = 0.5,
    tokenizer_from: Literal["tuned", "base"] = "tuned",
    dtype: str | None = None,
    accept_terms: bool = False,
) -> RunResult:
    """Make the model on the straight line between a base and its tuned version.

    Args:
        base: Reference of the model before tuning.
        tuned: Reference of the model after it.
        out: Output directory: missing, empty, or a finished run of the same command.
        weight: Share of `tuned`: 0 gives the base's weights, 1 the tuned ones, bit by bit.
        tokenizer_from: Whose tokenizer, chat template and generation config.
        dtype: Of the result; None for that of `tuned`.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad option or input, or an output directory that is taken or cannot be written.
    """
    options = _options(locals())
    return run_merge(
        "interpolate",
        {"base": base, "tuned": tuned},
        lambda inputs, written: interpolation_plan(inputs["base"], inputs["tuned"], weight, dtype=written),
        options,
        out=out,
        dtype=dtype,
        tokenizer_from=tokenizer_from,
        accept_terms=accept_terms,
    )


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that make one run differ from another."""
    return {name: value for name, value in given.items() if name not in _NOT_OPTIONS}
