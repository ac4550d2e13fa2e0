"""What a reply is made of, whole or not."""

import time
from typing import Any

from models_registry.backends.base import (
    FinishReason,
    Reply,
    Usage,
)
from tests.models_registry.contract.asking import (
    CONTENT,
    PROMPTLY,
    THINKING,
    TOOLS,
    ask,
    call,
    case,
    failure,
    so,
)
from tests.models_registry.contract.wire import Wire

# What a reply is made of


@case
def text_only(wire: Wire) -> None:
    events = [*wire.dialect.begin(), *wire.dialect.say("Hel", "lo ", " 漢字🎈 "), *wire.dialect.end()]
    reply, heard = ask(wire, wire.whole(*events))
    assert heard.deltas == [(CONTENT, "Hel"), (CONTENT, "lo "), (CONTENT, " 漢字🎈 ")]
    assert (reply.content, reply.whole, reply.finish_reason) == ("Hello  漢字🎈 ", True, FinishReason.STOP)
    assert reply.usage == Usage(prompt=12, completion=3)


@case
def thinking_and_text(wire: Wire) -> None:
    dialect = wire.dialect
    reply, heard = ask(
        wire, wire.whole(*dialect.begin(), *dialect.think("h", "m"), *dialect.say("Yes"), *dialect.end())
    )
    assert heard.deltas == [(THINKING, "h"), (THINKING, "m"), (CONTENT, "Yes")]
    assert (reply.thinking, reply.content, reply.finish_reason) == ("hm", "Yes", FinishReason.STOP)


def calls_of(wire: Wire, *calls: list[Any], reason: str = "tool_calls") -> Reply:
    events = [event for made in calls for event in made]
    return ask(wire, wire.whole(*wire.dialect.begin(), *events, *wire.dialect.end(reason), tools=TOOLS))[0]


@case
def one_call(wire: Wire) -> None:
    reply = calls_of(wire, wire.dialect.say("I will."), wire.dialect.call("call_a", "f", '{"a"', ":1}"))
    assert (reply.content, list(reply.tool_calls)) == ("I will.", [call("call_a", "f", a=1)])
    assert (reply.finish_reason, reply.whole) == (FinishReason.TOOL_CALLS, True)


@case
def parallel_calls(wire: Wire) -> None:
    made = [wire.dialect.call("call_a", "f", '{"a":1}'), wire.dialect.call("call_b", "f", '{"a":', '{"b":"é"}}')]
    reply = calls_of(wire, *made)
    assert list(reply.tool_calls) == [call("call_a", "f", a=1), call("call_b", "f", a={"b": "é"})]


@case
def call_without_arguments(wire: Wire) -> None:
    reply = calls_of(wire, wire.dialect.call("call_a", "f"), wire.dialect.call("call_b", "g", "{}"))
    assert list(reply.tool_calls) == [call("call_a", "f"), call("call_b", "g")]


@case
def call_with_invalid_json(wire: Wire) -> None:
    for arguments in ('{"a":', "[1]", "{'a': 1}"):
        [made] = calls_of(wire, wire.dialect.call("call_a", "f", arguments)).tool_calls
        assert (made.name, made.arguments) == ("f", None)
        assert made.raw_arguments


@case
def call_in_the_last_line(wire: Wire) -> None:
    *_, last = wire.dialect.end()
    with_call = last.replace(
        b'"content": ""', b'"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]'
    )
    reply, _ = ask(wire, wire.whole(with_call, tools=TOOLS))
    assert list(reply.tool_calls) == [call("", "f")]
    assert (reply.finish_reason, reply.whole) == (FinishReason.TOOL_CALLS, True)


@case
def usage_missing(wire: Wire) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire), *wire.dialect.end(usage=False)))
    assert reply.usage is not None
    assert reply.usage.estimated
    assert reply.usage.prompt > 0
    assert reply.usage.completion == 1


@case
def length(wire: Wire) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire), *wire.dialect.end("length")))
    assert (reply.finish_reason, reply.whole) == (FinishReason.LENGTH, True)


@case
def content_filter(wire: Wire) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire), *wire.dialect.end("content_filter")))
    assert (reply.finish_reason, reply.whole) == (FinishReason.CONTENT_FILTER, True)


# What comes over the wire


@case
def unknown_event(wire: Wire) -> None:
    dialect = wire.dialect
    events = [*dialect.begin(), *dialect.unknown(), *dialect.say("Yes"), *dialect.unknown(), *dialect.end()]
    reply, heard = ask(wire, wire.whole(*events))
    assert (reply.content, reply.whole, list(reply.tool_calls)) == ("Yes", True, [])
    assert heard.deltas == [(CONTENT, "Yes")]


@case
def split_characters(wire: Wire) -> None:
    events = [*wire.dialect.begin(), *wire.dialect.say("漢字🎈"), *wire.dialect.end()]
    reply, heard = ask(wire, wire.whole(*(bytes([byte]) for byte in b"".join(events))))
    assert reply.content == heard.text() == "漢字🎈"


@case
def long_line(wire: Wire) -> None:
    text = "long " * 40_000
    reply, _ = ask(wire, wire.whole(*wire.dialect.begin(), *wire.dialect.say(text), *wire.dialect.end()))
    assert reply.content == text


@case
def endless_reply(wire: Wire) -> None:
    endless = [piece for _ in range(2000) for piece in wire.dialect.say("x" * 10_000)]
    error, heard = failure(wire, wire.whole(*so(wire), *endless, *wire.dialect.end()))
    assert "is longer than" in error.message
    assert heard.text()


# What ends early


@case
def end_too_early(wire: Wire) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire)))
    assert (reply.content, reply.whole, reply.finish_reason) == ("So ", False, None)
    assert reply.usage is not None
    assert reply.usage.estimated or wire.name == "fake"


@case
def cut_connection(wire: Wire) -> None:
    reply, heard = ask(wire, wire.cut(*so(wire)))
    assert (reply.content, reply.whole, heard.text()) == ("So ", False, "So ")


@case
def cut_in_an_event(wire: Wire) -> None:
    [*events, half] = wire.dialect.say("it is")[:1]
    for end in (wire.cut, wire.whole):
        reply, _ = ask(wire, end(*so(wire), *events, half[: len(half) // 2]))
        assert (reply.content, reply.whole) == ("So ", False)


@case
def call_cut_off(wire: Wire) -> None:
    made = wire.dialect.call("call_a", "f", '{"a":1}')
    reply, _ = ask(wire, wire.cut(*so(wire), *made, tools=TOOLS))
    assert reply.whole is False
    assert [(asked.name, asked.arguments) for asked in reply.tool_calls] == [("f", None)]


@case
def open_after_the_end(wire: Wire) -> None:
    began = time.monotonic()
    reply, _ = ask(wire, wire.stalled(*so(wire), *wire.dialect.end()))
    assert (reply.content, reply.whole) == ("So ", True)
    assert time.monotonic() - began < PROMPTLY
