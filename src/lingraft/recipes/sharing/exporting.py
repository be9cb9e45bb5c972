"""A checkpoint as one GGUF file for llama.cpp and what is built on it, adapted vocabularies included."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, OutputError

FILE_TYPES = ("float32", "float16", "bfloat16", "q8_0")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes:
        file: The GGUF file.
        bytes: Its size.
        architecture: llama.cpp's name of the model's family.
        dtype: How matrices are stored.
        tensors: Number of tensors.
        tokens: Rows of the vocabulary, and how many of them have no token.
        unused_rows: Rows without a token.
        vocabulary: Kind of vocabulary in GGUF, and the name of how text is cut.
        pre: llama.cpp's name of how text is cut into words; empty where it does not cut.
        model: Reference of the model.
        revision: Its revision.
        notes: In what llama.cpp differs from transformers on rare text.
    """

    file: str
    bytes: int
    architecture: str
    dtype: str
    tensors: int
    tokens: int
    unused_rows: int
    vocabulary: str
    pre: str
    model: str
    revision: str
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def export_gguf(
    *,
    model: str,
    out: Path,
    dtype: str | None = None,
    pre: str | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> ExportResult:
    """Write a checkpoint as a GGUF file.

    The file also carries the tokenizer.json itself, so that `load_model` reads back exactly the same tokenizer;
    llama.cpp reads its own fields, and `notes` say where these cut rare text differently.

    Args:
        model: Hub id, directory or asset name.
        out: The file, ending in .gguf.
        dtype: `float32`, `float16`, `bfloat16` or `q8_0`; None keeps the checkpoint's.
        pre: llama.cpp's name of how text is cut; None finds it.
        overwrite: Replace a file that is there.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        What was written.

    Raises:
        ConfigError: `out` is no .gguf file, or an unknown dtype.
        OutputError: The file exists, or cannot be written.
        ModelError: The model is of no family that GGUF can state exactly.
        TokenizerError: llama.cpp has no such tokenizer.
        MissingExtraError: The extra `gguf` is not installed.
    """
    _check_options(out, dtype, overwrite)
    from lingraft.models.gguf_layout import gguf_layout
    from lingraft.models.gguf_writing import import_gguf, write_gguf
    from lingraft.models.loading import load_model
    from lingraft.tokenizers.gguf_vocabulary import UNUSED, gguf_vocabulary

    import_gguf()
    loaded = load_model(model, device="cpu", trust_remote_code=trust_remote_code, accept_terms=accept_terms)
    layout = gguf_layout(loaded.model.config)
    vocabulary = gguf_vocabulary(loaded.tokenizer, loaded.model.config.vocab_size, pre=pre)
    stored: Any = dtype or _nearest(str(loaded.model.dtype).removeprefix("torch."))
    tensors = write_gguf(
        out,
        loaded.model,
        layout,
        _tokenizer_fields(loaded, vocabulary),
        file_type=stored,
        name=Path(model).name,
    )
    return ExportResult(
        file=str(out),
        bytes=out.stat().st_size,
        architecture=layout.architecture,
        dtype=stored,
        tensors=tensors,
        tokens=len(vocabulary.tokens),
        unused_rows=list(vocabulary.kinds).count(UNUSED),
        vocabulary=vocabulary.model,
        pre=vocabulary.pre,
        model=model,
        revision=loaded.revision,
        notes=vocabulary.notes,
    )


def export_lines(result: ExportResult) -> list[str]:
    """Lines for a person.

    Args:
        result: What was written.

    Returns:
        The lines.
    """
    cut = f", cut as {result.pre}" if result.pre else ""
    unused = f" ({result.unused_rows} without a token)" if result.unused_rows else ""
    size = f"{result.bytes / 2**20:.1f} MiB"
    return [
        f"{result.file}: {size}, {result.architecture}, {result.tensors} tensors, {result.dtype}",
        f"vocabulary: {result.tokens} rows{unused}, {result.vocabulary}{cut}",
        *(f"note: {note}" for note in result.notes),
        f"run it:  llama-cli -m {result.file}    or  llama_cpp.Llama(model_path={result.file!r})",
    ]


def _check_options(out: Path, dtype: str | None, overwrite: bool) -> None:
    """Refuse before the model is loaded."""
    if out.suffix.lower() != ".gguf":
        raise ConfigError(f"--out {out}", "a file name that ends in .gguf", "give one")
    if dtype is not None and dtype not in FILE_TYPES:
        raise ConfigError(
            f"--dtype {dtype!r}",
            ", ".join(FILE_TYPES),
            "give one of them; for smaller types run llama.cpp's llama-quantize on a float16 file",
        )
    if out.is_dir() or (out.exists() and not overwrite):
        raise OutputError(f"{out} exists", "a new file", "give another --out, or --overwrite")


def _nearest(dtype: str) -> str:
    """The dtype of a checkpoint where GGUF has it (float64 is written as float32)."""
    return dtype if dtype in FILE_TYPES else "float32"


def _tokenizer_fields(loaded: Any, vocabulary: Any) -> Mapping[str, Any]:
    """Return the fields of the file that state the tokenizer."""
    from lingraft.tokenizers.gguf_vocabulary import embedded_json

    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {f"{key}_token_id": vocabulary.roles.get(role) for role, key in roles.items()}
    ids["eot_token_id"] = _other_end(loaded, vocabulary)
    template = loaded.tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    fields = {
        "model": vocabulary.model,
        "pre": vocabulary.pre or None,
        "tokens": list(vocabulary.tokens),
        "scores": None if vocabulary.scores is None else list(vocabulary.scores),
        "token_type": list(vocabulary.kinds),
        "merges": None if vocabulary.merges is None else list(vocabulary.merges),
        **ids,
        "add_bos_token": vocabulary.add_bos,
        "add_eos_token": vocabulary.add_eos,
        "add_space_prefix": vocabulary.add_space_prefix,
        "remove_extra_whitespaces": vocabulary.merge_spaces if vocabulary.model == "t5" else None,
        "precompiled_charsmap": vocabulary.charsmap or None,
    }
    return {
        **{f"tokenizer.ggml.{key}": value for key, value in fields.items()},
        "tokenizer.chat_template": template or None,
        "tokenizer.huggingface.json": embedded_json(loaded.tokenizer),
    }


def _other_end(loaded: Any, vocabulary: Any) -> int | None:
    """Return an id beside eos that ends generation, such as that of the end of a turn."""
    ends = getattr(loaded.model.generation_config, "eos_token_id", None)
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    others = [i for i in ends if i != vocabulary.roles.get("eos") and i < len(vocabulary.tokens)]
    return others[0] if others else None
