"""How much arithmetic a training takes: what makes budgets comparable between vocabularies."""

from typing import Any

from lingraft.training.optimization import embedding_parameters


def matrix_parameters(model: Any) -> tuple[int, int]:
    """Return how many parameters take part in matrix products, in the body and in the head.

    Looking up an input embedding is no arithmetic. The head is a product with the output matrix, whether or not the
    matrix is the tied input one.

    Args:
        model: A transformers causal language model, dense (each expert of a mixture would count as used).

    Returns:
        Parameters of the body, and of the head.
    """
    embeddings = {id(p) for p in embedding_parameters(model)}
    body = sum(p.numel() for p in model.parameters() if id(p) not in embeddings and p.ndim > 1)
    head = model.get_output_embeddings()
    return body, 0 if head is None else int(head.weight.numel())


def training_flops(model: Any, tokens: int, *, block_length: int = 0, frozen_body_tokens: int = 0) -> float:
    """Estimate the floating-point operations of training on `tokens` tokens.

    Six operations a parameter and token: two forward, four backward (Kaplan et al. 2020), over the matrices of the
    body and the head. While the body is frozen its weight gradients, two of the six, are left out.

    Args:
        model: A transformers causal language model.
        tokens: Tokens trained on, all together.
        block_length: Tokens attending to each other; adds the products of attention (causal half); 0 leaves
            them out.
        frozen_body_tokens: How many of the tokens were trained on with the body frozen.

    Returns:
        Floating-point operations.
    """
    body, head = matrix_parameters(model)
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 6 * config.num_hidden_layers * config.num_attention_heads * width * block_length
    return float(tokens * (6 * (body + head) + attention) - 2 * body * frozen_body_tokens)
