"""The driver against a server that refuses what Anthropic refuses."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends.anthropic import AnthropicBackend
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
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.anthropic import (
    SIGNED,
    STOP,
    AnthropicServer,
    begin,
    block,
    ending,
    error,
    event,
    text,
    thinking,
    tool_use,
)
from models_registry.fakes.anthropic_rules import signature
from models_registry.fakes.http import document
from models_registry.fakes.openai import streamed
from tests.models_registry.conftest import KEY, Listener, chat

CONTENT, THINKING = DeltaType.CONTENT, DeltaType.THINKING
THINKER = "claude-sonnet-4-5"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [ToolSchema(name=name, description="Does it.", parameters=SCHEMA) for name in ("f", "g")]


@pytest.fixture(scope="module")
def stub() -> Iterator[AnthropicServer]:
    with AnthropicServer() as server:
        yield server


@pytest.fixture
def server(stub: AnthropicServer) -> AnthropicServer:
    stub.received.clear()
    return stub


@pytest.fixture
def backend(server: AnthropicServer) -> AnthropicBackend:
    return AnthropicBackend(
        BackendSettings(name="anthropic", driver="anthropic", base_url=server.base_url, api_key=KEY)
    )


def play(server: AnthropicServer, backend: AnthropicBackend, *events: bytes, **request: Any) -> tuple[Reply, Listener]:
    """The reply to a stream of these events."""
    server.scripts["played"] = streamed(*events)
    heard = Listener()
    return backend.stream(chat("played", **request), heard, Cancellation()), heard


def failure(backend: AnthropicBackend, model: str, **request: Any) -> tuple[errors.BackendError, Listener]:
    heard = Listener()
    with pytest.raises(errors.BackendError) as raised:
        backend.stream(chat(model, **request), heard, Cancellation())
    return raised.value, heard


def sent(server: AnthropicServer, backend: AnthropicBackend, model: str = "stub", **request: Any) -> dict[str, Any]:
    """The body of a request, which the server took."""
    server.scripts.setdefault(model, server.scripts["stub"])
    config = ModelConfig(model=model, **request.pop("config", {}))
    backend.stream(chat(config=config, **request), Listener(), Cancellation())
    body: dict[str, Any] = server.received[-1].body
    return body


def call(provider_id: str, name: str, **arguments: Any) -> RequestedCall:
    return RequestedCall(provider_id=provider_id, name=name, arguments=arguments)


def asked(text: str = "Go") -> ChatMessage:
    return ChatMessage(role="user", content=text)


def answer(call_id: str, name: str, text: str) -> ChatMessage:
    return ChatMessage(role="tool", name=name, tool_call_id=call_id, content=text)


# What a reply is made of


def test_thinking_and_a_call_are_understood(backend: AnthropicBackend) -> None:
    heard = Listener()
    reply = backend.stream(chat("stub-thinking"), heard, Cancellation())
    assert heard.deltas == [(THINKING, "h"), (THINKING, "m")]
    assert (reply.thinking, reply.content, list(reply.tool_calls)) == ("hm", "", [call("toolu_1", "f", a=1)])
    assert (reply.finish_reason, reply.whole, reply.model) == (FinishReason.TOOL_CALLS, True, "stub")
    assert reply.usage == Usage(prompt=12, completion=20)


def test_f09_usage_counts_what_was_cached(server: AnthropicServer, backend: AnthropicBackend) -> None:
    counts = {"input_tokens": 5, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 100, "output_tokens": 1}
    details = {"output_tokens": 9, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 4}}
    reply, _ = play(server, backend, begin(counts), *text(0, "So"), *ending("end_turn", details))
    assert reply.usage == Usage(prompt=135, completion=9, cached=100, reasoning=4)


def test_f09_counts_of_the_last_event_replace_the_first(server: AnthropicServer, backend: AnthropicBackend) -> None:
    reply, _ = play(server, backend, begin(), *ending("end_turn", {"input_tokens": 40, "output_tokens": 2}))
    assert reply.usage == Usage(prompt=40, completion=2)


def test_f09_usage_of_a_stream_that_broke_off_is_estimated(server: AnthropicServer, backend: AnthropicBackend) -> None:
    reply, _ = play(server, backend, begin(), *text(0, "Half of it"))
    assert reply.usage is not None
    assert (reply.usage.estimated, reply.usage.completion) == (True, 3)


@pytest.mark.parametrize(
    ("stop_reason", "kept"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("something_new", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
    ],
)
def test_f25_stop_reasons_are_kept(
    server: AnthropicServer, backend: AnthropicBackend, stop_reason: str, kept: FinishReason
) -> None:
    reply, _ = play(server, backend, begin(), *text(0, "So"), *ending(stop_reason))
    assert (reply.finish_reason, reply.whole, reply.content) == (kept, True, "So")


def test_f25_a_turn_that_is_paused_is_not_whole(server: AnthropicServer, backend: AnthropicBackend) -> None:
    reply, _ = play(server, backend, begin(), *text(0, "So"), *ending("pause_turn"))
    assert (reply.whole, reply.finish_reason) == (False, None)


def test_f25_a_window_that_leaves_no_room_for_a_word_is_exceeded(backend: AnthropicBackend) -> None:
    assert type(failure(backend, "window-full")[0]) is errors.ContextWindowExceeded


def test_f25_without_its_last_event_a_stream_is_not_whole(server: AnthropicServer, backend: AnthropicBackend) -> None:
    reply, _ = play(server, backend, begin(), *tool_use(0, "toolu_1", "f", "{}"), ending("tool_use")[0])
    assert reply.whole is False
    assert [made.arguments for made in reply.tool_calls] == [None]
    assert reply.provider_data == {}


@pytest.mark.parametrize("partial", ["", '{"a":'])
def test_f25_a_call_that_the_limit_cut_is_not_run(
    server: AnthropicServer, backend: AnthropicBackend, partial: str
) -> None:
    events = [*tool_use(0, "toolu_1", "f", '{"a":1}'), *tool_use(1, "toolu_2", "g", partial)]
    reply, _ = play(server, backend, begin(), *events, *ending("max_tokens"))
    assert [made.arguments for made in reply.tool_calls] == [{"a": 1}, None]
    assert (reply.finish_reason, reply.tool_calls[1].raw_arguments) == (FinishReason.LENGTH, partial)


def test_calls_of_a_reply_that_is_refused_are_not_run(server: AnthropicServer, backend: AnthropicBackend) -> None:
    reply, _ = play(server, backend, begin(), *tool_use(0, "toolu_1", "f", "{}"), *ending("refusal"))
    assert [made.arguments for made in reply.tool_calls] == [None]


ODD: dict[str, list[bytes]] = {
    "an unknown event": [event({"type": "surprise", "a": 1})],
    "an unknown block": block(7, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
    "an unknown delta": block(7, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": {}}),
    "a delta of no block": [
        event({"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}})
    ],
    "a delta of another kind of block": block(7, {"type": "text", "text": ""}, {"type": "thinking_delta"}),
    "the end of no block": [event({"type": "content_block_stop", "index": 9})],
    "a block that is null": [event({"type": "content_block_start", "index": 9, "content_block": None})],
    "a ping": [event({"type": "ping"})],
    "text that is null": block(7, {"type": "text", "text": None}, {"type": "text_delta", "text": None}),
    "no name of the event": [event({"type": "ping"}).split(b"\n", 1)[1]],
}


@pytest.mark.parametrize("events", ODD.values(), ids=ODD.keys())
def test_what_is_unknown_is_ignored(server: AnthropicServer, backend: AnthropicBackend, events: list[bytes]) -> None:
    reply, heard = play(server, backend, begin(), *events, *text(0, "Yes"), *events, *ending())
    assert (reply.content, reply.whole, list(reply.tool_calls)) == ("Yes", True, [])
    assert heard.text() == "Yes"


def test_text_in_the_first_event_of_a_block_counts(server: AnthropicServer, backend: AnthropicBackend) -> None:
    reply, _ = play(server, backend, begin(), *block(0, {"type": "text", "text": "Yes"}), *ending())
    assert reply.content == "Yes"


def test_a_server_that_does_not_stream_is_understood(server: AnthropicServer, backend: AnthropicBackend) -> None:
    content = [SIGNED, {"type": "text", "text": "Yes"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]
    message = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 3}}
    server.scripts["whole"] = document(200, message)
    reply = backend.stream(chat("whole"), Listener(), Cancellation())
    assert (reply.thinking, reply.content, list(reply.tool_calls)) == ("hm", "Yes", [call("t", "f", a=1)])
    assert (reply.whole, reply.usage) == (True, Usage(prompt=3))


# What goes wrong


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("http-400", errors.BadRequest),
        ("http-401", errors.Unauthorized),
        ("http-402", errors.Unauthorized),
        ("http-404", errors.ModelNotFound),
        ("http-413", errors.BadRequest),
        ("http-429", errors.RateLimited),
        ("http-429-spent", errors.Unauthorized),
        ("http-500", errors.BackendError),
        ("http-529", errors.BackendError),
        ("context", errors.ContextWindowExceeded),
    ],
)
def test_failures_have_their_kind(backend: AnthropicBackend, model: str, kind: type[errors.BackendError]) -> None:
    failed, _ = failure(backend, model)
    assert type(failed) is kind


def test_rate_limits_say_how_long_and_spent_money_that_no_wait_helps(backend: AnthropicBackend) -> None:
    limited, spent = failure(backend, "http-429")[0], failure(backend, "http-429-spent")[0]
    assert (limited.permanent, limited.retry_after_seconds) == (False, 7)
    assert (spent.permanent, spent.message) == (True, "The account at anthropic has no credit left.")


@pytest.mark.parametrize(
    "message",
    ["Your credit balance is too low to access the API.", "You have reached your specified API usage limits."],
)
def test_a_400_about_money_says_so(server: AnthropicServer, backend: AnthropicBackend, message: str) -> None:
    server.scripts["poor"] = document(400, error("invalid_request_error", message))
    assert "no credit" in failure(backend, "poor")[0].message


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", errors.BackendError),
        ("api_error", errors.BackendError),
        ("rate_limit_error", errors.RateLimited),
        ("authentication_error", errors.Unauthorized),
        ("billing_error", errors.Unauthorized),
        ("invalid_request_error", errors.BadRequest),
        ("request_too_large", errors.BadRequest),
    ],
)
def test_f25_an_error_in_the_stream_fails_the_call(
    server: AnthropicServer, backend: AnthropicBackend, kind: str, expected: type[errors.BackendError]
) -> None:
    server.scripts["bad"] = streamed(begin(), *text(0, "So "), event(error(kind, "it broke")), event(STOP))
    failed, heard = failure(backend, "bad")
    assert type(failed) is expected
    assert heard.text() == "So "
    assert "it broke" in failed.detail


# What is sent


def test_the_key_and_the_version_are_sent(server: AnthropicServer, backend: AnthropicBackend) -> None:
    sent(server, backend)
    headers = server.received[-1].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert "authorization" not in headers


def test_a_limit_is_always_sent_and_the_system_prompt_stands_apart(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    system = [ChatMessage(role="system", content=content) for content in ("Be kind.", "Be brief.")]
    body = sent(server, backend, messages=[*system, asked("Hello")])
    assert body == {
        "model": "stub",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "stream": True,
        "system": "Be kind.\n\nBe brief.",
    }


def test_messages_of_one_role_are_one_and_blank_ones_none(server: AnthropicServer, backend: AnthropicBackend) -> None:
    said = ChatMessage(role="assistant", content=" \n")
    body = sent(server, backend, messages=[asked("One"), said, asked("two")])
    assert [[block["text"] for block in message["content"]] for message in body["messages"]] == [["One", "two"]]


def test_a_history_that_begins_with_an_answer_gets_a_question(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    body = sent(server, backend, messages=[ChatMessage(role="assistant", content="So."), asked("Go on")])
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_an_image_goes_before_its_text(server: AnthropicServer, backend: AnthropicBackend) -> None:
    image = Image(media_type="image/png", data_base64="iVBORw0=")
    body = sent(server, backend, messages=[replace(asked("What is it?"), images=[image])])
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}},
        {"type": "text", "text": "What is it?"},
    ]


def history(first: str, second: str, *rest: ChatMessage, **said: Any) -> list[ChatMessage]:
    calls = [call(first, "f", a=1), call(second, "g", a=2)]
    return [
        asked("Do both."),
        ChatMessage(role="assistant", content="I will.", tool_calls=calls, **said),
        answer(first, "f", "one"),
        answer(second, "g", "two"),
        *rest,
    ]


def results(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and id or text of each block of the message after the calls."""
    return [(item["type"], item.get("tool_use_id") or item["text"]) for item in body["messages"][2]["content"]]


