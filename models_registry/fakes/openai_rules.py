"""What OpenAI refuses of a history, in its words: a call without an answer, and an answer without a call."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def broken(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with a request's messages, if anything is."""
    return next(_faults(messages), None)


def _faults(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    unanswered: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] != "tool":
            yield from _missing(unanswered)
            unanswered = [call["id"] for call in message.get("tool_calls") or ()]
        elif message["tool_call_id"] in unanswered:
            unanswered.remove(message["tool_call_id"])
        else:
            yield f"messages.[{place}]: 'tool' must be a response to a preceding message with 'tool_calls'."
    yield from _missing(unanswered)


def _missing(unanswered: Sequence[str]) -> Iterator[str]:
    for call_id in unanswered:
        yield f"'tool_calls' must be followed by tool messages; these did not have responses: {call_id}"
