"""What every driver must do. Each function is a case; its name is the row of the table."""

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends.base import (
    Cancellation,
    ChatMessage,
    ChatRequest,
    DeltaType,
    FinishReason,
    Image,
    Reply,
    RequestedCall,
    ToolSchema,
    Usage,
)
from models_registry.fakes.http import chunk
from tests.models_registry.conftest import KEY, PATIENT, Calling, Listener
from tests.services import free_port
from tests.waiting import eventually

PROMPTLY = 5.0  # seconds; a second is promised
SHORT = 0.15  # seconds: a limit that is meant to be over
CONTENT, THINKING = DeltaType.CONTENT, DeltaType.THINKING
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [ToolSchema(name=name, description="Does it.", parameters=OBJECT) for name in ("f", "g")]
CASES: dict[str, Callable[[Any], None]] = {}


def case(function: Callable[[Any], None]) -> Callable[[Any], None]:
    CASES[function.__name__] = function
    return function


def ask(wire: Any, request: ChatRequest) -> tuple[Reply, Listener]:
    heard = Listener()
    return wire.backend().stream(request, heard, Cancellation()), heard


def failure(wire: Any, request: ChatRequest) -> tuple[errors.BackendError, Listener]:
    heard = Listener()
    with pytest.raises(errors.BackendError) as raised:
        wire.backend().stream(request, heard, Cancellation())
    return raised.value, heard


def so(wire: Any) -> list[Any]:
    """A reply that has begun."""
    return [*wire.dialect.begin(), *wire.dialect.say("So ")]


def call(call_id: str, name: str, **arguments: Any) -> RequestedCall:
    return RequestedCall(provider_id=call_id, name=name, arguments=arguments)


# What a reply is made of


@case
def text_only(wire: Any) -> None:
    events = [*wire.dialect.begin(), *wire.dialect.say("Hel", "lo ", " 漢字🎈 "), *wire.dialect.end()]
    reply, heard = ask(wire, wire.whole(*events))
    assert heard.deltas == [(CONTENT, "Hel"), (CONTENT, "lo "), (CONTENT, " 漢字🎈 ")]
    assert (reply.content, reply.whole, reply.finish_reason) == ("Hello  漢字🎈 ", True, FinishReason.STOP)
    assert reply.usage == Usage(prompt=12, completion=3)


@case
def thinking_and_text(wire: Any) -> None:
    dialect = wire.dialect
    reply, heard = ask(
        wire, wire.whole(*dialect.begin(), *dialect.think("h", "m"), *dialect.say("Yes"), *dialect.end())
    )
    assert heard.deltas == [(THINKING, "h"), (THINKING, "m"), (CONTENT, "Yes")]
    assert (reply.thinking, reply.content, reply.finish_reason) == ("hm", "Yes", FinishReason.STOP)


def calls_of(wire: Any, *calls: list[Any], reason: str = "tool_calls") -> Reply:
    events = [event for made in calls for event in made]
    return ask(wire, wire.whole(*wire.dialect.begin(), *events, *wire.dialect.end(reason), tools=TOOLS))[0]


@case
def one_call(wire: Any) -> None:
    reply = calls_of(wire, wire.dialect.say("I will."), wire.dialect.call("call_a", "f", '{"a"', ":1}"))
    assert (reply.content, list(reply.tool_calls)) == ("I will.", [call("call_a", "f", a=1)])
    assert (reply.finish_reason, reply.whole) == (FinishReason.TOOL_CALLS, True)


@case
def parallel_calls(wire: Any) -> None:
    made = [wire.dialect.call("call_a", "f", '{"a":1}'), wire.dialect.call("call_b", "f", '{"a":', '{"b":"é"}}')]
    reply = calls_of(wire, *made)
    assert list(reply.tool_calls) == [call("call_a", "f", a=1), call("call_b", "f", a={"b": "é"})]


@case
def call_without_arguments(wire: Any) -> None:
    reply = calls_of(wire, wire.dialect.call("call_a", "f"), wire.dialect.call("call_b", "g", "{}"))
    assert list(reply.tool_calls) == [call("call_a", "f"), call("call_b", "g")]


