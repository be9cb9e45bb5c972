"""From texts to tokens: prompts, and the options and answers that may follow them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from lingraft.errors import ConfigError
from lingraft.patching.instances import Instance
from lingraft.tokenizers.open_ended import prompt_ids


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instance in tokens.

    Attributes:
        instance: Its texts.
        donors: Token ids of each donor prompt.
        receiver: Token ids of the receiving prompt.
        options: Token ids of each option, as they continue the receiving prompt.
        donor_options: The same after each donor prompt, `[donors][options]`.
        answers: First tokens of the right answers after the receiving prompt; empty where none is known.
    """

    instance: Instance
    donors: tuple[tuple[int, ...], ...]
    receiver: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    donor_options: tuple[tuple[tuple[int, ...], ...], ...]
    answers: tuple[int, ...]


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, instance: Instance, *, chat_template: bool = False
) -> Prompt:
    """Tokenise an instance as the tokenizer does by default.

    Args:
        tokenizer: The model's tokenizer.
        instance: The texts.
        chat_template: Put each prompt into the tokenizer's chat template, as a user's message to be answered.

    Returns:
        The tokens.

    Raises:
        ConfigError: There is no chat template, or an option or a prompt gives no token.
    """
    donors = [_encode(tokenizer, text, chat_template) for text in instance.donor]
    receiver = _encode(tokenizer, instance.receiver, chat_template)
    if not receiver or not all(donors):
        raise ConfigError(f"{instance.id}: an empty prompt", "at least one token", "give both texts")
    texts = list(instance.donor)
    answers = [instance.options[answer] if isinstance(answer, int) else answer for answer in instance.answers]
    follow = [
        continuation(tokenizer, instance.receiver, text, plain=not chat_template)
        for text in (*instance.options, *answers)
    ]
    if not all(follow):
        raise ConfigError(f"{instance.id}: an option or answer without a token", "text", "correct the row")
    count = len(instance.options)
    return Prompt(
        instance=instance,
        donors=tuple(tuple(ids) for ids in donors),
        receiver=tuple(receiver),
        options=tuple(follow[:count]),
        donor_options=tuple(
            tuple(
                continuation(tokenizer, text, option, plain=not chat_template) for option in instance.options
            )
            for text in texts
        ),
        answers=tuple(ids[0] for ids in follow[count:]),
    )


def continuation(
    tokenizer: PreTrainedTokenizerBase, prompt: str, text: str, *, plain: bool = True
) -> tuple[int, ...]:
    """Tokens of a text as it follows a prompt.

    They are what the two together add to the prompt's own tokens; where the border is tokenised otherwise, and in a
    chat (`plain=False`), where the answer begins a message, the text's own tokens. There it begins without the space
    that it would follow a plain prompt with.

    Args:
        tokenizer: The model's tokenizer.
        prompt: What comes before.
        text: What follows.
        plain: The prompt ends as it is written here.

    Returns:
        Token ids.
    """
    if plain:
        before, both = prompt_ids(tokenizer, prompt), prompt_ids(tokenizer, prompt + text)
        if both[: len(before)] == before and len(both) > len(before):
            return tuple(both[len(before) :])
    own = text if plain else text.lstrip(" ")
    return tuple(tokenizer(own, add_special_tokens=False)["input_ids"])


def require_first_tokens_differ(prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse to judge options by their first token where two share it.

    Args:
        prompts: What is to be scored.
        tokenizer: For the message.

    Raises:
        ConfigError: Two options of an instance begin with the same token.
    """
    for prompt in prompts:
        firsts = [option[0] for option in prompt.options]
        for number, token in enumerate(firsts):
            if token in firsts[:number]:
                pair = [prompt.instance.options[firsts.index(token)], prompt.instance.options[number]]
                raise ConfigError(
                    f"{prompt.instance.id}: options {pair[0]!r} and {pair[1]!r} share their first token"
                    f" {tokenizer.decode([token])!r}",
                    "options that differ in their first token",
                    "use --score options, which reads them whole",
                )


def _encode(tokenizer: Any, text: str, chat_template: bool) -> list[int]:
    if not chat_template:
        return prompt_ids(tokenizer, text)
    if not tokenizer.chat_template:
        raise ConfigError("a tokenizer without a chat template", "one with it", "leave --chat-template out")
    message = [{"role": "user", "content": text}]
    rendered = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])
