"""How an instruction and its answer become token ids: a chat template, or plain text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, TokenizerError
from lingraft.tokenizers.chat_rendering import render_chat, unusable_template

CHAT, PLAIN = "chat", "plain"
_PROMPT, _ANSWER = "qzPROMPTzq", "qzANSWERzq"
"""What stands for the texts while the template is taken apart: letters only, so that no template alters them."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a template writes around the texts.

    Attributes:
        before: Text before the instruction, and the answer's header under `tail`.
        tail: Text between the instruction and where the answer is generated.
        lead: What the template writes between the prompt and the answer (an empty thought, say).
        head: All text before the answer to the instruction `_PROMPT`.
        after: All text after the answer.
        from_conversation: The prompt is cut from a conversation with its answer: there is no generation prompt, or it
            does not begin that conversation.
        shows_answer: The template writes answers; if not, they are put after the prompt.
    """

    before: str
    tail: str
    lead: str
    head: str
    after: str
    from_conversation: bool
    shows_answer: bool


class PromptFormat:
    """Turns instructions and answers into ids; see `prompt_format`.

    Prompt and answer are tokenized apart: `prompt_ids` depends on the instruction alone, so two answers share it
    exactly, and `response_ids` on the answer alone, so an answer has the same ids after every instruction. (It is
    tokenized after the template's text that precedes it, such as `assistant` and a line break, where that leaves the
    ids of that text as they are.) Text that happens to spell a special token is ordinary text.

    `prompt_ids(p) + response_ids(p, r)` is the tokenization of the whole conversation up to its end-of-turn token,
    but for: an answer whose first characters merge with the end of the prompt (an answer that begins with a line break
    after a line break); texts that spell a special token; and an eos that the template does not write.

    Args:
        tokenizer: A transformers tokenizer.
        template: A Jinja chat template, or None for plain text.
        name: What the user named it.
        adds_bos: Put a bos before the prompt where the tokenizer adds one to a text and the template has written none.

    Raises:
        TokenizerError: The template cannot be rendered or leaves the instruction out, or nothing can end an answer.
    """

    def __init__(self, tokenizer: Any, template: str | None, *, name: str, adds_bos: bool) -> None:
        self.name = name
        self._tokenizer, self._template = tokenizer, template
        added = tokenizer.added_tokens_decoder
        self._added = {str(token): int(token_id) for token_id, token in added.items()}
        # Line breaks can be added tokens too (Gemma's are), but they end no turn.
        self._markers = _any_of([token for token in self._added if token.strip()])
        self._special = _any_of([str(token) for token in added.values() if token.special])
        self._bos = _added_bos(tokenizer) if adds_bos else []
        self._parts = self._take_apart()
        self._end_text, self._end = self._find_end()
        self._tail_ids = self._encode([(self._parts.tail, False)])
        self._thought_ids = self._behind([(self._parts.lead, False)]) if self._parts.lead.strip() else []

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, to turn generated ids into text."""
        return self._tokenizer

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a generated answer: the template's end-of-turn token, and eos."""
        eos = self._tokenizer.eos_token_id
        found = [self._end] if eos is None else [self._end, int(eos)]
        return tuple(dict.fromkeys(found))

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the ids of an instruction, up to where its answer begins.

        Args:
            prompt: The instruction.

        Returns:
            Token ids, a bos among them where the template writes one or the tokenizer adds one.

        Raises:
            TokenizerError: The template cannot be rendered with this text.
        """
        text, parts = self._prompt_text(prompt), self._parts
        inner = len(text) - len(parts.tail)
        if text.startswith(parts.before) and text.endswith(parts.tail) and inner >= len(parts.before):
            pieces = [(parts.before, False), (text[len(parts.before) : inner], True), (parts.tail, False)]
        else:
            pieces = [(text, False)]
        ids = self._encode(pieces)
        return ids if ids[:1] == self._bos else self._bos + ids

    def opening_ids(self, prompt: str) -> list[int]:
        """Return the ids of an instruction, up to where the answer itself begins.

        Some templates write an empty thought before every answer. `response_ids` begins with it, so that a model learns
        it; one that has not would think aloud where answers are asked for.

        Args:
            prompt: The instruction.

        Returns:
            `prompt_ids`, and what the template writes before an answer, if it is more than white space.

        Raises:
            TokenizerError: The template cannot be rendered with this text.
        """
        return self.prompt_ids(prompt) + self._thought_ids

    def response_ids(self, prompt: str, response: str) -> list[int]:
        """Return the ids of an answer, with the end-of-turn token (or eos) at their end.

        Args:
            prompt: The instruction; the ids do not depend on it.
            response: The answer.

        Returns:
            Token ids that continue `prompt_ids(prompt)`.

        Raises:
            TokenizerError: The template cannot be rendered with this text.
        """
        body = self._answer_text(response)
        ids = self._behind([(self._parts.lead, False), (body, True), (self._end_text, False)])
        return ids if ids[-1:] == [self._end] else [*ids, self._end]

    def _behind(self, pieces: Sequence[tuple[str, bool]]) -> list[int]:
        """Tokenize pieces after the template's text that precedes an answer, where that keeps its ids."""
        behind = self._encode([(self._parts.tail, False), *pieces])
        known = len(self._tail_ids)
        return behind[known:] if behind[:known] == self._tail_ids else self._encode(pieces)

    def _prompt_text(self, prompt: str) -> str:
        if self._template is None:
            return f"{prompt}\n"
        if self._parts.from_conversation:
            return self._render(prompt, _ANSWER).partition(_ANSWER)[0].removesuffix(self._parts.lead)
        return self._render(prompt, None, generation=True)

    def _answer_text(self, response: str) -> str:
        """Return an answer as the template writes it: some strip white space."""
        if self._template is None or not self._parts.shows_answer:
            return response
        head, text = self._parts.head, self._render(_PROMPT, response)
        if not text.startswith(head) or not text.endswith(self._parts.after):
            raise unusable_template(self.name, "changes its other text with the answer's")
        return text[len(head) : len(text) - len(self._parts.after)]

    def _take_apart(self) -> _Parts:
        """Find what the template writes around an instruction and its answer."""
        if self._template is None:
            return _Parts("", "\n", "", "", "", from_conversation=False, shows_answer=False)
        opened = self._render(_PROMPT, None, generation=True)
        whole = self._render(_PROMPT, _ANSWER)
        head, answer, after = whole.partition(_ANSWER)
        if _PROMPT not in opened:
            raise unusable_template(self.name, "leaves the instruction out")
        # A template may have no generation prompt since it needs none: nothing but a blank precedes the answer.
        rest = head.removeprefix(opened)
        needs_none = not rest.strip() or opened != self._render(_PROMPT, None)
        from_conversation = bool(answer) and not (head.startswith(opened) and needs_none)
        before, _, tail = (head if from_conversation else opened).partition(_PROMPT)
        lead = rest if answer else ""
        if from_conversation:
            # A blank at the end belongs to the answer's first word.
            lead = " " * (len(tail) - len(tail.rstrip(" ")))
            tail = tail.rstrip(" ")
        return _Parts(before, tail, lead, head, after, from_conversation, bool(answer))

    def _find_end(self) -> tuple[str, int]:
        """Return the text after an answer, up to its end-of-turn token, and the id that ends it."""
        found = self._markers.search(self._parts.after) if self._markers else None
        if found:
            return self._parts.after[: found.end()], self._added[found[0]]
        if self._tokenizer.eos_token_id is None:
            raise TokenizerError(
                f"a tokenizer without an eos token, and the template {self.name!r} that ends no answer with a token",
                "a token that ends an answer",
                "set eos_token in its tokenizer_config.json, or give a template that writes one after the answer",
            )
        return self._parts.after.rstrip(), int(self._tokenizer.eos_token_id)

    def _render(self, prompt: str, response: str | None, *, generation: bool = False) -> str:
        messages = [{"role": "user", "content": prompt}]
        if response is not None:
            messages.append({"role": "assistant", "content": response})
        return render_chat(self._tokenizer, self._template, messages, name=self.name, generation=generation)

    def _encode(self, pieces: Sequence[tuple[str, bool]]) -> list[int]:
        """Tokenize joined pieces `(text, is the user's)`; special tokens are recognised in the template's alone."""
        text = "".join(piece for piece, _ in pieces)
        ours = [bool(self._special) and len(self._special.findall(piece)) for piece, own in pieces if not own]
        if not self._special or len(self._special.findall(text)) == sum(ours):
            return self._ids(text)
        ids: list[int] = []
        plain = ""
        for piece, own in pieces:
            place = 0
            for found in () if own else self._special.finditer(piece):
                ids += self._ids(plain + piece[place : found.start()], ordinary=True)
                ids.append(self._added[found[0]])
                plain, place = "", found.end()
            plain += piece[place:]
        return ids + self._ids(plain, ordinary=True)

    def _ids(self, text: str, *, ordinary: bool = False) -> list[int]:
        if not text:
            return []
        options = {"add_special_tokens": False, "split_special_tokens": ordinary, "verbose": False}
        return [int(token_id) for token_id in self._tokenizer(text, **options)["input_ids"]]