@case
def call_with_invalid_json(wire: Any) -> None:
    for arguments in ('{"a":', "[1]", "{'a': 1}"):
        [made] = calls_of(wire, wire.dialect.call("call_a", "f", arguments)).tool_calls
        assert (made.name, made.arguments) == ("f", None)
        assert made.raw_arguments


@case
def call_in_the_last_line(wire: Any) -> None:
    *_, last = wire.dialect.end()
    with_call = last.replace(
        b'"content": ""', b'"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]'
    )
    reply, _ = ask(wire, wire.whole(with_call, tools=TOOLS))
    assert list(reply.tool_calls) == [call("", "f")]
    assert (reply.finish_reason, reply.whole) == (FinishReason.TOOL_CALLS, True)


@case
def usage_missing(wire: Any) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire), *wire.dialect.end(usage=False)))
    assert reply.usage is not None
    assert reply.usage.estimated
    assert reply.usage.prompt > 0
    assert reply.usage.completion == 1


@case
def length(wire: Any) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire), *wire.dialect.end("length")))
    assert (reply.finish_reason, reply.whole) == (FinishReason.LENGTH, True)


@case
def content_filter(wire: Any) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire), *wire.dialect.end("content_filter")))
    assert (reply.finish_reason, reply.whole) == (FinishReason.CONTENT_FILTER, True)


# What comes over the wire


@case
def unknown_event(wire: Any) -> None:
    dialect = wire.dialect
    events = [*dialect.begin(), *dialect.unknown(), *dialect.say("Yes"), *dialect.unknown(), *dialect.end()]
    reply, heard = ask(wire, wire.whole(*events))
    assert (reply.content, reply.whole, list(reply.tool_calls)) == ("Yes", True, [])
    assert heard.deltas == [(CONTENT, "Yes")]


@case
def split_characters(wire: Any) -> None:
    events = [*wire.dialect.begin(), *wire.dialect.say("漢字🎈"), *wire.dialect.end()]
    reply, heard = ask(wire, wire.whole(*(bytes([byte]) for byte in b"".join(events))))
    assert reply.content == heard.text() == "漢字🎈"


@case
def long_line(wire: Any) -> None:
    text = "long " * 40_000
    reply, _ = ask(wire, wire.whole(*wire.dialect.begin(), *wire.dialect.say(text), *wire.dialect.end()))
    assert reply.content == text


@case
def endless_reply(wire: Any) -> None:
    endless = [piece for _ in range(2000) for piece in wire.dialect.say("x" * 10_000)]
    error, heard = failure(wire, wire.whole(*so(wire), *endless, *wire.dialect.end()))
    assert "is longer than" in error.message
    assert heard.text()


# What ends early


@case
def end_too_early(wire: Any) -> None:
    reply, _ = ask(wire, wire.whole(*so(wire)))
    assert (reply.content, reply.whole, reply.finish_reason) == ("So ", False, None)
    assert reply.usage is not None
    assert reply.usage.estimated or wire.name == "fake"


@case
def cut_connection(wire: Any) -> None:
    reply, heard = ask(wire, wire.cut(*so(wire)))
    assert (reply.content, reply.whole, heard.text()) == ("So ", False, "So ")


