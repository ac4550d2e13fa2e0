"""The driver against a server that behaves as real ones do: well, differently, badly, and not at all."""

import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends import wire
from models_registry.backends.base import (
    Cancellation,
    ChatMessage,
    DeltaType,
    FinishReason,
    Image,
    ModelConfig,
    Reply,
    RequestedCall,
    ToolSchema,
    Usage,
)
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import CUT, chunk, document, head
from models_registry.fakes.openai import DONE, FOR_EVER, STREAM_HEAD, OpenAIServer, completion, event, streamed
from tests.models_registry.conftest import KEY, PATIENT, Calling, Listener, chat
from tests.services import free_port
from tests.waiting import eventually

PROMPTLY = 5.0  # seconds; a second is promised, what is waited for takes twenty
SYN_SENT = "02"
TLS_HANDSHAKE = b"\x16"
CONTENT, THINKING = DeltaType.CONTENT, DeltaType.THINKING
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}


def say(text: str, **values: Any) -> bytes:
    return completion(delta={"content": text}, **values)


def fragment(**values: Any) -> bytes:
    return completion(delta={"tool_calls": [values]})


def play(server: OpenAIServer, backend: OpenAIBackend, *events: bytes, **request: Any) -> tuple[Reply, Listener]:
    """The reply to a stream of these events."""
    server.scripts["played"] = streamed(*events)
    heard = Listener()
    return backend.stream(chat("played", **request), heard, Cancellation()), heard


def failure(backend: OpenAIBackend, model: str, **request: Any) -> tuple[errors.BackendError, Listener]:
    heard = Listener()
    with pytest.raises(errors.BackendError) as raised:
        backend.stream(chat(model, **request), heard, Cancellation())
    return raised.value, heard


def call(provider_id: str, name: str, **arguments: Any) -> RequestedCall:
    return RequestedCall(provider_id=provider_id, name=name, arguments=arguments)


# What a reply is made of


def test_it_streams_text_as_it_comes(server: OpenAIServer, backend: OpenAIBackend) -> None:
    reply, heard = play(server, backend, say("Hel"), say("lo "), say(" "), completion(finish_reason="stop"), DONE)
    assert heard.deltas == [(CONTENT, "Hel"), (CONTENT, "lo "), (CONTENT, " ")]
    assert (reply.content, reply.whole, reply.finish_reason) == ("Hello  ", True, FinishReason.STOP)
    assert reply.model == "stub"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_is_apart_from_text(server: OpenAIServer, backend: OpenAIBackend, field: str) -> None:
    reply, heard = play(server, backend, completion(delta={field: "hm"}), say("Yes"), DONE)
    assert heard.deltas == [(THINKING, "hm"), (CONTENT, "Yes")]
    assert (reply.thinking, reply.content) == ("hm", "Yes")


ONE_CALL = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}
CALLS: dict[str, tuple[list[bytes], list[RequestedCall]]] = {
    "in fragments": (
        [
            fragment(index=0, **ONE_CALL),
            fragment(index=0, function={"arguments": '{"a"'}),
            fragment(index=0, function={"arguments": ":1}"}),
        ],
        [call("call_a", "f", a=1)],
    ),
    "two, joined by index": (
        [
            fragment(index=0, **ONE_CALL),
            fragment(index=1, id="call_b", function={"name": "g", "arguments": '{"b":'}),
            fragment(index=0, function={"arguments": '{"a":1}'}),
            fragment(index=1, function={"arguments": "2}"}),
        ],
        [call("call_a", "f", a=1), call("call_b", "g", b=2)],
    ),
    "without an id": ([fragment(index=0, function={"name": "f", "arguments": "{}"})], [call("", "f")]),
    "id and name in every fragment": (
        [
            fragment(index=0, **ONE_CALL),
            fragment(index=0, id="call_a", function={"name": "f", "arguments": '{"a":'}),
            fragment(index=0, id="call_a", function={"name": "f", "arguments": "1}"}),
        ],
        [call("call_a", "f", a=1)],
    ),
    "another id on the same index": (
        [
            fragment(index=0, **ONE_CALL),
            fragment(index=0, id="call_b", function={"name": "f", "arguments": '{"b":'}),
            fragment(index=0, function={"arguments": "2}"}),
        ],
        [call("call_a", "f"), call("call_b", "f", b=2)],
    ),
    "whole calls, all with one index and no id": (
        [fragment(index=0, function={"name": "f", "arguments": f'{{"a":{number}}}'}) for number in (1, 2)],
        [call("", "f", a=1), call("", "f", a=2)],
    ),
    "arguments as an object": (
        [fragment(index=0, id="call_a", function={"name": "f", "arguments": {"a": 1}})],
        [call("call_a", "f", a=1)],
    ),
    "without an index": (
        [
            fragment(**ONE_CALL),
            fragment(function={"arguments": '{"a":1}'}),
            fragment(id="call_b", function={"name": "g", "arguments": "{}"}),
        ],
        [call("call_a", "f", a=1), call("call_b", "g")],
    ),
    "other names without index and id": (
        [fragment(function={"name": "f", "arguments": ""}), fragment(function={"name": "g", "arguments": "{}"})],
        [call("", "f"), call("", "g")],
    ),
    "empty arguments": ([fragment(index=0, **ONE_CALL)], [call("call_a", "f")]),
    "two in one chunk": (
        [completion(delta={"tool_calls": [{"index": 0, **ONE_CALL}, {"index": 1, **ONE_CALL, "id": "call_b"}]})],
        [call("call_a", "f"), call("call_b", "f")],
    ),
    "one id for two calls": (
        [fragment(index=0, **ONE_CALL), fragment(index=1, **ONE_CALL)],
        [call("call_a", "f"), call("call_a", "f")],
    ),
}


