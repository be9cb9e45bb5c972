"""Which token stands before a document: the one that the model's pre-training put there, as far as one can tell."""

from typing import Any

from lingraft.errors import TokenizerError

SEPARATOR = "<|endoftext|>"
"""What GPT-2 and its descendants read between documents. Their chat-tuned forms often name other tokens bos and eos."""
DIALOGUE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def document_start(tokenizer: Any, override: int | None = None) -> int:
    """Return the id of the token that stands before every document, in training and in scoring.

    It is bos, else eos (our choice), but not one that stands at each turn of the chat template, where the tokenizer
    has `SEPARATOR`: after such a marker a chat-tuned model expects the name of a role, so that every document would
    be charged for that, and training on documents would unlearn it. SmolLM2-Instruct and Qwen are such models.

    Args:
        tokenizer: A transformers tokenizer.
        override: An id to use instead, for models whose training separated documents by something else.

    Returns:
        The token id.

    Raises:
        TokenizerError: The tokenizer names neither bos nor eos.
    """
    if override is not None:
        return int(override)
    roles = [text for text in (tokenizer.bos_token, tokenizer.eos_token) if text is not None]
    if not roles:
        raise TokenizerError(
            "a tokenizer with neither a bos nor an eos token",
            "one of them, to mark where a document starts",
            "set bos_token in its tokenizer_config.json, or give the id of the document-start token",
        )
    turns = _dialogue(tokenizer)
    separators = [SEPARATOR] if SEPARATOR in tokenizer.get_added_vocab() else []
    chosen = [*(text for text in roles if turns.count(text) < len(DIALOGUE)), *separators, *roles]
    return int(tokenizer.convert_tokens_to_ids(chosen[0]))


def _dialogue(tokenizer: Any) -> str:
    """Return a question and an answer as the chat template writes them; nothing where it does not."""
    if not tokenizer.chat_template:
        return ""
    try:
        return str(tokenizer.apply_chat_template(DIALOGUE, tokenize=False))
    except Exception:
        # Templates are programs of other people's and may raise anything: they want tools, or dates, or a system turn.
        return ""