@pytest.mark.parametrize(("first", "second"), [("toolu_a", "toolu_b"), ("", ""), ("call_0", "call_0")])
def test_f20_every_result_answers_its_call(
    server: AnthropicServer, backend: AnthropicBackend, first: str, second: str
) -> None:
    body = sent(server, backend, messages=history(first, second), tools=TOOLS)
    ids = [item["id"] for item in body["messages"][1]["content"] if item["type"] == "tool_use"]
    assert len(set(ids)) == 2
    assert results(body) == [("tool_result", ids[0]), ("tool_result", ids[1])]
    assert [item["content"][0]["text"] for item in body["messages"][2]["content"]] == ["one", "two"]


def test_f20_results_come_before_what_a_user_adds(server: AnthropicServer, backend: AnthropicBackend) -> None:
    question, said, one, two = history("a", "b")
    body = sent(server, backend, messages=[question, said, asked("Wait"), one, asked("and"), two], tools=TOOLS)
    assert results(body) == [("tool_result", "a"), ("tool_result", "b"), ("text", "Wait"), ("text", "and")]


@pytest.mark.parametrize("last", [[], [asked("Never mind")]])
def test_f20_a_call_without_an_answer_gets_one(
    server: AnthropicServer, backend: AnthropicBackend, last: Sequence[ChatMessage]
) -> None:
    body = sent(server, backend, messages=[*history("a", "b")[:3], *last], tools=TOOLS)
    assert results(body)[:2] == [("tool_result", "a"), ("tool_result", "b")]
    assert "no answer" in body["messages"][2]["content"][1]["content"][0]["text"]
    sent(server, backend, messages=[*history("a", "b")[:2], *last], tools=TOOLS)


