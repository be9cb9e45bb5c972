"""What kind of tokenizer stands behind a transformers tokenizer: read from its description, not its class."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lingraft.errors import TokenizerError

METASPACE = "▁"
"""U+2581, which SentencePiece vocabularies write for a space."""

Style = Literal["byte-level", "sentencepiece", "wordpiece", "plain"]

ROLES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep")
"""Roles in the order of precedence in which a token that has several is named."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The serialised description of a fast tokenizer.

    Attributes:
        description: The content of `tokenizer.json`.
        model_type: `BPE`, `Unigram`, `WordPiece` or `WordLevel`.
        style: How the vocabulary writes bytes and spaces.
        vocabulary: Model tokens and their ids, without tokens that were only added.
        prefix: What marks a piece that continues a word (`##`), or nothing.
    """

    description: Mapping[str, Any]
    model_type: str
    style: Style
    vocabulary: Mapping[str, int]
    prefix: str

    @property
    def model(self) -> Mapping[str, Any]:
        """The model section."""
        section: Mapping[str, Any] = self.description["model"]
        return section

    @property
    def added_tokens(self) -> list[dict[str, Any]]:
        """Added tokens with `id`, `content` and `special`."""
        return list(self.description.get("added_tokens") or [])


def backend_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return the Rust tokenizer behind `tokenizer`.

    Args:
        tokenizer: Any transformers tokenizer.

    Returns:
        Its backend itself, not a copy.

    Raises:
        TokenizerError: The tokenizer is written in Python and has none.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise TokenizerError(
            f"{type(tokenizer).__name__} has no fast backend",
            "a fast tokenizer (tokenizer.json)",
            "convert it to tokenizer.json with transformers, with sentencepiece and tiktoken installed",
        )
    return backend


def steps(section: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a normalizer, pre-tokenizer, decoder or post-processor, sequences flattened."""
    if not section:
        return
    if section.get("type") == "Sequence":
        for key in ("normalizers", "pretokenizers", "decoders", "processors"):
            for inner in section.get(key, ()):
                yield from steps(inner)
    else:
        yield section


def read_backend(tokenizer: PreTrainedTokenizerBase) -> Backend:
    """Read and classify the backend of a tokenizer.

    Args:
        tokenizer: Any transformers tokenizer.

    Returns:
        Its description and kind.

    Raises:
        TokenizerError: No fast backend, or a way of marking words that cannot be read exactly.
    """
    return classify(json.loads(backend_tokenizer(tokenizer).to_str()))


def classify(description: Mapping[str, Any]) -> Backend:
    """Classify the content of a `tokenizer.json`.

    Args:
        description: That content.

    Returns:
        The description with its kind.

    Raises:
        TokenizerError: The vocabulary marks the ends of words (CLIP and the first GPT do so).
    """
    model = description["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {entry[0]: index for index, entry in enumerate(vocabulary)}
    if model.get("end_of_word_suffix"):
        raise TokenizerError(
            f"a BPE vocabulary that marks the ends of words with {model['end_of_word_suffix']!r}",
            "one that marks where words start (byte-level, SentencePiece or WordPiece)",
            "use another tokenizer",
        )
    prefix = model.get("continuing_subword_prefix") or ""
    return Backend(description, model_type(model), _style(description, prefix), vocabulary, prefix)


def model_type(model: Mapping[str, Any]) -> str:
    """Name the model; old files leave `type` out, so it is told from the keys."""
    if "type" in model:
        return str(model["type"])
    if "merges" in model:
        return "BPE"
    return "Unigram" if isinstance(model["vocab"], list) else "WordPiece"


def _style(description: Mapping[str, Any], prefix: str) -> Style:
    splitters = [*steps(description.get("pre_tokenizer")), *steps(description.get("decoder"))]
    if any(step["type"] == "ByteLevel" for step in splitters):
        return "byte-level"
    if any(step["type"] == "Metaspace" for step in splitters):
        return "sentencepiece"
    for step in (*steps(description.get("normalizer")), *steps(description.get("decoder"))):
        texts = (step.get("content"), step.get("prepend"), (step.get("pattern") or {}).get("String"))
        if step["type"] in {"Replace", "Prepend"} and METASPACE in texts:
            return "sentencepiece"
    return "wordpiece" if prefix else "plain"


def special_roles(tokenizer: PreTrainedTokenizerBase) -> dict[int, list[str]]:
    """Map the id of each special token to its roles, most important first.

    Every special token also has the role `special:<text>`, so that chat markers of equal text meet. The
    tokenizer's live attributes count, so that a user's override of, say, `eos_token` is honoured.
    """
    roles: dict[int, list[str]] = {}
    for role in ROLES:
        token_id = getattr(tokenizer, f"{role}_token_id", None)
        if token_id is not None:
            roles.setdefault(int(token_id), []).append(role)
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.special or token_id in roles:
            roles.setdefault(int(token_id), []).append(f"special:{token.content}")
    return roles


def rebuild(
    description: Mapping[str, Any], like: PreTrainedTokenizerBase, **overrides: Any
) -> PreTrainedTokenizerFast:
    """Wrap a `tokenizer.json` content in a plain transformers tokenizer with the settings of `like`.

    The class is always the generic one: model-specific classes (Gemma's, Llama's) rebuild the backend from
    vocabulary and merges on loading, and so would lose what was changed.

    Args:
        description: The content of the new `tokenizer.json`.
        like: Where special tokens, chat template, lengths and padding side come from.
        **overrides: Settings to use in place of those of `like`.

    Returns:
        A tokenizer that saves and reloads in plain transformers.

    Raises:
        TokenizerError: The tokenizers library refuses the description.
    """
    settings: dict[str, Any] = {
        **like.special_tokens_map,
        "chat_template": like.chat_template,
        "model_max_length": like.model_max_length,
        "padding_side": like.padding_side,
        "truncation_side": like.truncation_side,
        "clean_up_tokenization_spaces": bool(like.clean_up_tokenization_spaces),
    }
    settings.update(overrides)
    settings = {key: value for key, value in settings.items() if value is not None}
    try:
        backend = Tokenizer.from_str(json.dumps(description, ensure_ascii=False))
    except Exception as error:
        raise TokenizerError(
            f"the tokenizers library refuses the new tokenizer: {error}",
            "a tokenizer.json that loads",
            "report this with the names of both tokenizers",
        ) from error
    backend.no_padding()
    backend.no_truncation()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)  # type: ignore[no-untyped-call]