@pytest.mark.parametrize("finish", ["tool_calls", "stop", "function_call"])
@pytest.mark.parametrize("case", CALLS)
def test_tool_calls(server: OpenAIServer, backend: OpenAIBackend, case: str, finish: str) -> None:
    fragments, expected = CALLS[case]
    reply, _ = play(server, backend, *fragments, completion(finish_reason=finish), DONE)
    assert list(reply.tool_calls) == expected
    assert reply.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "null", "{'a': 1}", '{"a": NaN}', '{"a": 1e999}', "{" * 5000])
def test_f25_arguments_that_are_no_json_object_are_not_taken_for_empty(
    server: OpenAIServer, backend: OpenAIBackend, arguments: str
) -> None:
    function = {"name": "f", "arguments": arguments}
    reply, _ = play(server, backend, fragment(index=0, id="c", function=function), completion(finish_reason="stop"))
    assert [(made.arguments, made.raw_arguments) for made in reply.tool_calls] == [(None, arguments)]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("eos", FinishReason.STOP),
    ],
)
def test_f25_finish_reasons_are_kept(server: OpenAIServer, backend: OpenAIBackend, sent: str, kept: str) -> None:
    reply, _ = play(server, backend, say("So"), completion(finish_reason=sent), DONE)
    assert reply.finish_reason is kept


USAGES = {
    "in a chunk of its own": [say("So"), completion(finish_reason="stop"), completion(choices=[], usage=USAGE), DONE],
    "on the last content chunk": [say("So", usage=USAGE), completion(finish_reason="stop"), DONE],
    "with the finish reason": [say("So"), completion(finish_reason="stop", usage=USAGE), DONE],
    "null until the last": [say("So", usage=None), completion(finish_reason="stop", usage=USAGE), DONE],
    "counted up in every chunk": [say("So", usage={"prompt_tokens": 12}), say("!", usage=USAGE), DONE],
}


@pytest.mark.parametrize("events", USAGES.values(), ids=USAGES.keys())
def test_usage_is_found_wherever_it_stands(server: OpenAIServer, backend: OpenAIBackend, events: list[bytes]) -> None:
    reply, _ = play(server, backend, *events)
    assert reply.usage == Usage(prompt=12, completion=3)


def test_usage_tells_cached_and_reasoning_tokens(server: OpenAIServer, backend: OpenAIBackend) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 2}}
    reply, _ = play(server, backend, say("So"), completion(choices=[], usage={**USAGE, **details}), DONE)
    assert reply.usage == Usage(prompt=12, completion=3, cached=8, reasoning=2)


def test_f09_usage_is_asked_for(server: OpenAIServer, backend: OpenAIBackend) -> None:
    play(server, backend, say("So"), DONE)
    assert server.received[-1].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, "many"])
