"""Conversations of the usual shapes: the first question and the answer to it."""

from collections.abc import Mapping
from typing import Any

USERS, ASSISTANTS = {"human", "user", "prompter"}, {"gpt", "assistant", "chatgpt", "bing", "bard", "model"}
"""Who asks and who answers, by the names that instruction data gives them."""
NO_ANSWER = "no answer"
"""Why a conversation that is not at fault gives nothing."""

_ROLES, _TEXTS = ("role", "from"), ("content", "value")
_ALTERNATING = ("user", "assistant")


def first_exchange(turns: Any, name: str) -> tuple[Any, Any] | str:
    """Take the first question and its answer of a conversation; system messages are left out.

    Args:
        turns: A list of turns: mappings of `role` and `content` or `from` and `value`, the content a text or a list of
            parts; or texts alone, the user's first and then in turn.
        name: What the data calls it, for the reasons.

    Returns:
        Both texts as they stand there, or why there are none.
    """
    if not isinstance(turns, list) or not all(isinstance(turn, dict | str) for turn in turns):
        return f"{name} is not a list of turns"
    spoken = [_spoken(turn, place) for place, turn in enumerate(turns)]
    spoken = [(role, text) for role, text in spoken if role not in {"system", "developer"}]
    if not spoken or spoken[0][0] not in USERS:
        return "the first turn is not the user's"
    if len(spoken) < 2 or spoken[1][0] not in ASSISTANTS:
        return NO_ANSWER
    return spoken[0][1], spoken[1][1]


def _spoken(turn: Mapping[str, Any] | str, place: int) -> tuple[str, Any]:
    """Return who speaks, and what."""
    if isinstance(turn, str):
        return _ALTERNATING[place % 2], turn
    role = next((turn[key] for key in _ROLES if key in turn), "")
    return str(role), _joined(next((turn[key] for key in _TEXTS if key in turn), None))


def _joined(content: Any) -> Any:
    """Return the text of a content in parts, if all of them are text; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    return "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else content
