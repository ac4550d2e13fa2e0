"""Replies that ask for more tool calls than anybody can make."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from models_registry.backends import anthropic_reply, ollama_reply, openai_reply
from models_registry.backends.values import CALLS_MAX
from models_registry.errors import BackendError

Builder = Any


def openai(number: int) -> dict[str, Any]:
    call = {"index": number, "id": f"c{number}", "function": {"name": "look", "arguments": "{}"}}
    return {"choices": [{"delta": {"tool_calls": [call]}}]}


def ollama(number: int) -> dict[str, Any]:
    return {"message": {"tool_calls": [{"function": {"name": "look", "arguments": {"a": number}}}]}}


def anthropic(number: int) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"c{number}", "name": "look", "input": {}}
    return {"type": "content_block_start", "index": number, "content_block": block}


DRIVERS: Any = pytest.mark.parametrize(
    ("builder", "piece"),
    [
        (openai_reply.ReplyBuilder, openai),
        (ollama_reply.ReplyBuilder, ollama),
        (anthropic_reply.ReplyBuilder, anthropic),
    ],
)


def feed(builder: Builder, pieces: Iterator[dict[str, Any]]) -> None:
    for piece in pieces:
        list(builder.add(piece))


@DRIVERS
def test_a_reply_with_a_million_tool_calls_is_given_up_at_once(builder: type, piece: Any) -> None:
    began = time.process_time()
    with pytest.raises(BackendError, match="more than 256 tool calls"):
        feed(builder(), (piece(number) for number in range(1_000_000)))
    assert time.process_time() - began < 5


@DRIVERS
def test_as_many_as_allowed_are_taken(builder: type, piece: Any) -> None:
    taken = builder()
    feed(taken, (piece(number) for number in range(CALLS_MAX)))
    assert len(taken.reply().tool_calls) == CALLS_MAX
