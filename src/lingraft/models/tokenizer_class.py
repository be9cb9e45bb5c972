"""That a saved tokenizer is loaded by the class that it was saved with.

transformers lists model types whose checkpoints on the hub name a wrong tokenizer class (Qwen2 among them), and for
these its AutoTokenizer takes the type's own class, whatever tokenizer_config.json says. That class builds its own kind
of tokenizer from any vocabulary: a vocabulary of another kind, such as a unigram one grafted onto Qwen2, would come
back with other ids and without an error.
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lingraft.files import write_json

GENERIC = "TokenizersBackend"
"""The class that is nothing but its tokenizer.json; what this library builds is always of it."""
CONFIG_FILE = "tokenizer_config.json"
_NO_CODE = {"AutoTokenizer": [None, "none.None"]}
"""Names code that does not exist. Where remote code is not trusted AutoTokenizer then looks no further than
`tokenizer_class`; where it is trusted, loading fails, which is better than another tokenizer."""


def is_generic(directory: Path) -> bool:
    """Whether a directory's tokenizer is nothing but its tokenizer.json.

    Args:
        directory: With tokenizer_config.json, or without.

    Returns:
        Whether the file names the generic class.
    """
    try:
        config = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("tokenizer_class") == GENERIC


def keep_tokenizer_class(directory: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """See to it that plain transformers loads the tokenizer that was saved.

    Args:
        directory: A saved checkpoint: config.json, and the tokenizer's files.
        tokenizer: What was saved there.
    """
    if not is_generic(directory):
        return
    again: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if _content(again) == _content(tokenizer):
        return
    config = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    write_json(directory / CONFIG_FILE, {**config, "auto_map": _NO_CODE})


def _content(tokenizer: Any) -> tuple[Any, ...]:
    """Return what decides a text's ids and an id's text."""
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    return tuple(description.get(part) for part in ("model", "normalizer", "pre_tokenizer", "decoder"))
