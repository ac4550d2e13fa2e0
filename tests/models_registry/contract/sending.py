"""What is sent, and what must not be told."""

import logging
import traceback
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends.base import (
    Cancellation,
    ChatMessage,
    Image,
)
from tests.models_registry.conftest import KEY, Listener
from tests.models_registry.contract.asking import (
    OBJECT,
    TOOLS,
    ask,
    case,
    failure,
    so,
)
from tests.models_registry.contract.wire import Wire
from tests.services import free_port

# What is sent


@case
def image_input(wire: Wire) -> None:
    image = Image(media_type="image/png", data_base64="iVBORw0KGgo=")
    asked = ChatMessage(role="user", content="What is it?", images=[image])
    ask(wire, wire.whole(*so(wire), *wire.dialect.end(), messages=[asked]))
    assert wire.dialect.images(wire.received()) == ["iVBORw0KGgo="]


@case
def structured_output(wire: Wire) -> None:
    schema = {**OBJECT, "required": ["a"]}
    events = [*wire.dialect.begin(), *wire.dialect.say('{"a"', ": 1}"), *wire.dialect.end()]
    reply, heard = ask(wire, wire.whole(*events, response_schema=schema))
    sent = wire.dialect.schema(wire.received())
    assert {name: sent[name] for name in schema} == schema
    assert (reply.content, len(heard.deltas)) == ('{"a": 1}', 2)


def two_turns_with(wire: Wire, first: str, second: str, **config: Any) -> None:
    """F20: what a model asked for, and the answers to it, reach it again under ids that match."""
    dialect = wire.dialect
    thought = dialect.think("hm") if config else []
    calls = [*dialect.call(first, "f", '{"a":1}'), *dialect.call(second, "f", '{"a":2}')]
    asked = ChatMessage(role="user", content="Do both.")
    values = {"tools": TOOLS, "config": config}
    events = [*dialect.begin(), *thought, *dialect.say("I will."), *calls, *dialect.end("tool_calls")]
    reply, _ = ask(wire, wire.whole(*events, messages=[asked], **values))
    said = ChatMessage(
        role="assistant",
        content=reply.content,
        thinking=reply.thinking,
        tool_calls=reply.tool_calls,
        provider_data=reply.provider_data,
    )
    answers = [
        ChatMessage(role="tool", name=made.name, tool_call_id=made.provider_id, content=f"answer {number}")
        for number, made in enumerate(reply.tool_calls)
    ]
    after = wire.whole(*so(wire), *dialect.end(), messages=[asked, said, *answers], **values)
    reply, _ = ask(wire, after)
    pairs = dialect.pairs(wire.received())
    assert reply.whole
    assert len(pairs) == len({called for called, _ in pairs}) == 2
    assert all(called == answered != "" for called, answered in pairs)


@case
def two_turns(wire: Wire) -> None:
    two_turns_with(wire, "call_a", "call_b")


@case
def two_turns_without_ids(wire: Wire) -> None:
    two_turns_with(wire, "", "")


@case
def two_turns_with_one_id(wire: Wire) -> None:
    two_turns_with(wire, "call_0", "call_0")


@case
def two_turns_with_thinking(wire: Wire) -> None:
    two_turns_with(wire, "call_a", "call_b", think=True, max_tokens=4096)


# Secrets


@case
def key_stays_secret(wire: Wire) -> None:
    """Whatever goes wrong, and however much of it is logged, the key is not in it."""
    dialect, heard = wire.dialect, logging.getLogger("tests.contract")
    echo = f"what is {KEY}?"
    told = [
        failure(wire, wire.answered(dialect.refuse(status, echo, {"x-echo": KEY})))[0]
        for status in (400, 401, 404, 500)
    ]
    told.append(failure(wire, wire.whole(*so(wire), *dialect.error(echo)))[0])
    for key, url in ((KEY, f"http://user:{KEY}@127.0.0.1:{free_port()}"), (f"{KEY}\n", ""), (KEY, f"http://[{KEY}")):
        with pytest.raises(errors.BackendError) as raised:
            dialect.backend(key, url).stream(wire.whole(), Listener(), Cancellation())
        told.append(raised.value)
    for error in told:
        heard.warning("a call failed", exc_info=error)
        shown = [error.message, error.detail, repr(error), *traceback.format_exception(error)]
        assert KEY not in "".join(shown)
    assert KEY not in repr(dialect.backend(KEY).health())
