"""What a model is told of its tools, and how calls and results of the past are told again, in plain text."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from models_registry.backends.base import ChatMessage, RequestedCall, ToolSchema

_HEAD = "Reply with one JSON object and nothing else."
_CALL = 'To use a tool: {"tool": "NAME", "arguments": {...}}. Its result comes back to you as the next message.'
_ANSWER = 'To answer the user: {"answer": "TEXT"}'


def instructions(tools: Sequence[ToolSchema], *, answer_allowed: bool) -> str:
    """The same text for the same tools, so that prompt caches hold."""
    rules = [_HEAD, _CALL, *([_ANSWER] if answer_allowed else [])]
    return "\n".join([*rules, "", "Tools:", *map(_tool, tools)])


def _tool(tool: ToolSchema) -> str:
    return f"- {tool.name}: {tool.description}\n  arguments: {_json(dict(tool.parameters))}"


def with_instructions(messages: Sequence[ChatMessage], text: str) -> list[ChatMessage]:
    """The instructions at the end of the first system message, or as one of their own."""
    if not messages or messages[0].role != "system":
        return [ChatMessage(role="system", content=text), *messages]
    first = replace(messages[0], content=f"{messages[0].content}\n\n{text}".lstrip())
    return [first, *messages[1:]]


def as_json(history: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The history as if the model had always replied as it is told to."""
    return list(_told(history, _as_json))


def retold(history: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The history without calls, for a model that is offered no tool now; what it answered stays plain text."""
    return list(_told(history, _as_text))


def _told(history: Sequence[ChatMessage], lines: Callable[[ChatMessage], list[str]]) -> Iterator[ChatMessage]:
    """Results become messages of the user, for other roles are unknown to many models' templates.

    Those that follow each other become one: many templates want users and assistants to take turns.
    """
    results: list[str] = []
    for message in history:
        if message.role == "tool":
            results.append(f"Result of {message.name}:\n{message.content}")
            continue
        if results:
            yield ChatMessage(role="user", content="\n\n".join(results))
            results = []
        is_said = message.role == "assistant"
        yield replace(message, content="\n".join(lines(message)), tool_calls=()) if is_said else message
    if results:
        yield ChatMessage(role="user", content="\n\n".join(results))


def _as_json(message: ChatMessage) -> list[str]:
    answer = [_json({"answer": message.content})] if message.content or not message.tool_calls else []
    return [*answer, *map(_call, message.tool_calls)]


def _as_text(message: ChatMessage) -> list[str]:
    said = [message.content] if message.content or not message.tool_calls else []
    return [*said, *map(_call, message.tool_calls)]


def _call(call: RequestedCall) -> str:
    return _json({"tool": call.name, "arguments": dict(call.arguments or {})})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
