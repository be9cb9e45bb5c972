"""Give a target vocabulary a source tokenizer's special tokens, chat template and way of adding them."""

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lingraft.errors import TokenizerError
from lingraft.tokenizers.backend import backend_tokenizer, read_backend, rebuild
from lingraft.tokenizers.document_start import SEPARATOR

TARGET_KEEPS = ("mask_token", "cls_token", "sep_token")
"""Roles that causal models lack; the target keeps its own, so that their rows are matched by role."""


def adapt_tokenizer(
    target_tokenizer: PreTrainedTokenizerBase,
    source_tokenizer: PreTrainedTokenizerBase,
    *,
    chat_tokens: Mapping[str, str] | None = None,
    needed_ids: Collection[int] = (),
) -> PreTrainedTokenizerFast:
    """Return the target's vocabulary with the source's special tokens, chat template and bos/eos adding.

    Target ids stay as they are. The source's bos, eos, pad and unk, the markers that its chat template writes, and
    what separates documents (`document_start`) are appended where the target has no token of that text. The source's
    live attributes count, so a user's override of `eos_token` or `chat_template` is carried over. An unk that the
    target's model needs itself stays the target's.

    Args:
        target_tokenizer: Whose vocabulary is used; not changed.
        source_tokenizer: The model's own tokenizer.
        chat_tokens: Text of a source special token to the text that shall stand for it; template and roles
            follow. Give `match_vocabularies` the inverse as `special_pairs`.
        needed_ids: Ids of further added tokens of the source that must be there: those that end generation, say.

    Returns:
        A tokenizer that saves and reloads in plain transformers.

    Raises:
        TokenizerError: The source has no eos, or an override names no special token of the source.
    """
    renamed = dict(chat_tokens or {})
    _check(source_tokenizer, renamed)
    backend = Tokenizer.from_str(backend_tokenizer(target_tokenizer).to_str())
    template = source_tokenizer.chat_template
    for old, new in renamed.items():
        template = _replace(template, old, new)
    added = []
    for token in needed_tokens(source_tokenizer, needed_ids):
        text = renamed.get(token.content, token.content)
        added.append(
            AddedToken(
                text,
                lstrip=token.lstrip,
                rstrip=token.rstrip,
                normalized=token.normalized,
                special=token.special,
            )
        )
    backend.add_special_tokens([token for token in added if token.special])
    backend.add_tokens([token for token in added if not token.special])
    backend.post_processor = _post_processor(source_tokenizer, backend, renamed)
    roles: dict[str, str | None] = {name: getattr(target_tokenizer, name) for name in TARGET_KEEPS}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        text = getattr(source_tokenizer, name)
        roles[name] = renamed.get(text, text) if text is not None else None
    roles["pad_token"] = roles["pad_token"] or target_tokenizer.pad_token
    roles["unk_token"] = _model_unk(target_tokenizer) or roles["unk_token"]
    return rebuild(
        json.loads(backend.to_str()),
        source_tokenizer,
        **{**dict.fromkeys(source_tokenizer.special_tokens_map), **roles},
        chat_template=template,
    )


def _check(source_tokenizer: PreTrainedTokenizerBase, renamed: Mapping[str, str]) -> None:
    if source_tokenizer.eos_token is None:
        raise TokenizerError(
            "a source tokenizer without an eos token",
            "one that ends a text with a special token",
            "name the model's end-of-text token as eos_token in its tokenizer_config.json",
        )
    known = {token.content for token in source_tokenizer.added_tokens_decoder.values()}
    unknown = sorted(set(renamed) - known)
    if unknown:
        raise TokenizerError(
            f"chat token {unknown[0]!r}, which the source tokenizer does not have",
            f"one of its added tokens, such as {', '.join(map(repr, sorted(known)[:5]))}",
            "correct the override",
        )


def needed_tokens(tokenizer: PreTrainedTokenizerBase, needed_ids: Collection[int] = ()) -> list[AddedToken]:
    """Return the role tokens of a tokenizer, what its chat template writes, and what separates documents, by id."""
    templates = tokenizer.chat_template
    text = "\n".join(templates.values()) if isinstance(templates, dict) else templates or ""
    text += _rendered(tokenizer)
    roles = {getattr(tokenizer, f"{role}_token") for role in ("bos", "eos", "pad", "unk")}
    roles.add(SEPARATOR)
    needed = []
    for token_id, token in sorted(tokenizer.added_tokens_decoder.items()):
        # Added runs of spaces or newlines are vocabulary, not markers.
        if (
            token_id in needed_ids
            or token.content in roles
            or (token.content.strip() and token.content in text)
        ):
            needed.append(token)
    return needed


def _rendered(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a conversation as the chat template writes it: some put their markers together from parts."""
    turns = [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]
    written = ""
    for messages in (turns, turns[1:], turns[:2]):
        # A template may refuse a system's message, or an answer that it has no words for.
        with contextlib.suppress(Exception):
            written += str(tokenizer.apply_chat_template(messages, tokenize=False))
            written += str(
                tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
            )
    return written


def _replace(template: str | dict[str, str] | None, old: str, new: str) -> str | dict[str, str] | None:
    if isinstance(template, dict):
        return {name: text.replace(old, new) for name, text in template.items()}
    return template.replace(old, new) if template else template


def _model_unk(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the token that the target's model itself gives for what it does not know."""
    model = read_backend(tokenizer).model
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return str(model["unk_token"]) if model.get("unk_token") else None


def surrounding_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before and after a text.

    Args:
        tokenizer: Any fast tokenizer.

    Returns:
        Ids before and ids after.
    """
    backend = backend_tokenizer(tokenizer)
    bare = backend.encode("a", add_special_tokens=False).ids
    full = backend.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return [], []


def _post_processor(
    source_tokenizer: PreTrainedTokenizerBase, backend: Tokenizer, renamed: Mapping[str, str]
) -> processors.PostProcessor:
    before, after = (
        [renamed.get(text, text) for text in source_tokenizer.convert_ids_to_tokens(ids)]
        for ids in surrounding_tokens(source_tokenizer)
    )
    missing = [text for text in [*before, *after] if backend.token_to_id(text) is None]
    if missing:
        raise TokenizerError(
            f"the source tokenizer adds {missing[0]!r} to every text, which is not bos or eos",
            "only bos and eos added",
            "name it as bos_token or eos_token of the source tokenizer",
        )
    return surrounding_processor(backend, before, after)


def surrounding_processor(
    backend: Tokenizer, before: Sequence[str], after: Sequence[str]
) -> processors.PostProcessor:
    """Return a step that puts tokens around every text.

    Args:
        backend: The tokenizer that it is for, which has all of them.
        before: Tokens in front of a text.
        after: Tokens behind it.

    Returns:
        The step; a pair has them around each of its texts.
    """
    specials = [(text, backend.token_to_id(text)) for text in dict.fromkeys([*before, *after])]

    def around(sequence: str) -> list[str]:
        kind = sequence[-1]
        return [
            *(f"{text}:{kind}" for text in before),
            sequence[:2] + ":" + kind,
            *(f"{text}:{kind}" for text in after),
        ]

    return processors.TemplateProcessing(
        single=around("$A0"), pair=[*around("$A0"), *around("$B1")], special_tokens=specials
    )