def prompt_format(tokenizer: Any, template: str = CHAT) -> PromptFormat:
    """Choose how instructions are put to a model.

    Args:
        tokenizer: A transformers tokenizer.
        template: `chat`: the tokenizer's own chat template, followed to the letter (a bos only where it writes one).
            `plain`: the instruction, a line break, the answer, eos. Else the text of a Jinja template, which is given
            `messages` and `add_generation_prompt` as chat templates are, and `prompt`; if it does not write the
            answer, that follows it, then eos. The last two begin with one bos where the tokenizer adds one.

    Returns:
        The format.

    Raises:
        TokenizerError: `chat` without a chat template, a template that cannot be used, or no token to end an answer.
        ConfigError: Neither of the names nor a Jinja template.
    """
    if template == PLAIN:
        return PromptFormat(tokenizer, None, name=PLAIN, adds_bos=True)
    if template != CHAT:
        if "{{" not in template and "{%" not in template:
            expected = "chat, plain, or a Jinja template"
            raise ConfigError(f"the template {template!r}", expected, "name one of them")
        return PromptFormat(tokenizer, template, name="Jinja", adds_bos=True)
    if not tokenizer.chat_template:
        raise TokenizerError(
            "a tokenizer without a chat template",
            "one, to put instructions to the model",
            "use --template plain, or --template FILE with a Jinja template",
        )
    try:
        own = str(tokenizer.get_chat_template())
    except ValueError as error:
        raise unusable_template(CHAT, "is one of several, none named default") from error
    return PromptFormat(tokenizer, own, name=CHAT, adds_bos=False)


def read_template(given: str) -> str:
    """Return what `prompt_format` takes for what `--template` was given: `chat`, `plain`, or a file's text.

    Args:
        given: `chat`, `plain`, or the path of a Jinja template in UTF-8.

    Returns:
        The name, or the text of the file (of whose line breaks at its very end Jinja leaves the last one out).

    Raises:
        ConfigError: There is no such file, or it is no text.
    """
    if given in {CHAT, PLAIN}:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        found = f"--template {given}: {getattr(error, 'strerror', None) or 'not UTF-8'}"
        expected = "chat, plain, or the path of a Jinja template"
        raise ConfigError(found, expected, "correct the name or the path") from error


def _any_of(texts: Sequence[str] | dict[str, int]) -> Any:
    """Return a pattern of any of the texts, the longest first, or None without a text."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _added_bos(tokenizer: Any) -> list[int]:
    """Return `[bos]` where the tokenizer puts it before a text, else nothing."""
    bos = tokenizer.bos_token_id
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    return [int(bos)] if bos is not None and full[:1] == [bos] and full != bare else []
