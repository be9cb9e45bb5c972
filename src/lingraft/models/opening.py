"""Opening what transformers reads, with its many kinds of exception turned into one line each."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging as hf_logging

from lingraft.errors import LingraftError, ModelError, TokenizerError
from lingraft.models.tokenizer_class import is_generic

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, with the next where that has the reason, in 160 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])[:160]


@contextlib.contextmanager
def quiet_bars() -> Iterator[None]:
    """Keep transformers from drawing its own progress bars, and leave its setting as it was."""
    bars: Any = hf_logging
    enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            bars.enable_progress_bar()


def refuse_remote_code(error: BaseException, reference: str) -> None:
    """Turn transformers' demand for trust_remote_code into a line; do nothing for any other exception.

    Args:
        error: What transformers raised.
        reference: What the user typed.

    Raises:
        ModelError: The exception was that demand.
    """
    if "trust_remote_code" in str(error):
        raise ModelError(
            f"{reference} needs Python code from its own repository",
            "a model that transformers itself implements",
            "read that code and allow it (trust_remote_code, --trust-remote-code), or give another model",
        ) from error


@contextlib.contextmanager
def one_line(reference: str, kind: str) -> Iterator[None]:
    """Turn what transformers raises for a broken or foreign checkpoint into a ModelError.

    Args:
        reference: What the user typed.
        kind: What was to be loaded, for the message.

    Yields:
        Nothing; transformers draws no progress bars inside the block.

    Raises:
        ModelError: The body raised anything but a LingraftError or want of memory.
    """
    try:
        with quiet_bars():
            yield
    except (LingraftError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a wrong config raises anything, down to ZeroDivisionError and bare Exception
        refuse_remote_code(error, reference)
        raise ModelError(
            f"{reference} cannot be loaded ({type(error).__name__}: {first_line(error)})",
            f"a {kind} that this version of transformers reads",
            "check that it is the right model, fetch it again, or update transformers",
        ) from error


def require_finite_rows(matrix: torch.Tensor, name: str) -> None:
    """Refuse a matrix `[rows, width]` with NaN or infinite values.

    Args:
        matrix: Any float matrix.
        name: What it is, for the message.

    Raises:
        ModelError: Some rows are not finite; the first is named.
    """
    bad = (~torch.isfinite(matrix).all(dim=1)).nonzero().flatten()
    if len(bad):
        raise ModelError(
            f"{len(bad)} of {matrix.shape[0]} rows of {name} hold NaN or infinity (first: row {int(bad[0])})",
            "finite values",
            "fetch the model again, or use a checkpoint from before its training diverged",
        )


def require_matching_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int, reference: str) -> None:
    """Refuse a tokenizer that gives ids beyond a matrix of `rows` rows.

    A special token beyond it is let pass if it is none of the tokenizer's named roles: Gemma 3's text-only
    models carry an image token of that kind.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the matrix.
        reference: What the user typed.

    Raises:
        ModelError: An ordinary token, or one with a named role, has no row.
    """
    roles = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}
    named = {getattr(tokenizer, f"{role}_token_id", None) for role in roles}
    markers = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} - named
    beyond = sorted(
        (i, token) for token, i in tokenizer.get_vocab().items() if i >= rows and i not in markers
    )
    if beyond:
        last_id, last = beyond[-1]
        raise ModelError(
            f"the tokenizer of {reference} has ids up to {last_id} ({last!r}), its matrix {rows} rows",
            "a row for every token",
            "give the tokenizer and the weights of the same model",
        )


def open_tokenizer(path: Path, reference: str, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a directory, or a tokenizer.json file.

    Args:
        path: A directory, or a tokenizer.json file.
        reference: What the user typed.
        trust_remote_code: Run Python code that lies beside it.

    Returns:
        The tokenizer.

    Raises:
        TokenizerError: There is none, or it cannot be read.
        ModelError: It needs code from its repository.
    """
    if path.is_dir() and not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise TokenizerError(
            f"{reference} holds no tokenizer",
            "a tokenizer.json, or another tokenizer file that transformers reads",
            "copy the tokenizer's files into the directory",
        )
    try:
        fast: Any = PreTrainedTokenizerFast
        if path.is_file():
            tokenizer = fast(tokenizer_file=str(path))
        elif is_generic(path):
            # For some model types AutoTokenizer takes the type's own class whatever the file says; see tokenizer_class.
            tokenizer = fast.from_pretrained(path, local_files_only=True)
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                path, trust_remote_code=trust_remote_code, local_files_only=True
            )
        size = len(tokenizer)
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        refuse_remote_code(error, reference)
        raise TokenizerError(
            f"the tokenizer of {reference} cannot be read ({type(error).__name__}: {first_line(error)})",
            "tokenizer files that transformers reads",
            "fetch the model again, or save its tokenizer with save_pretrained",
        ) from error
    if size == 0:
        raise TokenizerError(f"the tokenizer of {reference} is empty", "at least one token", "fetch it again")
    return tokenizer  # type: ignore[no-any-return]
