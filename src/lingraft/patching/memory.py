"""Running out of memory: smaller chunks first, and then one line that says what is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from lingraft.errors import ConfigError
from lingraft.patching.engine import chunks

MEBIBYTE = 2**20
_Piece = TypeVar("_Piece")


def shrinking(run: Callable[[int, int], _Piece], total: int, size: int) -> list[_Piece]:
    """Run pieces of a whole; where memory gives out, all of them again at half the size.

    Args:
        run: `run(begin, end)` computes a piece.
        total: The whole.
        size: Most of a piece.

    Returns:
        The pieces.

    Raises:
        MemoryError: Pieces of one do not fit either; see `needing`.
    """
    while True:
        try:
            return [run(begin, end) for begin, end in chunks(total, size)]
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            if size == 1:
                raise MemoryError(str(error)) from error
        # Outside the handler: its traceback holds the tensors of the failed piece.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = -(-size // 2)


@contextmanager
def needing(where: str, needed: int) -> Iterator[None]:
    """Turn memory that gives out for good into a line with what the work needs.

    Args:
        where: What was being computed.
        needed: Bytes that the smallest piece of it takes beside the model.

    Yields:
        Nothing.

    Raises:
        ConfigError: Memory gave out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        raise ConfigError(
            f"out of memory at {where}, in the smallest chunks too",
            f"about {needed / MEBIBYTE:,.0f} MiB beside the model",
            "free memory, shorten the prompts, or use --dtype bfloat16; finished instances are kept",
        ) from error


def is_memory(error: BaseException) -> bool:
    """Tell an allocation that failed from other errors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The processor's allocator has no exception of its own; libraries below torch say bad_alloc.
    return any(
        sign in str(error) for sign in ("not enough memory", "can't allocate memory", "std::bad_alloc")
    )


def reading_bytes(model: Any, tokens: int) -> int:
    """Memory of reading prompts: their keys and values, and the widest states of the longest layer.

    Args:
        model: The model.
        tokens: Of all prompts together.

    Returns:
        Bytes, an estimate.
    """
    config = model.config.get_text_config()
    item = next(model.parameters()).element_size()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    kept = 2 * config.num_hidden_layers * heads * width
    return int(tokens * item * (kept + 5 * inner + 8 * config.hidden_size))
