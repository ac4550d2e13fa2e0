"""Chat with an Ollama server that behaves as real ones do: well, differently, badly, and not at all."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models_registry import errors
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
from models_registry.backends.ollama import OllamaBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import CUT, chunk, document
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.ollama_chat import (
    CALL,
    COUNTS,
    LINES_HEAD,
    LONG_TEXT,
    OTHER_CALL,
    ended,
    line,
    said,
    streamed,
)
from models_registry.fakes.openai import FOR_EVER
from tests.models_registry.conftest import KEY, PATIENT, Calling, Listener, chat
from tests.services import free_port
from tests.waiting import eventually

PROMPTLY = 5.0  # seconds; a second is promised, what is waited for takes twenty
CONTENT, THINKING = DeltaType.CONTENT, DeltaType.THINKING


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


@pytest.fixture
def server(ollama: OllamaServer) -> OllamaServer:
    """The server, with no requests recorded yet."""
    ollama.received.clear()
    return ollama


@pytest.fixture
def backend(server: OllamaServer) -> OllamaBackend:
    return OllamaBackend(BackendSettings(name="ollama", driver="ollama", base_url=server.base_url))


def play(server: OllamaServer, backend: OllamaBackend, *lines: bytes, **request: Any) -> tuple[Reply, Listener]:
    """The reply to a stream of these lines."""
    server.scripts["played"] = streamed(*lines)
    heard = Listener()
    return backend.stream(chat("played", **request), heard, Cancellation()), heard


def failure(backend: OllamaBackend, model: str, **request: Any) -> tuple[errors.BackendError, Listener]:
    heard = Listener()
    with pytest.raises(errors.BackendError) as raised:
        backend.stream(chat(model, **request), heard, Cancellation())
    return raised.value, heard


def call(provider_id: str, name: str, **arguments: Any) -> RequestedCall:
    return RequestedCall(provider_id=provider_id, name=name, arguments=arguments)


# What a reply is made of


def test_it_streams_text_as_it_comes(server: OllamaServer, backend: OllamaBackend) -> None:
    reply, heard = play(server, backend, said("Hel"), said("lo "), said(" "), ended())
    assert heard.deltas == [(CONTENT, "Hel"), (CONTENT, "lo "), (CONTENT, " ")]
    assert (reply.content, reply.whole, reply.finish_reason) == ("Hello  ", True, FinishReason.STOP)
    assert reply.model == "stub"


def test_thinking_is_apart_from_text(backend: OllamaBackend) -> None:
    heard = Listener()
    reply = backend.stream(chat("thinking"), heard, Cancellation())
    assert heard.deltas == [(THINKING, "hm"), (CONTENT, "Yes.")]
    assert (reply.thinking, reply.content) == ("hm", "Yes.")


NAMELESS = {"function": {"index": 0, "name": "f", "arguments": {}}}
CALLS: dict[str, tuple[list[bytes], list[RequestedCall]]] = {
    "in a chunk of their own": (
        [said(tool_calls=[CALL, OTHER_CALL]), ended()],
        [call("call_a", "f", a=1), call("call_b", "g", b=2)],
    ),
    "in two chunks": (
        [said(tool_calls=[CALL]), said(tool_calls=[OTHER_CALL]), ended()],
        [call("call_a", "f", a=1), call("call_b", "g", b=2)],
    ),
    "beside text": ([said("So ", tool_calls=[CALL]), ended()], [call("call_a", "f", a=1)]),
    "in the last line only": ([ended(tool_calls=[NAMELESS])], [call("", "f")]),
    "in a chunk and in the last line": (
        [said(tool_calls=[CALL]), ended(tool_calls=[NAMELESS])],
        [call("call_a", "f", a=1), call("", "f")],
    ),
    "all with one index and no id": ([said(tool_calls=[NAMELESS, NAMELESS]), ended()], [call("", "f"), call("", "f")]),
    "all with one id": ([said(tool_calls=[CALL, CALL]), ended()], [call("call_a", "f", a=1), call("call_a", "f", a=1)]),
    "without arguments": ([said(tool_calls=[{"function": {"name": "f"}}]), ended()], [call("", "f")]),
    "with arguments as text": (
        [said(tool_calls=[{"function": {"name": "f", "arguments": '{"a":1}'}}]), ended()],
        [call("", "f", a=1)],
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_tool_calls(server: OllamaServer, backend: OllamaBackend, case: str) -> None:
    lines, expected = CALLS[case]
    reply, _ = play(server, backend, *lines)
    assert list(reply.tool_calls) == expected
    assert reply.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", [1], 7])
def test_f25_arguments_that_are_no_json_object_are_not_taken_for_empty(
    server: OllamaServer, backend: OllamaBackend, arguments: Any
) -> None:
    function = {"name": "f", "arguments": arguments}
    reply, _ = play(server, backend, said(tool_calls=[{"function": function}]), ended())
    raw = arguments if isinstance(arguments, str) else str(arguments)
    assert [(made.arguments, made.raw_arguments) for made in reply.tool_calls] == [(None, raw)]


def test_f25_a_reply_that_was_cut_off_by_its_limit_says_so(backend: OllamaBackend) -> None:
    assert backend.stream(chat("length"), Listener(), Cancellation()).finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    "last",
    [
        line(model="stub", done=True),
        line(model="stub", message={"role": "assistant", "content": ""}, done_reason="stop"),
        ended() + said("No"),
        ended().strip(),
    ],
    ids=["done alone", "a reason alone", "with something after it", "without a line's end"],
)
def test_every_end_marker_is_known(server: OllamaServer, backend: OllamaBackend, last: bytes) -> None:
    reply, _ = play(server, backend, said("Yes"), last)
    assert (reply.content, reply.whole, reply.finish_reason) == ("Yes", True, FinishReason.STOP)


ODD: dict[str, list[bytes]] = {
    "empty lines": [b"\n", said("Yes"), b"\r\n", ended()],
    "lines that end as of old": [said("Yes").replace(b"\n", b"\r\n"), ended()],
    "two lines in one piece": [said("Ye") + said("s") + ended()],
    "unknown fields": [said("Yes", surprise={"a": 1}), line(surprise=[1]), ended()],
    "a message that is null": [line(message=None), said("Yes"), ended()],
    "content that is null": [
        line(message={"role": "assistant", "content": None, "tool_calls": None}),
        said("Yes"),
        ended(),
    ],
    "calls that are none": [said("Yes", tool_calls=["f", None]), ended()],
    "an error that is null": [line(error=None), said("Yes"), ended()],
}


@pytest.mark.parametrize("lines", ODD.values(), ids=ODD.keys())
def test_odd_streams_are_understood(server: OllamaServer, backend: OllamaBackend, lines: list[bytes]) -> None:
    reply, heard = play(server, backend, *lines)
    assert (reply.content, reply.whole, list(reply.tool_calls)[1:]) == ("Yes", True, [])
    assert heard.text() == "Yes"


def test_one_document_instead_of_lines_is_understood(server: OllamaServer, backend: OllamaBackend) -> None:
    message = {"role": "assistant", "content": "Yes"}
    server.scripts["whole"] = document(200, {"message": message, "done": True, "done_reason": "stop", **COUNTS})
    reply = backend.stream(chat("whole"), Listener(), Cancellation())
    assert (reply.content, reply.whole, reply.usage) == ("Yes", True, Usage(prompt=12, completion=3))


def test_characters_cut_between_reads_arrive_whole(backend: OllamaBackend) -> None:
    heard = Listener()
    assert backend.stream(chat("split-utf8"), heard, Cancellation()).content == "漢字" == heard.text()


def test_f25_a_line_of_100_kilobytes_is_read(backend: OllamaBackend) -> None:
    assert backend.stream(chat("long-line"), Listener(), Cancellation()).content == LONG_TEXT


def test_half_characters_and_nul_do_not_get_through(server: OllamaServer, backend: OllamaBackend) -> None:
    halves = [rb"\ud83c", rb"\udf88 ", rb"\ud83c.", rb"\u0000"]
    reply, heard = play(server, backend, *(said("HERE").replace(b"HERE", half) for half in halves), ended())
    assert reply.content == heard.text() == "🎈 \ufffd.\ufffd"


# Usage


def test_f09_the_counts_of_the_last_line_are_the_usage(backend: OllamaBackend) -> None:
    reply = backend.stream(chat("stub"), Listener(), Cancellation())
    assert reply.usage == Usage(prompt=12, completion=20)


@pytest.mark.parametrize(
    ("counts", "prompt", "completion"),
    [({}, 6, 2), ({"eval_count": 9}, 6, 9), ({"prompt_eval_count": 30}, 30, 2), ({"eval_count": -1}, 6, 2)],
)
def test_f09_a_count_that_is_missing_is_estimated_and_marked(
    server: OllamaServer, backend: OllamaBackend, counts: dict[str, int], prompt: int, completion: int
) -> None:
    reply, _ = play(server, backend, said("So it is"), ended(counts=counts))
    assert reply.usage == Usage(prompt=prompt, completion=completion, estimated=True)


def test_a_prompt_that_was_cut_silently_is_told_of(
    server: OllamaServer, backend: OllamaBackend, caplog: pytest.LogCaptureFixture
) -> None:
    config = ModelConfig(model="played", context_length=512)
    play(server, backend, said("So"), ended(), config=config)
    assert not caplog.records
    play(server, backend, said("So"), ended(), config=config, messages=[ChatMessage(role="user", content="x" * 4000)])
    assert "may have left messages out" in caplog.text


# What ends early


@pytest.mark.parametrize("model", ["early-eof", "cut"])
def test_f25_a_stream_that_ends_without_its_marker_is_not_whole(backend: OllamaBackend, model: str) -> None:
    reply = backend.stream(chat(model), Listener(), Cancellation())
    assert (reply.content, reply.whole, reply.finish_reason) == ("So ", False, None)


def test_f25_half_a_line_at_the_end_is_left_out(server: OllamaServer, backend: OllamaBackend) -> None:
    reply, _ = play(server, backend, said("So "), said("it is")[:30])
    assert (reply.content, reply.whole) == ("So ", False)


def test_f25_calls_of_a_stream_that_is_cut_cannot_be_run(server: OllamaServer, backend: OllamaBackend) -> None:
    server.scripts["cut-call"] = [LINES_HEAD + chunk(said(tool_calls=[CALL])), CUT]
    reply = backend.stream(chat("cut-call"), Listener(), Cancellation())
    assert [(made.name, made.arguments, made.raw_arguments) for made in reply.tool_calls] == [("f", None, '{"a": 1}')]


def test_a_server_that_keeps_the_stream_open_after_the_end_is_not_waited_for(
    server: OllamaServer, backend: OllamaBackend
) -> None:
    server.scripts["open"] = [LINES_HEAD + chunk(said("So")) + chunk(ended()), FOR_EVER]
    reply = backend.stream(chat("open"), Listener(), Cancellation())
    assert (reply.content, reply.whole) == ("So", True)


# What goes wrong


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("http-400", errors.BadRequest, "ollama refused the request (HTTP 400)."),
        ("http-401", errors.Unauthorized, "ollama refused the key, or has to be signed in."),
        ("http-404", errors.ModelNotFound, "ollama does not have the model 'http-404'."),
        ("nobody-has-this", errors.ModelNotFound, "ollama does not have the model 'nobody-has-this'."),
        ("http-429", errors.RateLimited, "ollama limits the rate of calls (HTTP 429). Try again in 7 s."),
        ("http-499", errors.BackendError, "ollama gave up loading the model 'http-499'."),
        ("http-500", errors.BackendError, "ollama answered with an error (HTTP 500)."),
        ("http-503", errors.RateLimited, "ollama has too many calls waiting."),
        ("too-large", errors.BackendError, "ollama has not enough memory for the model 'too-large'."),
        ("context", errors.ContextWindowExceeded, "The messages do not fit the model's context window."),
        ("cut-headers", errors.BackendUnreachable, "ollama could not be reached."),
    ],
)
def test_failures_have_their_kind_and_their_words(
    backend: OllamaBackend, model: str, kind: type[errors.BackendError], message: str
) -> None:
    error, _ = failure(backend, model)
    assert type(error) is kind
    assert error.message == message


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("an error was encountered while running the model: it broke", errors.BackendError),
        ("model runner has unexpectedly stopped, this may be due to resource limitations", errors.BackendError),
        ("llama runner process has terminated: signal: killed", errors.BackendError),
        ("prompt too long; exceeded max context length by 12 tokens", errors.ContextWindowExceeded),
        ('{"code":400,"message":"request exceeds","type":"exceed_context_size_error"}', errors.ContextWindowExceeded),
        ('model "x" not found, try pulling it first', errors.ModelNotFound),
        ("server busy, please try again", errors.RateLimited),
        ("unauthorized", errors.Unauthorized),
        ('"x" does not support tools', errors.BadRequest),
        ({"message": "it broke"}, errors.BackendError),
    ],
)
def test_f25_an_error_line_after_a_200_fails_the_call_and_what_came_was_heard(
    server: OllamaServer, backend: OllamaBackend, words: Any, kind: type[errors.BackendError]
) -> None:
    server.scripts["bad"] = streamed(said("So "), line(error=words), ended())
    error, heard = failure(backend, "bad")
    assert type(error) is kind
    assert heard.text() == "So "


@pytest.mark.parametrize("data", [b"this is no JSON\n", b"[1]\n", b'{"message":\n'])
def test_a_line_that_cannot_be_read_fails_the_call(server: OllamaServer, backend: OllamaBackend, data: bytes) -> None:
    server.scripts["bad"] = streamed(said("So "), data, ended())
    assert type(failure(backend, "bad")[0]) is errors.BackendError


def test_a_model_that_cannot_think_is_named(backend: OllamaBackend) -> None:
    error, _ = failure(backend, "stub", config=ModelConfig(model="stub", think=True))
    assert (error.message, error.permanent) == ("The model 'stub' does not support thinking.", True)


def test_the_servers_own_words_are_for_the_log_only(backend: OllamaBackend) -> None:
    error, _ = failure(backend, "http-500")
    assert "/secret/paths" in error.detail
    assert "/secret/paths" not in error.message


def test_an_endless_answer_is_ended(server: OllamaServer, backend: OllamaBackend, settings: Any) -> None:
    settings.BACKEND_REPLY_MAX_BYTES = 10_000
    server.scripts["endless"] = streamed(*(said("x" * 100) for _ in range(200)), ended())
    error, heard = failure(backend, "endless")
    assert "10000 bytes" in error.message
    assert 0 < len(heard.text()) < 10_000


def test_nobody_at_home_is_unreachable() -> None:
    nobody = BackendSettings(name="ollama", driver="ollama", base_url=f"http://127.0.0.1:{free_port()}")
    assert type(failure(OllamaBackend(nobody), "stub")[0]) is errors.BackendUnreachable


def test_nothing_is_tried_twice(server: OllamaServer, backend: OllamaBackend) -> None:
    for model in ("http-429", "http-500", "http-503", "error-in-200"):
        failure(backend, model)
    assert len(server.received) == 4


# Limits and cancelling


@pytest.mark.parametrize("model", ["stall-headers", "trickle-headers", "trickle"])
def test_f25_a_first_byte_that_does_not_come_is_a_timeout(backend: OllamaBackend, model: str) -> None:
    error, _ = failure(backend, model, timeouts=replace(PATIENT, first_byte=0.3))
    assert type(error) is errors.BackendTimeout
    assert "did not begin to answer within 0.3 s" in error.message


def test_f25_silence_in_the_middle_is_a_timeout(backend: OllamaBackend) -> None:
    error, heard = failure(backend, "stall-body", timeouts=replace(PATIENT, idle=0.3))
    assert type(error) is errors.BackendTimeout
    assert (heard.text(), "went silent for 0.3 s" in error.message) == ("So ", True)


def test_silence_while_a_call_is_written_is_no_timeout(server: OllamaServer, backend: OllamaBackend) -> None:
    server.scripts["writes"] = [LINES_HEAD + chunk(said("So ")), 0.8, chunk(said(tool_calls=[CALL])), chunk(ended())]
    limits = replace(PATIENT, first_byte=10, idle=0.3)
    assert type(failure(backend, "writes", timeouts=limits)[0]) is errors.BackendTimeout
    tools = [ToolSchema(name="f", description="", parameters={})]
    reply = backend.stream(chat("writes", timeouts=limits, tools=tools), Listener(), Cancellation())
    assert list(reply.tool_calls) == [call("call_a", "f", a=1)]


def test_slow_but_steady_is_no_timeout(backend: OllamaBackend) -> None:
    reply = backend.stream(chat("stub-paced", timeouts=replace(PATIENT, idle=0.3)), Listener(), Cancellation())
    assert reply.whole


@pytest.mark.parametrize("model", ["stall-headers", "stall-body", "trickle"])
def test_a_cancel_ends_the_call_at_once_and_hangs_up(server: OllamaServer, backend: OllamaBackend, model: str) -> None:
    calling = Calling(backend, chat(model))
    eventually(lambda: server.received)
    if model == "stall-body":
        eventually(lambda: calling.heard.deltas)
    began = time.monotonic()
    calling.cancellation.cancel()
    calling.join(PROMPTLY)
    assert type(calling.error) is errors.Cancelled
    assert calling.ended_at - began < PROMPTLY
    assert eventually(lambda: server.received[0].hung_up_at)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_cancel_at_any_delta_is_the_last_thing_that_happens(backend: OllamaBackend, at: int) -> None:
    cancellation, heard = Cancellation(), Listener()

    def listen(kind: DeltaType, text: str) -> None:
        heard(kind, text)
        if len(heard.deltas) == at:
            cancellation.cancel()

    with pytest.raises(errors.Cancelled):
        backend.stream(chat("stub-paced"), listen, cancellation)
    assert len(heard.deltas) == at


# What is sent


def sent(server: OllamaServer, backend: OllamaBackend, **request: Any) -> dict[str, Any]:
    backend.stream(chat(**request), Listener(), Cancellation())
    body: dict[str, Any] = server.received[-1].body
    return body


def test_f28_the_window_and_the_limit_are_always_sent(server: OllamaServer, backend: OllamaBackend) -> None:
    assert sent(server, backend)["options"] == {"num_ctx": 4096, "num_predict": 4096}
    config = ModelConfig(model="stub", max_tokens=100, context_length=8192)
    assert sent(server, backend, config=config)["options"] == {"num_ctx": 8192, "num_predict": 100}


def test_options_are_sent_under_the_servers_names(server: OllamaServer, backend: OllamaBackend) -> None:
    config = ModelConfig(
        model="stub", temperature=0.5, max_tokens=10, top_p=0.9, top_k=40, frequency_penalty=0.1,
        presence_penalty=0.2, stop_sequences=("END",), seed=7, context_length=4096, timeout=3,
    )  # fmt: skip
    assert sent(server, backend, config=config)["options"] == {
        "num_ctx": 4096,
        "num_predict": 10,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
        "stop": ["END"],
    }


@pytest.mark.parametrize("think", [True, False, "high", None])
def test_think_is_sent_where_it_is_set(server: OllamaServer, backend: OllamaBackend, think: Any) -> None:
    body = sent(server, backend, model="thinking", config=ModelConfig(model="thinking", think=think))
    assert body.get("think") == think
    assert ("think" in body) is (think is not None)


def test_messages_that_do_not_fit_are_never_dropped_silently(server: OllamaServer, backend: OllamaBackend) -> None:
    assert sent(server, backend)["truncate"] is False


@pytest.mark.parametrize(("setting", "value"), [("5m", "5m"), ("300", 300), ("-1", -1), ("0", 0)])
def test_models_stay_in_memory_as_long_as_is_set(
    server: OllamaServer, backend: OllamaBackend, settings: Any, setting: str, value: Any
) -> None:
    settings.OLLAMA_KEEP_ALIVE = setting
    assert sent(server, backend)["keep_alive"] == value


def test_tools_and_a_schema_are_offered(server: OllamaServer, backend: OllamaBackend) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = sent(
        server, backend, tools=[ToolSchema(name="f", description="Adds.", parameters=schema)], response_schema=schema
    )
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "Adds.", "parameters": schema}}
    ]
    assert body["format"] == schema


def test_pictures_are_sent_without_a_head(server: OllamaServer, backend: OllamaBackend) -> None:
    message = ChatMessage(
        role="user", content="What is this?", images=[Image(media_type="image/png", data_base64="iVBO")]
    )
    assert sent(server, backend, messages=[message])["messages"] == [
        {"role": "user", "content": "What is this?", "images": ["iVBO"]}
    ]


def test_a_key_is_sent_where_there_is_one(server: OllamaServer, backend: OllamaBackend) -> None:
    sent(server, backend)
    assert "authorization" not in server.received[-1].headers
    with_key = BackendSettings(name="o", driver="ollama", base_url=server.base_url, api_key=KEY)
    sent(server, OllamaBackend(with_key))
    assert server.received[-1].headers["authorization"] == f"Bearer {KEY}"


QUESTION = ChatMessage(role="user", content="Add.")


def asked(*calls: RequestedCall, thinking: str = "") -> ChatMessage:
    return ChatMessage(role="assistant", tool_calls=calls, thinking=thinking)


def answer(name: str, content: str, call_id: str = "") -> ChatMessage:
    return ChatMessage(role="tool", name=name, content=content, tool_call_id=call_id)


def test_f20_calls_go_back_as_objects_and_their_answers_with_name_and_id(
    server: OllamaServer, backend: OllamaBackend
) -> None:
    history = [QUESTION, asked(call("call_a", "f", a=1), thinking="hm"), answer("f", "1", "call_a")]
    assert sent(server, backend, messages=history)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "call_a", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "call_a"},
    ]


def test_f20_calls_without_ids_get_ids_that_their_answers_share(server: OllamaServer, backend: OllamaBackend) -> None:
    history = [QUESTION, asked(call("", "f", a=1), call("", "f", a=2)), answer("f", "1"), answer("f", "2")]
    _, calls, *answers = sent(server, backend, messages=history)["messages"]
    ids = [made["id"] for made in calls["tool_calls"]]
    assert len(set(ids)) == 2
    assert [given["tool_call_id"] for given in answers] == ids


def test_f20_ids_that_repeat_in_later_turns_stay_apart(server: OllamaServer, backend: OllamaBackend) -> None:
    turn = [QUESTION, asked(call("call_a", "f")), answer("f", "1", "call_a")]
    messages = sent(server, backend, messages=[*turn, *turn])["messages"]
    ids = [messages[at]["tool_calls"][0]["id"] for at in (1, 4)]
    assert len(set(ids)) == 2
    assert [messages[at]["tool_call_id"] for at in (2, 5)] == ids


def test_f25_arguments_that_could_not_be_read_go_back_as_an_empty_object(
    server: OllamaServer, backend: OllamaBackend
) -> None:
    broken = RequestedCall(provider_id="call_a", name="f", arguments=None, raw_arguments='{"a":')
    history = [QUESTION, asked(broken), answer("f", "Error: the arguments are no JSON", "call_a")]
    assert sent(server, backend, messages=history)["messages"][1]["tool_calls"][0]["function"]["arguments"] == {}


def test_f20_two_turns_with_a_tool_between_them(server: OllamaServer, backend: OllamaBackend) -> None:
    first = backend.stream(chat("last-line-call"), Listener(), Cancellation())
    history = [QUESTION, ChatMessage(role="assistant", tool_calls=first.tool_calls), answer("f", "1")]
    assert backend.stream(chat("stub", messages=history), Listener(), Cancellation()).whole
    messages = server.received[-1].body["messages"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] != ""
