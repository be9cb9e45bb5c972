"""Equal compute: how many steps on one model cost what so many cost on another."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lingraft.models.opening import one_line
from lingraft.models.references import resolve_reference
from lingraft.training.flops import matrix_parameters, training_flops


def model_shape(reference: str, *, trust_remote_code: bool = False, accept_terms: bool = False) -> Any:
    """Return a model of a reference's architecture and sizes without any weights.

    Args:
        reference: As for `load_model`.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of a catalogued model.

    Returns:
        A transformers model on the meta device.

    Raises:
        ModelError: The reference leads nowhere, or to no causal language model.
    """
    directory = resolve_reference(reference, accept_terms=accept_terms, with_code=trust_remote_code)
    with one_line(reference, "causal LM"), torch.device("meta"):
        config = AutoConfig.from_pretrained(
            directory, trust_remote_code=trust_remote_code, local_files_only=True
        )
        auto: Any = AutoModelForCausalLM
        return auto.from_config(config, trust_remote_code=trust_remote_code)


def equal_compute_steps(
    model: Any, other: Any, steps: int, *, batch_size: int, block_length: int, body_after: int
) -> int:
    """Return how many steps on a model take the arithmetic of `steps` on another one.

    Blocks and batches are the same for both; a smaller vocabulary or body makes a step cheaper.

    Args:
        model: The model to train.
        other: The model to compare with; its weights are not looked at.
        steps: Steps on the other.
        batch_size: Sequences a step.
        block_length: Tokens a sequence.
        body_after: First steps that train the embeddings alone, on both.

    Returns:
        At least 1.
    """
    tokens = batch_size * block_length
    budget = training_flops(
        other,
        steps * tokens,
        block_length=block_length,
        frozen_body_tokens=min(body_after, steps) * tokens,
    )
    whole = training_flops(model, tokens, block_length=block_length)
    saved = 2.0 * matrix_parameters(model)[0] * tokens
    # Steps with a frozen body cost less by `saved`: either all of them are such, or the first `body_after`.
    frozen_only = budget / (whole - saved)
    wanted = frozen_only if frozen_only <= body_after else (budget + saved * body_after) / whole
    return max(1, round(wanted))