def test_f09_usage_that_is_missing_is_estimated_and_marked(
    server: OpenAIServer, backend: OpenAIBackend, usage: Any
) -> None:
    reply, _ = play(server, backend, say("So it is"), completion(choices=[], usage=usage), DONE)
    assert reply.usage is not None
    assert reply.usage.estimated
    assert reply.usage.prompt > 0
    assert reply.usage.completion == 2


ODD: dict[str, list[bytes]] = {
    "no choices": [completion(choices=[]), say("Yes"), DONE],
    "choices that are null": [event({"choices": None}), say("Yes"), DONE],
    "a delta that is null": [event({"choices": [{"delta": None}]}), say("Yes"), DONE],
    "content that is null": [completion(delta={"content": None, "tool_calls": None}), say("Yes"), DONE],
    "content in parts": [completion(delta={"content": [{"type": "text", "text": "Yes"}]}), DONE],
    "no end marker but a finish reason": [say("Yes"), completion(finish_reason="stop")],
    "an end marker and no finish reason": [say("Yes"), DONE],
    "comments and unknown fields": [b": hello\n\nid: 4\n\n", say("Yes", surprise={"a": 1}), DONE],
    "an unknown event": [b"event: ping\ndata: {}\n\n", say("Yes"), DONE],
    "an error that is null": [event({"error": None, "choices": []}), say("Yes"), DONE],
    "line ends of old": [say("Yes").replace(b"\n", b"\r\n"), DONE.replace(b"\n", b"\r")],
    "no blank line at the end": [say("Yes"), b"data: [DONE]"],
    "something after the end": [say("Yes"), DONE, say("No")],
}


@pytest.mark.parametrize("events", ODD.values(), ids=ODD.keys())
def test_odd_streams_are_understood(server: OpenAIServer, backend: OpenAIBackend, events: list[bytes]) -> None:
    reply, heard = play(server, backend, *events)
    assert (reply.content, reply.whole, reply.finish_reason) == ("Yes", True, FinishReason.STOP)
    assert heard.text() == "Yes"


def test_characters_cut_between_reads_arrive_whole(backend: OpenAIBackend) -> None:
    heard = Listener()
    assert backend.stream(chat("split-utf8"), heard, Cancellation()).content == "漢字" == heard.text()


def test_a_line_of_100_kilobytes_is_read(server: OpenAIServer, backend: OpenAIBackend) -> None:
    reply, _ = play(server, backend, say("x" * 100_000), DONE)
    assert reply.content == "x" * 100_000


def test_half_characters_and_nul_do_not_get_through(server: OpenAIServer, backend: OpenAIBackend) -> None:
    # The escapes as they stand in the JSON: a pair cut in two events, a lone half, and NUL.
    halves = [rb"\ud83c", rb"\udf88 ", rb"\ud83c.", rb"\u0000"]
    events = [say("HERE").replace(b"HERE", half) for half in halves]
    reply, heard = play(server, backend, *events, DONE)
    assert reply.content == heard.text() == "🎈 \ufffd.\ufffd"


def test_a_body_that_ends_with_the_connection_is_read_as_it_comes(server: OpenAIServer, backend: OpenAIBackend) -> None:
    top = head(200, {"content-type": "text/event-stream"})
    server.scripts["closing"] = [top + say("One "), 0.05, say("two"), 0.05, DONE]
    heard = Listener()
    reply = backend.stream(chat("closing"), heard, Cancellation())
    assert (reply.content, reply.whole, len(heard.deltas)) == ("One two", True, 2)


def test_a_server_that_does_not_stream_is_understood(server: OpenAIServer, backend: OpenAIBackend) -> None:
    message = {"role": "assistant", "content": "Yes", "tool_calls": [ONE_CALL]}
    server.scripts["whole"] = document(200, {"choices": [{"index": 0, "message": message}], "usage": USAGE})
    reply = backend.stream(chat("whole"), Listener(), Cancellation())
    assert (reply.content, reply.whole, reply.usage) == ("Yes", True, Usage(prompt=12, completion=3))
    assert list(reply.tool_calls) == [call("call_a", "f")]


# What ends early


def test_f25_a_stream_that_ends_without_its_marker_is_not_whole(server: OpenAIServer, backend: OpenAIBackend) -> None:
    reply, _ = play(server, backend, say("Half an "))
    assert (reply.content, reply.whole, reply.finish_reason) == ("Half an ", False, None)


