"""OpenAssistant's exports: messages, threads and trees, as first turns with their best answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lingraft.corpora.json_objects import JsonObject
from lingraft.corpora.records import BadRecord
from lingraft.preference.conversations import ASSISTANTS, NO_ANSWER, USERS

DELETED, REFUSED = "deleted", "refused by its reviewers"
"""Why a message does not count: it was taken back, or called spam."""


def is_openassistant(fields: set[str]) -> bool:
    """Tell an object of an OpenAssistant export.

    Args:
        fields: Its names.

    Returns:
        Whether it is a message, a thread or a tree.
    """
    kinds = ({"message_id", "role", "text"}, {"thread_id", "thread"}, {"message_tree_id", "prompt"})
    return any(kind <= fields for kind in kinds)


def first_turns(rows: Sequence[JsonObject], language: str | None) -> Iterator[JsonObject | BadRecord]:
    """Yield every conversation's first turn with its best-ranked answer: the lowest `rank`, then the first in the file.

    | object | holds |
    |---|---|
    | message | itself, with a `parent_id` or none, and its `replies` where it carries them |
    | thread | `thread`: messages in their order; threads of one tree repeat its first turn, which counts once |
    | tree | `prompt`: a message with `replies` in `replies` |

    Args:
        rows: Objects of an export.
        language: Of the first turns, by their `lang` as far as its first hyphen; None takes any.

    Yields:
        JsonObject | BadRecord: `id`, `text` and `answer`, with the first turn's line; or why a conversation gives none.
    """
    asked: dict[str, JsonObject] = {}
    answers: dict[str, list[JsonObject]] = {}
    for row in rows:
        found = _opening(row)
        if isinstance(found, str):
            yield BadRecord(row.line, found, row.content)
            continue
        for message in found:
            fields = message.fields
            if fields["parent_id"] is None:
                asked.setdefault(fields["message_id"], message)
            elif fields.get("role") in ASSISTANTS and _withdrawn(fields) is None:
                answers.setdefault(fields["parent_id"], []).append(message)
    for name, message in asked.items():
        if language is None or str(message.fields.get("lang")).split("-")[0] == language:
            yield _answered(message, answers.get(name, []))


def _opening(row: JsonObject) -> list[JsonObject] | str:
    """Return the messages that an object holds, as far as a first turn and its answers need, or why it has none."""
    fields = row.fields
    if "thread" in fields:
        if not _are_messages(fields["thread"]) or not fields["thread"]:
            return "thread is not a list of messages"
        first, *rest = fields["thread"]
        # A thread is a line of answers: only the second message answers the first.
        return _joined(row, first, rest[:1])
    if "prompt" in fields:
        first = fields["prompt"]
        return (
            _joined(row, first, first.get("replies")) if isinstance(first, dict) else "prompt is no message"
        )
    return _joined(row, fields, fields.get("replies"), fields.get("parent_id"))


def _joined(row: JsonObject, first: Mapping[str, Any], replies: Any, parent: Any = None) -> list[JsonObject]:
    """Return a message and its replies, which inside another object may lack the fields that say whose they are."""
    name = str(first.get("message_id") or row.fields.get("message_tree_id") or f"line {row.line}")
    found = [{**first, "message_id": name, "parent_id": None if parent is None else str(parent)}]
    found += [{**reply, "parent_id": name} for reply in (replies if _are_messages(replies) else [])]
    return [JsonObject(message, row.line, row.content) for message in found]


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)


def _answered(message: JsonObject, answers: Sequence[JsonObject]) -> JsonObject | BadRecord:
    fields = message.fields
    reason = _withdrawn(fields)
    if reason is None and fields.get("role") not in USERS:
        reason = "the first turn is not the user's"
    if reason is None and not answers:
        reason = NO_ANSWER
    if reason is not None:
        return BadRecord(message.line, reason, message.content)
    answer = min(answers, key=_rank).fields.get("text")
    merged = {"id": fields["message_id"], "text": fields.get("text"), "answer": answer}
    return JsonObject(merged, message.line, message.content)


def _withdrawn(fields: Mapping[str, Any]) -> str | None:
    if fields.get("deleted"):
        return DELETED
    return REFUSED if fields.get("review_result") is False else None


def _rank(message: JsonObject) -> float:
    rank = message.fields.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")