@case
def cut_in_an_event(wire: Any) -> None:
    [*events, half] = wire.dialect.say("it is")[:1]
    for end in (wire.cut, wire.whole):
        reply, _ = ask(wire, end(*so(wire), *events, half[: len(half) // 2]))
        assert (reply.content, reply.whole) == ("So ", False)


@case
def call_cut_off(wire: Any) -> None:
    made = wire.dialect.call("call_a", "f", '{"a":1}')
    reply, _ = ask(wire, wire.cut(*so(wire), *made, tools=TOOLS))
    assert reply.whole is False
    assert [(asked.name, asked.arguments) for asked in reply.tool_calls] == [("f", None)]


@case
def open_after_the_end(wire: Any) -> None:
    began = time.monotonic()
    reply, _ = ask(wire, wire.stalled(*so(wire), *wire.dialect.end()))
    assert (reply.content, reply.whole) == ("So ", True)
    assert time.monotonic() - began < PROMPTLY


# What goes wrong


@case
def error_before_the_first_byte(wire: Any) -> None:
    error, heard = failure(wire, wire.answered(wire.dialect.refuse(500, "it broke at /secret/paths", {})))
    assert (type(error), error.permanent) == (errors.BackendError, False)
    assert wire.name == "fake" or ("/secret" not in error.message and "/secret" in error.detail)
    assert not heard.deltas


@case
def error_after_the_first_byte(wire: Any) -> None:
    error, heard = failure(wire, wire.whole(*so(wire), *wire.dialect.error("it broke"), *wire.dialect.end()))
    assert type(error) is errors.BackendError
    assert "it broke" in error.message + error.detail
    assert heard.text() == "So "


@case
def context_overflow(wire: Any) -> None:
    error, _ = failure(wire, wire.answered(wire.dialect.overflow()))
    assert (type(error), error.code, error.permanent) == (errors.ContextWindowExceeded, "context_window", True)


def refused(wire: Any, status: int, kind: type[errors.BackendError], headers: dict[str, str]) -> errors.BackendError:
    error, heard = failure(wire, wire.answered(wire.dialect.refuse(status, "it will not", headers)))
    assert type(error) is kind
    assert not heard.deltas
    return error


@case
def http_401(wire: Any) -> None:
    assert refused(wire, 401, errors.Unauthorized, {}).permanent


@case
def http_403(wire: Any) -> None:
    assert refused(wire, 403, errors.Unauthorized, {}).permanent


@case
def http_404(wire: Any) -> None:
    assert "case-" in refused(wire, 404, errors.ModelNotFound, {}).message


@case
def http_429(wire: Any) -> None:
    error = refused(wire, 429, errors.RateLimited, {"retry-after": "7"})
    assert (error.permanent, error.retry_after_seconds) == (False, 7)
    assert "7 s" in error.message
    assert refused(wire, 429, errors.RateLimited, {}).retry_after_seconds is None


@case
def http_500(wire: Any) -> None:
    assert not refused(wire, 500, errors.BackendError, {}).permanent


@case
def http_503(wire: Any) -> None:
    assert refused(wire, 503, errors.BackendError, {"retry-after": "3"}).retry_after_seconds == 3


@case
def http_529(wire: Any) -> None:
    assert not refused(wire, 529, errors.BackendError, {}).permanent


@case
def nobody_there(wire: Any) -> None:
    backend = wire.dialect.backend(KEY, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(errors.BackendUnreachable):
        backend.stream(wire.whole(), Listener(), Cancellation())


# Limits


@case
def slow_first_byte(wire: Any) -> None:
    patient, hasty = replace(PATIENT, idle=SHORT), replace(PATIENT, first_byte=SHORT)
    reply, _ = ask(wire, wire.answered([2 * SHORT, *wire_of(wire)], timeouts=patient))
    assert reply.whole
    for request in (wire.stalled(), wire.stalled(*wire.dialect.begin()), silent(wire)):
        error, heard = failure(wire, replace(request, timeouts=hasty))
        assert (type(error), "begin to answer" in error.message) == (errors.BackendTimeout, True)
        assert not heard.deltas


def wire_of(wire: Any) -> list[Any]:
    """A short reply as the server sends it."""
    return [wire.dialect.head, *(chunk(event) for event in [*so(wire), *wire.dialect.end()]), chunk(b"")]


def silent(wire: Any) -> ChatRequest:
    """Answered with what says nothing, again and again."""
    request: ChatRequest = wire.answered(
        [wire.dialect.head, *(move for _ in range(2000) for move in (chunk(b"\n"), 0.01))]
    )
    return request


@case
def idle_gap(wire: Any) -> None:
    events = [*so(wire), *wire.dialect.say("it ", "is"), *wire.dialect.end()]
    reply, _ = ask(wire, wire.paused(0.02, *events))
    assert (reply.content, reply.whole) == ("So it is", True)
    error, heard = failure(wire, wire.stalled(*so(wire), timeouts=replace(PATIENT, idle=SHORT)))
    assert (type(error), "went silent" in error.message) == (errors.BackendTimeout, True)
    assert heard.text() == "So "


@case
def total_limit(wire: Any) -> None:
    babble = [piece for _ in range(300) for piece in wire.dialect.say("la ")]
    request = wire.paused(0.02, *wire.dialect.begin(), *babble, timeouts=replace(PATIENT, total=2 * SHORT))
    error, heard = failure(wire, request)
    assert (type(error), "did not finish" in error.message) == (errors.BackendTimeout, True)
    assert 0 < len(heard.deltas) < 300


# Cancelling


@case
def cancel_at_each_chunk(wire: Any) -> None:
    dialect = wire.dialect
    said = [*dialect.begin(), *dialect.think("h", "m"), *dialect.say("a", "b", "c")]
    for heard_until in range(1, 6):
        request = wire.stalled(*said)
        heard, cancellation = Listener(), Cancellation()

        def on_delta(
            kind: DeltaType, text: str, until: int = heard_until, to: Listener = heard, by: Cancellation = cancellation
        ) -> None:
            to(kind, text)
            if len(to.deltas) == until:
                by.cancel()

        with pytest.raises(errors.Cancelled):
            wire.backend().stream(request, on_delta, cancellation)
        assert len(heard.deltas) == heard_until
        eventually(wire.has_hung_up, within=PROMPTLY)


@case
def cancel_before_the_first_byte(wire: Any) -> None:
    cancel_while(wire, wire.stalled(), lambda calling: None)


@case
def cancel_while_silent(wire: Any) -> None:
    cancel_while(wire, wire.stalled(*so(wire)), lambda calling: eventually(lambda: calling.heard.deltas))


def cancel_while(wire: Any, request: ChatRequest, begun: Callable[[Calling], Any]) -> None:
    """A call that is blocked ends at once, and its connection with it."""
    asked = None if wire.name == "fake" else len(wire.dialect.server.received)
    calling = Calling(wire.backend(), request)
    if asked is not None:
        eventually(lambda: len(wire.dialect.server.received) > asked)
    begun(calling)
    at = time.monotonic()
    calling.cancellation.cancel()
    calling.join(timeout=2 * PROMPTLY)
    assert isinstance(calling.error, errors.Cancelled)
    assert calling.ended_at - at < PROMPTLY
    eventually(wire.has_hung_up, within=PROMPTLY)


@case
def cancel_before_the_call(wire: Any) -> None:
    cancellation, heard = Cancellation(), Listener()
    cancellation.cancel()
    with pytest.raises(errors.Cancelled):
        wire.backend().stream(wire.whole(*so(wire), *wire.dialect.end()), heard, cancellation)
    assert not heard.deltas


# What is sent


@case
def image_input(wire: Any) -> None:
    image = Image(media_type="image/png", data_base64="iVBORw0KGgo=")
    asked = ChatMessage(role="user", content="What is it?", images=[image])
    ask(wire, wire.whole(*so(wire), *wire.dialect.end(), messages=[asked]))
    assert wire.dialect.images(wire.received()) == ["iVBORw0KGgo="]


@case
def structured_output(wire: Any) -> None:
    schema = {**OBJECT, "required": ["a"]}
    events = [*wire.dialect.begin(), *wire.dialect.say('{"a"', ": 1}"), *wire.dialect.end()]
    reply, heard = ask(wire, wire.whole(*events, response_schema=schema))
    sent = wire.dialect.schema(wire.received())
    assert {name: sent[name] for name in schema} == schema
    assert (reply.content, len(heard.deltas)) == ('{"a": 1}', 2)


def two_turns_with(wire: Any, first: str, second: str, **config: Any) -> None:
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
def two_turns(wire: Any) -> None:
    two_turns_with(wire, "call_a", "call_b")


@case
def two_turns_without_ids(wire: Any) -> None:
    two_turns_with(wire, "", "")


@case
def two_turns_with_one_id(wire: Any) -> None:
    two_turns_with(wire, "call_0", "call_0")


@case
def two_turns_with_thinking(wire: Any) -> None:
    two_turns_with(wire, "call_a", "call_b", think=True, max_tokens=4096)


# Secrets


@case
def key_stays_secret(wire: Any) -> None:
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
