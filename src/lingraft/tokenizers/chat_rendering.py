"""Rendering a conversation with a chat template: the same text on every day, and one line where it cannot be."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lingraft.errors import TokenizerError

DATE = datetime(2024, 7, 26)
"""The day that templates are told it is: the one that Llama 3's own template takes where it cannot ask for another."""

_DIRECTIVES = "aAbBdeFHIjmMpSyY"


def render_chat(
    tokenizer: Any,
    template: str | None,
    messages: Sequence[Mapping[str, str]],
    *,
    name: str,
    generation: bool = False,
) -> str:
    """Write a conversation as a template has it.

    Some templates write today's date. They are told `DATE` instead, so that the same conversation gives the same text
    tomorrow, when a killed run goes on.

    Args:
        tokenizer: A transformers tokenizer.
        template: A Jinja chat template.
        messages: The user's message, and possibly the assistant's.
        name: What the user named the template, for errors.
        generation: Open the answer's turn.

    Returns:
        The text.

    Raises:
        TokenizerError: The template cannot be rendered with these texts.
    """
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages),
            chat_template=None if template is None else _on_that_day(template),
            tokenize=False,
            add_generation_prompt=generation,
            prompt=messages[0]["content"],
            date_string=DATE.strftime("%d %b %Y"),
        )
    # Whatever Jinja and the template itself raise: the template is the user's, or came with the model.
    except Exception as error:
        found = f"cannot be rendered ({type(error).__name__}: {str(error)[:200]})"
        raise unusable_template(name, found) from error
    return text


def _on_that_day(template: str) -> str:
    """Let a template that asks what day it is be told `DATE`; transformers passes it no function but its own."""
    if "strftime_now" not in template:
        return template
    known = [f"%{name}" for name in _DIRECTIVES] + ["%-d", "%-m"]
    told = "".join(f"|replace('{directive}', '{DATE.strftime(directive)}')" for directive in known)
    # The line break behind the macro is trimmed, and what follows begins a line, as it did.
    return "{% macro strftime_now(format) %}{{ format" + told + " }}{% endmacro %}\n" + template


def unusable_template(name: str, found: str) -> TokenizerError:
    """Return the error that a template causes.

    Args:
        name: What the user named it.
        found: What it does.

    Returns:
        The error.
    """
    return TokenizerError(
        f"the template {name!r} {found}",
        "a chat template of a user's message and the assistant's answer",
        "use --template plain, or --template FILE with a Jinja template",
    )