def test_f25_a_stream_that_is_cut_keeps_what_came(backend: OpenAIBackend) -> None:
    reply = backend.stream(chat("cut"), Listener(), Cancellation())
    assert (reply.content, reply.whole) == ("So ", False)


def test_f25_an_end_in_the_middle_of_an_event_is_not_whole(server: OpenAIServer, backend: OpenAIBackend) -> None:
    reply, _ = play(server, backend, say("So "), say("it is")[:30])
    assert (reply.content, reply.whole) == ("So ", False)


def test_f25_calls_of_a_stream_that_is_cut_cannot_be_run(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["cut-call"] = [
        STREAM_HEAD + chunk(fragment(index=0, id="c", function={"name": "f", "arguments": "{}"})),
        CUT,
    ]
    reply = backend.stream(chat("cut-call"), Listener(), Cancellation())
    assert [(made.name, made.arguments) for made in reply.tool_calls] == [("f", None)]


def test_a_server_that_keeps_the_stream_open_after_the_end_is_not_waited_for(
    server: OpenAIServer, backend: OpenAIBackend
) -> None:
    server.scripts["open"] = [STREAM_HEAD + chunk(say("So")) + chunk(DONE), FOR_EVER]
    reply = backend.stream(chat("open"), Listener(), Cancellation())
    assert (reply.content, reply.whole) == ("So", True)


# What goes wrong


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("http-400", errors.BadRequest),
        ("http-401", errors.Unauthorized),
        ("http-404", errors.ModelNotFound),
        ("http-429", errors.RateLimited),
        ("http-500", errors.BackendError),
        ("http-529", errors.BackendError),
        ("context", errors.ContextWindowExceeded),
        ("cut-headers", errors.BackendUnreachable),
    ],
)
def test_failures_have_their_kind(backend: OpenAIBackend, model: str, kind: type[errors.BackendError]) -> None:
    error, _ = failure(backend, model)
    assert type(error) is kind
    assert "secret" not in error.message


def test_the_providers_own_words_are_for_the_log_only(backend: OpenAIBackend) -> None:
    error, _ = failure(backend, "http-500")
    assert error.message == "openai answered with an error (HTTP 500)."
    assert "/secret/paths" in error.detail


def test_rate_limits_say_how_long(backend: OpenAIBackend) -> None:
    error, _ = failure(backend, "http-429")
    assert error.retry_after_seconds == 7
    assert "7 s" in error.message


def test_f25_an_error_in_the_stream_fails_the_call_and_what_came_was_heard(backend: OpenAIBackend) -> None:
    error, heard = failure(backend, "error-in-200")
    assert type(error) is errors.BackendError
    assert "it broke" in error.detail
    assert heard.text() == "So "


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (event({"error": "it broke"}), errors.BackendError),
        (event({"error": {"code": 429, "message": "slow"}}), errors.RateLimited),
        (event({"error": {"type": "authentication_error"}}), errors.Unauthorized),
        (event({"error": {"type": "invalid_request_error", "message": "bad"}}), errors.BadRequest),
        (event({"error": {"type": "x", "message": "the context length is 5"}}), errors.ContextWindowExceeded),
        (event({"object": "error", "message": "it broke"}), errors.BackendError),
        (b"event: error\n" + event({"message": "it broke"}), errors.BackendError),
        (completion(finish_reason="error"), errors.BackendError),
        (b"data: this is no JSON\n\n", errors.BackendError),
        (b"data: [1]\n\n", errors.BackendError),
    ],
)
def test_f25_every_shape_of_an_error_in_a_200_is_noticed(
    server: OpenAIServer, backend: OpenAIBackend, value: bytes, kind: type[errors.BackendError]
) -> None:
    server.scripts["bad"] = streamed(say("So "), value, DONE)
    error, heard = failure(backend, "bad")
    assert type(error) is kind
    assert heard.text() == "So "


