"""What transformers leaves out when it reads a GGUF file: the embedded tokenizer, and scaled rotary frequencies."""

from collections.abc import Mapping
from typing import Any

EMBEDDED = "tokenizer.huggingface.json"
"""Key of the GGUF standard under which a file may carry the whole tokenizer.json."""
ROPE_FACTORS = "rope_freqs.weight"
"""Tensor with divisors of the rotary frequencies."""

_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def embedded_tokenizer(metadata: Mapping[str, Any]) -> Any:
    """Return the tokenizer whose tokenizer.json a GGUF file carries, with the file's roles and chat template.

    Args:
        metadata: The file's metadata.

    Returns:
        A transformers tokenizer, or None where the file carries none.

    Raises:
        ValueError: What it carries is no tokenizer.json.
    """
    text = metadata.get(EMBEDDED)
    if not isinstance(text, str):
        return None
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        backend = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"its embedded tokenizer.json is damaged ({error})") from error
    roles = {}
    for role, key in _ROLES.items():
        token_id = metadata.get(f"tokenizer.ggml.{key}_token_id")
        token = None if token_id is None else backend.id_to_token(token_id)
        if token is not None:
            roles[f"{role}_token"] = token
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **roles)
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        tokenizer.chat_template = template
    return tokenizer


def refuse_scaled_rope(metadata: Mapping[str, Any]) -> None:
    """Refuse a model with scaled rotary frequencies: transformers would read it without, and give other logits.

    Args:
        metadata: The file's metadata, with `ROPE_FACTORS` where it has that tensor.

    Raises:
        ValueError: The file states such a scaling.
    """
    scaling = next((value for key, value in metadata.items() if key.endswith(".rope.scaling.type")), "none")
    if scaling != "none" or ROPE_FACTORS in metadata:
        raise ValueError("its rotary frequencies are scaled, which transformers does not read from GGUF")