def test_f20_an_answer_that_is_empty_is_sent(server: AnthropicServer, backend: AnthropicBackend) -> None:
    messages = [asked(), ChatMessage(role="assistant", tool_calls=[call("a", "f")]), answer("a", "f", "")]
    body = sent(server, backend, messages=messages, tools=TOOLS)
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_f20_two_turns_with_a_tool_between_them(server: AnthropicServer, backend: AnthropicBackend) -> None:
    first = backend.stream(chat("stub-tool", messages=[asked()], tools=TOOLS), Listener(), Cancellation())
    [made] = first.tool_calls
    said = ChatMessage(role="assistant", content=first.content, tool_calls=first.tool_calls)
    body = sent(server, backend, messages=[asked(), said, answer(made.provider_id, "f", "42")], tools=TOOLS)
    assert results(body) == [("tool_result", "toolu_1")]


def test_tools_are_offered_in_the_providers_shape(server: AnthropicServer, backend: AnthropicBackend) -> None:
    body = sent(server, backend, tools=[ToolSchema(name="f", description="Does it.", parameters={})])
    assert body["tools"] == [{"name": "f", "description": "Does it.", "input_schema": {"type": "object"}}]
    assert "tool_choice" not in body


def test_tools_that_are_gone_are_named_and_not_called(server: AnthropicServer, backend: AnthropicBackend) -> None:
    body = sent(server, backend, messages=history("a", "b"))
    assert [tool["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tool_choice"] == {"type": "none"}


# Thinking


def thought(server: AnthropicServer, backend: AnthropicBackend) -> tuple[Reply, ChatMessage]:
    """A reply that thinks between its words and its calls, and the message that is kept of it."""
    redacted = block(1, {"type": "redacted_thinking", "data": "Ej=="})
    calls = [*tool_use(4, "a", "f", "{}"), *thinking(5, "again"), *tool_use(6, "b", "g", "{}")]
    words = [*text(2, "First ", "this. "), *thinking(3), *calls, *text(7, "Then that.")]
    reply, _ = play(server, backend, begin(), *thinking(0, "h", "m"), *redacted, *words, *ending("tool_use"))
    said = ChatMessage(
        role="assistant",
        content=reply.content,
        thinking=reply.thinking,
        tool_calls=reply.tool_calls,
        provider_data=reply.provider_data,
    )
    return reply, said


def test_signed_thinking_goes_back_as_it_came_and_in_its_place(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    reply, said = thought(server, backend)
    assert reply.content == "First this. Then that."
    messages = [asked(), said, answer("a", "f", "one"), answer("b", "g", "two"), asked("and hurry")]
    body = sent(server, backend, THINKER, messages=messages, tools=TOOLS, config={"think": True})
    assert body["messages"][1]["content"] == [
        SIGNED,
        {"type": "redacted_thinking", "data": "Ej=="},
        {"type": "text", "text": "First this. "},
        {"type": "thinking", "thinking": "", "signature": signature("")},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "thinking", "thinking": "again", "signature": signature("again")},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        {"type": "text", "text": "Then that."},
    ]


def test_what_is_kept_of_a_reply_can_be_stored_as_json_and_holds_no_text_twice(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    reply, _ = thought(server, backend)
    kept = reply.provider_data["anthropic_blocks"]
    assert [item["type"] for item in kept if item["type"] in ("text", "tool_use")] == [
        "text", "tool_use", "tool_use", "text",
    ]  # fmt: skip
    assert "First" not in str(kept)


def test_a_text_that_is_not_the_one_of_the_reply_goes_back_in_one_piece(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    _, said = thought(server, backend)
    told = replace(said, content="I called both.", tool_calls=())
    body = sent(server, backend, messages=[asked(), told, asked("one, two")])
    assert body["messages"][1]["content"] == [{"type": "text", "text": "I called both."}]


def test_thinking_about_an_earlier_question_stays_behind(server: AnthropicServer, backend: AnthropicBackend) -> None:
    _, said = thought(server, backend)
    end = ChatMessage(role="assistant", content="Done.")
    messages = [asked(), said, answer("a", "f", "one"), answer("b", "g", "two"), end, asked("And now?")]
    body = sent(server, backend, THINKER, messages=messages, tools=TOOLS, config={"think": True})
    kinds = [item["type"] for item in body["messages"][1]["content"]]
    assert kinds == ["text", "tool_use", "tool_use", "text"]


def test_thinking_of_the_newest_models_stays_behind_with_its_prompt(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    _, said = thought(server, backend)
    answered = [asked(), said, answer("a", "f", "one"), answer("b", "g", "two")]
    for model, last, goes_back in (
        ("claude-opus-5-5", [], True),
        ("claude-opus-5-5", [asked("And now?")], False),
        (THINKER, [asked("And now?")], True),
    ):
        body = sent(server, backend, model, messages=[*answered, *last], tools=TOOLS)
        assert (SIGNED in body["messages"][1]["content"]) is goes_back, (model, last)


def test_thinking_without_a_signature_does_not_go_back(server: AnthropicServer, backend: AnthropicBackend) -> None:
    unsigned = block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "hm"})
    reply, _ = play(server, backend, begin(), *unsigned, *text(1, "Yes"), *ending())
    assert (reply.thinking, reply.provider_data) == ("hm", {})


def test_a_turn_that_began_without_thinking_goes_on_without(server: AnthropicServer, backend: AnthropicBackend) -> None:
    messages = [*history("a", "b"), ChatMessage(role="assistant", content="Both are done."), asked("And now?")]
    for seen, thinks in ((messages[:4], False), (messages, True)):
        body = sent(server, backend, THINKER, messages=seen, tools=TOOLS, config={"think": True})
        assert ("thinking" in body) is thinks


def test_a_turn_that_began_with_thinking_goes_on_with_it(server: AnthropicServer, backend: AnthropicBackend) -> None:
    _, said = thought(server, backend)
    more = ChatMessage(role="assistant", tool_calls=[call("c", "f")])
    messages = [asked(), said, answer("a", "f", "one"), answer("b", "g", "two"), more, answer("c", "f", "three")]
    body = sent(server, backend, THINKER, messages=messages, tools=TOOLS, config={"think": True})
    assert body["thinking"]["type"] == "enabled"


def test_the_fake_server_notices_thinking_that_was_changed(server: AnthropicServer, backend: AnthropicBackend) -> None:
    _, said = thought(server, backend)
    changed = replace(said, provider_data={"anthropic_blocks": [{**SIGNED, "thinking": "other"}]})
    messages = [asked(), changed, answer("a", "f", "one"), answer("b", "g", "two")]
    failed, _ = failure(backend, "stub", messages=messages, tools=TOOLS)
    assert type(failed) is errors.BadRequest
    assert "signature" in failed.detail


@pytest.mark.parametrize(
    ("model", "think", "expected"),
    [
        (THINKER, True, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (THINKER, "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (THINKER, "max", {"thinking": {"type": "enabled", "budget_tokens": 3600}}),
        (THINKER, False, {}),
        (THINKER, None, {}),
        ("claude-opus-4-6", True, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (
            "claude-opus-5-5",
            "low",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        ("claude-opus-4-7", False, {}),
        ("claude-opus-5", False, {"thinking": {"type": "disabled"}}),
    ],
)
def test_each_model_is_asked_to_think_in_its_way(
    server: AnthropicServer, backend: AnthropicBackend, model: str, think: Any, expected: dict[str, Any]
) -> None:
    body = sent(server, backend, model, config={"think": think, "max_tokens": 4000})
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


def test_too_small_a_limit_leaves_no_room_to_think(server: AnthropicServer, backend: AnthropicBackend) -> None:
    assert "thinking" not in sent(server, backend, THINKER, config={"think": True, "max_tokens": 1024})


# Structured output


def test_an_answer_is_constrained_to_a_schema_that_the_provider_takes(
    server: AnthropicServer, backend: AnthropicBackend
) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {
            "count": {"type": "integer", "minimum": 1, "description": "How many."},
            "mail": {"type": "string", "format": "email", "pattern": ".+"},
            "names": {"type": "array", "minItems": 1, "items": {"type": "object", "additionalProperties": True}},
            "either": {"oneOf": [{"const": 1}, {"$ref": "#/$defs/x"}]},
        },
        "required": ["count"],
        "$defs": {"x": {"type": "null"}},
    }
    body = sent(server, backend, response_schema=schema)
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "count": {"type": "integer", "description": 'How many.\n\nMust fit {"minimum": 1}'},
                "mail": {"type": "string", "format": "email", "description": 'Must fit {"pattern": ".+"}'},
                "names": {"type": "array", "minItems": 1, "items": empty},
                "either": {"anyOf": [{"const": 1}, {"$ref": "#/$defs/x"}]},
            },
            "additionalProperties": False,
            "required": ["count"],
            "$defs": {"x": {"type": "null"}},
        },
    }


# Models and health


def test_every_page_of_the_models_is_listed(server: AnthropicServer, backend: AnthropicBackend) -> None:
    server.page_models = 3
    listed = backend.models()
    assert [model.name for model in listed] == list(server.scripts)
    assert len(server.received) == -(-len(server.scripts) // 3)
    first = listed[0]
    assert (first.context_length, first.capabilities) == (200_000, ["completion", "tools", "vision"])
    assert first.modified_at is not None


def test_a_server_that_tells_ids_only_is_understood(
    server: AnthropicServer, backend: AnthropicBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = document(200, {"data": [{"id": "m"}, {"id": ""}, None]})
    monkeypatch.setattr(server, "models_script", lambda asked: listed)
    [model] = backend.models()
    assert (model.name, model.context_length, model.capabilities, model.modified_at) == ("m", 0, None, None)


def test_health_is_asked_for_with_the_key(server: AnthropicServer, backend: AnthropicBackend) -> None:
    assert backend.health().status == "available"
    without = AnthropicBackend(BackendSettings(name="anthropic", driver="anthropic", base_url=server.base_url))
    assert without.health().status == "misconfigured"