def test_an_error_document_with_status_200_fails_the_call(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["bad"] = document(200, {"error": {"message": "it broke"}})
    assert type(failure(backend, "bad")[0]) is errors.BackendError


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_is_not_followed(server: OpenAIServer, backend: OpenAIBackend, status: int) -> None:
    server.scripts["moved"] = document(status, {}, {"location": f"{server.base_url}/elsewhere"})
    assert type(failure(backend, "moved")[0]) is errors.BackendMisconfigured
    assert len(server.received) == 1


def test_a_web_page_is_no_answer(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["page"] = [head(200, {"content-type": "text/html", "content-length": "4"}) + b"<p/>"]
    assert type(failure(backend, "page")[0]) is errors.BackendMisconfigured


def test_an_endless_answer_is_ended(server: OpenAIServer, backend: OpenAIBackend, settings: Any) -> None:
    settings.BACKEND_REPLY_MAX_BYTES = 10_000
    server.scripts["endless"] = streamed(*(say("x" * 100) for _ in range(200)), DONE)
    error, heard = failure(backend, "endless")
    assert "10000 bytes" in error.message
    assert 0 < len(heard.text()) < 10_000


def at(base_url: str, key: str = KEY) -> OpenAIBackend:
    return OpenAIBackend(BackendSettings(name="openai", driver="openai", base_url=base_url, api_key=key))


def test_nobody_at_home_is_unreachable() -> None:
    error, _ = failure(at(f"http://user:pass-word@127.0.0.1:{free_port()}/v1"), "stub")
    assert type(error) is errors.BackendUnreachable
    assert error.message == "openai could not be reached."
    assert "pass-word" not in error.detail


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    assert type(failure(at("http://nowhere.invalid/v1"), "stub")[0]) is errors.BackendUnreachable


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1/v1", "127.0.0.1:80/v1", "http:///v1"])
def test_a_base_url_that_is_none_is_misconfigured(base_url: str) -> None:
    assert type(failure(at(base_url), "stub")[0]) is errors.BackendMisconfigured


def test_a_key_that_cannot_be_sent_is_misconfigured_and_not_repeated(server: OpenAIServer) -> None:
    error, _ = failure(at(server.base_url, "sk-1\nsk-2"), "stub")
    assert type(error) is errors.BackendMisconfigured
    assert "sk-" not in error.message + error.detail


def test_the_key_is_sent_and_never_shown(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["echo-key"] = document(400, {"error": {"message": f"what is {KEY}?"}})
    error, _ = failure(backend, "echo-key")
    assert server.received[-1].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in error.message + error.detail
    assert "[secret]" in error.detail


def test_nothing_is_tried_twice(server: OpenAIServer, backend: OpenAIBackend) -> None:
    for model in ("http-500", "http-429", "cut", "cut-headers"):
        wire._sessions.clear()
        server.received.clear()
        with suppress(errors.BackendError):
            backend.stream(chat(model), Listener(), Cancellation())
        assert len(server.received) == 1, model


# Limits


@pytest.mark.parametrize("model", ["stall-headers", "trickle", "trickle-headers"])
def test_f25_a_first_byte_that_does_not_come_is_a_timeout(backend: OpenAIBackend, model: str) -> None:
    limits = replace(PATIENT, first_byte=0.2)
    began = time.monotonic()
    error, _ = failure(backend, model, timeouts=limits)
    assert type(error) is errors.BackendTimeout
    assert "begin to answer within 0.2 s" in error.message
    assert time.monotonic() - began < 5


def test_f25_silence_in_the_middle_is_a_timeout(backend: OpenAIBackend) -> None:
    error, heard = failure(backend, "stall-body", timeouts=replace(PATIENT, idle=0.2))
    assert type(error) is errors.BackendTimeout
    assert "silent for 0.2 s" in error.message
    assert heard.text() == "So "


def test_f25_bytes_that_trickle_do_not_get_around_the_total_limit(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["babble"] = [STREAM_HEAD, *(move for _ in range(1000) for move in (chunk(say("la ")), 0.02))]
    error, heard = failure(backend, "babble", timeouts=replace(PATIENT, total=0.5))
    assert type(error) is errors.BackendTimeout
    assert "finish its answer within 0.5 s" in error.message
    assert heard.text().startswith("la la ")


def test_slow_but_steady_is_no_timeout(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["steady"] = [
        STREAM_HEAD,
        *(move for _ in range(12) for move in (chunk(say("la ")), 0.1)),
        chunk(DONE),
        chunk(b""),
    ]
    reply = backend.stream(chat("steady", timeouts=replace(PATIENT, idle=1)), Listener(), Cancellation())
    assert (reply.content, reply.whole) == ("la " * 12, True)


def test_thinking_about_the_first_word_may_take_longer_than_a_pause_later(
    server: OpenAIServer, backend: OpenAIBackend
) -> None:
    server.scripts["late"] = [
        STREAM_HEAD + chunk(completion(delta={"role": "assistant", "content": ""})),
        0.4,
        chunk(say("Yes")),
        chunk(DONE),
        chunk(b""),
    ]
    reply = backend.stream(chat("late", timeouts=replace(PATIENT, idle=0.2)), Listener(), Cancellation())
    assert reply.content == "Yes"


def test_a_server_that_takes_no_connection_is_a_timeout() -> None:
    with full_backlog() as port:
        error, _ = failure(at(f"http://127.0.0.1:{port}/v1"), "stub", timeouts=replace(PATIENT, connect=0.2))
    assert type(error) is errors.BackendTimeout


class full_backlog:
    """A port whose queue of connections is full: another one is neither taken nor refused."""

    def __enter__(self) -> int:
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen(0)
        self.waiting = [socket.socket() for _ in range(4)]
        for waiting in self.waiting:
            waiting.setblocking(False)
            waiting.connect_ex(self.listening.getsockname())
        return int(self.listening.getsockname()[1])

    def __exit__(self, *details: object) -> None:
        for opened in (*self.waiting, self.listening):
            opened.close()


# Cancelling


def assert_a_cancel_ends(calling: Calling) -> None:
    began = time.monotonic()
    calling.cancellation.cancel()
    calling.join(timeout=2 * PROMPTLY)
    assert isinstance(calling.error, errors.Cancelled)
    assert calling.ended_at - began < PROMPTLY


@pytest.mark.parametrize("model", ["stall-headers", "stall-body", "trickle", "trickle-headers"])
def test_a_cancel_ends_the_call_at_once_and_hangs_up(server: OpenAIServer, backend: OpenAIBackend, model: str) -> None:
    calling = Calling(backend, chat(model))
    eventually(lambda: server.received)
    assert_a_cancel_ends(calling)
    eventually(lambda: server.received[-1].hung_up_at, within=PROMPTLY)


@pytest.mark.parametrize("heard", [1, 2, 5, 15])
def test_a_cancel_at_any_delta_is_the_last_thing_that_happens(
    server: OpenAIServer, backend: OpenAIBackend, heard: int
) -> None:
    cancellation, deltas = Cancellation(), Listener()

    def on_delta(kind: DeltaType, text: str) -> None:
        deltas(kind, text)
        if len(deltas.deltas) == heard:
            cancellation.cancel()

    with pytest.raises(errors.Cancelled):
        backend.stream(chat("stub-paced"), on_delta, cancellation)
    assert len(deltas.deltas) == heard
    eventually(lambda: server.received[-1].hung_up_at, within=PROMPTLY)


def test_a_cancel_while_connecting_ends_the_call() -> None:
    with full_backlog() as port:
        others = connecting(port)
        calling = Calling(at(f"http://127.0.0.1:{port}/v1"), chat(timeouts=replace(PATIENT, connect=20)))
        eventually(lambda: connecting(port) > others)
        assert_a_cancel_ends(calling)


def connecting(port: int) -> int:
    """How many connections to a port are asked for and neither taken nor refused."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(remote.endswith(f":{port:04X}") and state == SYN_SENT for _, _, remote, state, *_ in rows)


def test_a_cancel_during_the_tls_handshake_ends_the_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        calling = Calling(at(f"https://127.0.0.1:{listening.getsockname()[1]}/v1"), chat())
        taken, _ = listening.accept()
        with taken:
            assert taken.recv(1) == TLS_HANDSHAKE
            assert_a_cancel_ends(calling)


def test_a_cancel_before_the_call_sends_nothing(server: OpenAIServer, backend: OpenAIBackend) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(errors.Cancelled):
        backend.stream(chat(), Listener(), cancellation)
    assert not server.received


def test_an_error_of_the_listener_ends_the_call_and_hangs_up(server: OpenAIServer, backend: OpenAIBackend) -> None:
    def on_delta(kind: DeltaType, text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        backend.stream(chat("stub-paced"), on_delta, Cancellation())
    eventually(lambda: server.received[-1].hung_up_at, within=PROMPTLY)


# The connection


def test_a_fork_gets_connections_of_its_own(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = wire.session(server.base_url)
    assert wire.session(server.base_url) is ours
    monkeypatch.setattr("os.getpid", lambda: -1)
    theirs = wire.session(server.base_url)
    assert theirs is not ours
    theirs.close()


def test_calls_share_a_connection(server: OpenAIServer, backend: OpenAIBackend) -> None:
    for _ in range(3):
        backend.stream(chat(), Listener(), Cancellation())
    assert len({received.connection for received in server.received}) == 1


def test_a_call_can_be_cancelled_on_a_connection_that_was_used_before(
    server: OpenAIServer, backend: OpenAIBackend
) -> None:
    backend.stream(chat(), Listener(), Cancellation())
    calling = Calling(backend, chat("stall-headers"))
    eventually(lambda: len(server.received) == 2)
    assert server.received[0].connection == server.received[1].connection
    assert_a_cancel_ends(calling)
    assert backend.stream(chat(), Listener(), Cancellation()).whole


def test_a_connection_that_the_server_has_closed_meanwhile_is_no_failure(
    server: OpenAIServer, backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.stream(chat(), Listener(), Cancellation())
    used = server.received[-1].connection
    answer = server.answer
    monkeypatch.setattr(server, "answer", lambda asked: [CUT] if asked.connection <= used else answer(asked))
    assert backend.stream(chat(), Listener(), Cancellation()).whole
    assert server.received[-1].connection == used + 1


def test_a_server_that_thinks_and_then_hangs_up_is_not_asked_again(
    server: OpenAIServer, backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.stream(chat(), Listener(), Cancellation())
    monkeypatch.setattr(wire, "STALE_SECONDS", 0.1)
    server.scripts["thinks"] = [0.2, CUT]
    server.received.clear()
    assert type(failure(backend, "thinks")[0]) is errors.BackendUnreachable
    assert len(server.received) == 1


# What is sent


def history(first_id: str, second_id: str) -> list[ChatMessage]:
    return [
        ChatMessage(role="system", content="Be kind."),
        ChatMessage(role="user", content="Add them."),
        ChatMessage(
            role="assistant",
            content="I will.",
            tool_calls=[call(first_id, "add", a=1), call(second_id, "add", a=2)],
        ),
        ChatMessage(role="tool", name="add", tool_call_id=first_id, content="one"),
        ChatMessage(role="tool", name="add", tool_call_id=second_id, content="two"),
    ]


@pytest.mark.parametrize(("first", "second"), [("call_a", "call_b"), ("", ""), ("call_0", "call_0")])
def test_f20_a_tool_result_carries_the_id_of_its_call(
    server: OpenAIServer, backend: OpenAIBackend, first: str, second: str
) -> None:
    backend.stream(chat(messages=history(first, second)), Listener(), Cancellation())
    sent = server.received[-1].body["messages"]
    ids = [made["id"] for made in sent[2]["tool_calls"]]
    assert len(set(ids)) == 2
    assert all(ids)
    assert sent[3:] == [
        {"role": "tool", "tool_call_id": ids[0], "content": "one"},
        {"role": "tool", "tool_call_id": ids[1], "content": "two"},
    ]


def test_f20_results_in_another_order_still_match(server: OpenAIServer, backend: OpenAIBackend) -> None:
    *before, one, two = history("call_a", "call_b")
    backend.stream(chat(messages=[*before, two, one]), Listener(), Cancellation())
    assert [sent["tool_call_id"] for sent in server.received[-1].body["messages"][3:]] == ["call_b", "call_a"]


def test_f20_ids_that_repeat_in_later_turns_stay_apart(server: OpenAIServer, backend: OpenAIBackend) -> None:
    twice = [*history("call_0", "call_1"), *history("call_0", "call_1")[2:]]
    backend.stream(chat(messages=twice), Listener(), Cancellation())
    sent = server.received[-1].body["messages"]
    made = [item["id"] for message in sent for item in message.get("tool_calls", [])]
    assert len(set(made)) == 4
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == made


def test_f20_calls_go_back_in_the_providers_shape(server: OpenAIServer, backend: OpenAIBackend) -> None:
    unread = RequestedCall(provider_id="call_b", name="g", arguments=None, raw_arguments='{"a"')
    said = ChatMessage(role="assistant", tool_calls=[call("call_a", "f", a="é"), unread])
    answers = [ChatMessage(role="tool", tool_call_id=made.provider_id, content="So") for made in said.tool_calls]
    backend.stream(chat(messages=[ChatMessage(role="user", content="Go"), said, *answers]), Listener(), Cancellation())
    assert server.received[-1].body["messages"][1]["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a": "\\u00e9"}'}},
        {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_f20_two_turns_with_a_tool_between_them(server: OpenAIServer, backend: OpenAIBackend) -> None:
    asked = ChatMessage(role="user", content="Call f.")
    first = backend.stream(chat("stub-tool", messages=[asked]), Listener(), Cancellation())
    [made] = first.tool_calls
    said = ChatMessage(role="assistant", content=first.content, tool_calls=first.tool_calls)
    answer = ChatMessage(role="tool", name=made.name, tool_call_id=made.provider_id, content="42")
    second = backend.stream(chat("stub", messages=[asked, said, answer]), Listener(), Cancellation())
    sent = server.received[-1].body["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "call_a"
    assert second.finish_reason is FinishReason.STOP


def sent_body(server: OpenAIServer, backend: OpenAIBackend, **request: Any) -> dict[str, Any]:
    backend.stream(chat(**request), Listener(), Cancellation())
    body: dict[str, Any] = server.received[-1].body
    return body


def test_pictures_go_with_their_message(server: OpenAIServer, backend: OpenAIBackend) -> None:
    picture = Image(media_type="image/png", data_base64="iVBO")
    text = ChatMessage(role="user", content="What is this?", images=[picture])
    bare = ChatMessage(role="user", images=[picture])
    sent = [message["content"] for message in sent_body(server, backend, messages=[text, bare])["messages"]]
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
    assert sent == [[{"type": "text", "text": "What is this?"}, part], [part]]


def test_options_are_sent_under_the_providers_names(server: OpenAIServer, backend: OpenAIBackend) -> None:
    config = ModelConfig(
        model="stub", temperature=0.5, max_tokens=10, top_p=0.9, top_k=40, frequency_penalty=0.1,
        presence_penalty=0.2, stop_sequences=("END",), seed=7, think="low", context_length=4096,
    )  # fmt: skip
    body = sent_body(server, backend, config=config)
    del body["messages"], body["stream"], body["stream_options"], body["model"]
    assert body == {
        "temperature": 0.5,
        "max_tokens": 10,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "stop": ["END"],
        "seed": 7,
        "reasoning_effort": "low",
    }


def test_a_compatible_server_is_sent_more(server: OpenAIServer) -> None:
    own = OpenAIBackend(BackendSettings(name="own", driver="openai", base_url=server.base_url, extensions=True))
    body = sent_body(server, own, config=ModelConfig(model="stub", top_k=40, think=False))
    assert (body["top_k"], body["chat_template_kwargs"]) == (40, {"enable_thinking": False})
    assert "authorization" not in server.received[-1].headers


def test_models_that_reason_get_their_limit_under_another_name(server: OpenAIServer, backend: OpenAIBackend) -> None:
    server.scripts["o3-mini"] = server.scripts["stub"]
    body = sent_body(server, backend, config=ModelConfig(model="o3-mini", max_tokens=10))
    assert body["max_completion_tokens"] == 10
    assert "max_tokens" not in body


def test_tools_and_a_schema_are_offered(server: OpenAIServer, backend: OpenAIBackend) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tool = ToolSchema(name="add", description="Adds.", parameters=schema)
    body = sent_body(server, backend, tools=[tool], response_schema=schema)
    assert body["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": schema}}
    ]
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": schema},
    }


# Health


def test_a_healthy_server_tells_its_models(backend: OpenAIBackend) -> None:
    health = backend.health()
    assert (health.status, health.error) == ("available", "")
    assert "stub-paced" in health.models


def test_a_dead_server_is_unreachable() -> None:
    health = at(f"http://127.0.0.1:{free_port()}/v1").health()
    assert (health.status, health.error) == ("unreachable", "openai could not be reached.")


def test_a_server_that_refuses_the_key_is_misconfigured(server: OpenAIServer, backend: OpenAIBackend) -> None:
    usual = server.models_script
    server.models_script = lambda: server.scripts["http-401"]
    try:
        assert backend.health().status == "misconfigured"
    finally:
        server.models_script = usual
