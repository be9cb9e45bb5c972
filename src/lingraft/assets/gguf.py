"""A GGUF file as an ordinary model directory: float32 safetensors, tokenizer, generation config.

transformers loads such a file, but the model it gives refuses to be saved and to be trained as it is, and its
tokenizer leaves out how some vocabularies cut text. So it is rebuilt once.
"""

import contextlib
import importlib.util
import io
import logging
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lingraft.assets.gguf_tokenizer import ROPE_FACTORS, embedded_tokenizer, refuse_scaled_rope
from lingraft.errors import AssetError, MissingExtraError
from lingraft.files import replacing_directory

_GPT2_CUT = {"default", "gpt-2", "mpt", "olmo", "jais", "phi-2", "trillion"}
"""Names of pre-tokenizers that cut text as GPT-2 does, which is what transformers takes for granted."""
_DIGITS_CUT = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""Names of pre-tokenizers that set every digit apart, and then cut as GPT-2 does."""


def rebuild_gguf(file: Path, out: Path) -> Path:
    """Write a GGUF file's model and tokenizer as a plain transformers directory, weights in float32.

    The weights are those of the file, dequantised; whatever quantisation lost stays lost.

    Args:
        file: The GGUF file of a causal language model.
        out: A directory that does not exist yet, or is empty; it appears complete or not at all.

    Returns:
        `out`.

    Raises:
        AssetError: The file is no GGUF file, is cut off or damaged, or holds an unsupported model.
        MissingExtraError: The libraries that transformers needs for it are not installed.
    """
    check_gguf(file)
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "gguf", "loading GGUF files")
    with replacing_directory(out) as temporary:
        try:
            with _quiet_transformers():
                _rebuild(file, temporary)
        except ImportError as error:
            raise MissingExtraError("gguf", "gguf", "loading GGUF files") from error
        except (ValueError, KeyError, TypeError, RuntimeError, struct.error, NotImplementedError) as error:
            why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise _unreadable(file, why) from error
    return out


def _unreadable(file: Path, why: str) -> AssetError:
    return AssetError(
        f"{file} is not readable as a model: {why}",
        "an intact GGUF file of a supported architecture",
        "fetch or copy the file again, or give the model's hub id instead",
    )


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars and its remarks about dequantising off the terminal."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # One of its bars cannot be turned off.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _rebuild(file: Path, directory: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    metadata = check_gguf(file)
    refuse_scaled_rope(metadata)
    tokenizer: Any = embedded_tokenizer(metadata)
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        _cut_as_trained(file, tokenizer, str(metadata.get("tokenizer.ggml.pre", "default")))
    loaded = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    config = loaded.config
    for leftover in ("quantization_config", "_model_name_or_path"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    model: Any = type(loaded)(config)
    state = {name: tensor.to(torch.float32) for name, tensor in loaded.state_dict().items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - set(model.all_tied_weights_keys):
        raise ValueError(f"weights do not fit the architecture: {[*missing, *unexpected][:3]}")
    model.tie_weights()
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    model.float()
    model.config.dtype = torch.float32
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        **{
            name: getattr(tokenizer, name)
            for name in ("bos_token_id", "eos_token_id", "pad_token_id")
            if getattr(tokenizer, name) is not None
        }
    )
    model.save_pretrained(directory)
    for weights in directory.glob("*.safetensors"):
        weights.chmod(0o644)  # written for the owner alone
    tokenizer.save_pretrained(directory)


def _cut_as_trained(file: Path, tokenizer: Any, name: str) -> None:
    """Give a byte-level tokenizer the pre-tokenizer that the file names, where transformers does not."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    current = str(backend.pre_tokenizer)
    if "ByteLevel" not in current or name in _GPT2_CUT:
        return
    if name in _DIGITS_CUT:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif "Split" not in current:
        raise ValueError(f"its tokenizer cuts text in a way named {name!r}, which is not known here")


_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class _Reader:
    """Reads a GGUF header from a file, and says at which byte the file ends too early."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def take(self, count: int) -> bytes:
        if count > 1 << 28:
            raise ValueError(f"a length of {count} bytes in the header")
        taken: bytes = self.file.read(count)
        if len(taken) < count:
            raise ValueError("the header is cut off")
        return taken

    def number(self, layout: str) -> Any:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_FIXED[kind])
        element, count = self.number("I"), self.number("Q")
        if element in _FIXED:
            self.take(count * struct.calcsize(_FIXED[element]))
        else:
            for _ in range(count):
                self.value(element)
        return count


def check_gguf(file: Path) -> Mapping[str, Any]:
    """Check that a GGUF file is whole: its header parses, and no tensor lies past its end.

    Args:
        file: The GGUF file.

    Returns:
        The metadata, arrays as their lengths.

    Raises:
        AssetError: The header is damaged, or the file is shorter than its tensors.
    """
    try:
        with file.open("rb") as stream:
            return _check(_Reader(stream), file.stat().st_size)
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    except (ValueError, KeyError, struct.error) as error:
        raise _unreadable(file, str(error)) from error


def _check(reader: _Reader, file_size: int) -> dict[str, Any]:
    if reader.take(4) != b"GGUF":
        raise ValueError("it does not start with GGUF")
    version, tensors, fields = reader.number("I"), reader.number("Q"), reader.number("Q")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}")
    metadata = {}
    for _ in range(fields):
        name = reader.text()
        metadata[name] = reader.value(reader.number("I"))
    end = 0
    for _ in range(tensors):
        if reader.text() == ROPE_FACTORS:
            metadata[ROPE_FACTORS] = True
        elements = 1
        for _ in range(reader.number("I")):
            elements *= reader.number("Q")
        kind, offset = reader.number("I"), reader.number("Q")
        # A block type needs more than half a bit for each weight; plain floats are known exactly.
        size = elements * {0: 4, 1: 2, 30: 2}[kind] if kind in (0, 1, 30) else elements // 16
        end = max(end, offset + size)
    alignment = metadata.get("general.alignment", 32)
    start = -(-reader.file.tell() // alignment) * alignment
    if start + end > file_size:
        raise ValueError(f"it ends at byte {file_size}, its tensors at {start + end} or later")
    return metadata
