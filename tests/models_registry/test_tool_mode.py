"""Tools by way of a schema: what the model is told and held to, and what its reply is read as, however it comes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_registry import errors
from models_registry.backends.base import (
    Cancellation,
    ChatMessage,
    ChatRequest,
    DeltaType,
    FinishReason,
    Reply,
    RequestedCall,
    ToolSchema,
)
from models_registry.backends.fake import FakeBackend
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.backends.texts import clean
from models_registry.backends.tool_mode import SchemaToolBackend, schema
from models_registry.backends.tool_mode.answer import Reading
from models_registry.fakes.openai import DONE, OpenAIServer, completion, streamed
from tests.models_registry.conftest import Listener, chat

CONTENT = DeltaType.CONTENT
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolSchema(name="weather", description="The weather in a city.", parameters=CITY)
CLOCK = ToolSchema(name="clock", description="What time it is.", parameters={"type": "object", "properties": {}})
FAKE = SchemaToolBackend(FakeBackend(BackendSettings(name="fake", driver="fake")))


def play(*steps: dict[str, Any], tools: Sequence[ToolSchema] = (WEATHER, CLOCK)) -> tuple[Reply, Listener]:
    """The reply of a model that does these steps."""
    heard = Listener()
    request = chat("script", json.dumps({"script": steps}), tools=tools)
    return FAKE.stream(request, heard, Cancellation()), heard


def say(*pieces: str, then: Sequence[dict[str, Any]] = ()) -> tuple[Reply, Listener]:
    return play(*({"text": piece} for piece in pieces), *then)


def read(*pieces: str) -> tuple[str, RequestedCall | None, bool]:
    reading = Reading("call_1")
    heard = [text for piece in pieces for text in reading.feed(piece)]
    heard += reading.finish()
    assert "".join(heard) == reading.text
    return reading.text, reading.call, reading.complete


# What a reply is read as


def test_an_answer_is_streamed_as_it_comes() -> None:
    reply, heard = say('{"answ', 'er": "', "Hel", "lo", '\\n"', "}")
    assert heard.deltas == [(CONTENT, "Hel"), (CONTENT, "lo"), (CONTENT, "\n")]
    assert (reply.content, reply.whole, reply.finish_reason) == ("Hello\n", True, FinishReason.STOP)
    assert list(reply.tool_calls) == []


def test_of_a_call_nothing_is_shown() -> None:
    reply, heard = say('{"tool": "weat', 'her", "arguments": {"city": "Par', 'is"}}')
    assert heard.deltas == []
    assert reply.tool_calls == [RequestedCall(provider_id="call_1", name="weather", arguments={"city": "Paris"})]
    assert (reply.content, reply.whole, reply.finish_reason) == ("", True, FinishReason.TOOL_CALLS)


def test_thinking_is_passed_on() -> None:
    reply, heard = play({"thinking": "hm"}, {"text": '{"answer": "a"}'})
    assert heard.deltas == [(DeltaType.THINKING, "hm"), (CONTENT, "a")]
    assert reply.thinking == "hm"


@pytest.mark.parametrize("end", [{"cut": True}, {"finish": "length"}])
@pytest.mark.parametrize("text", ['{"tool": "clock", "arguments": {', '{"tool": "clock", "arguments": {}}'])
def test_a_call_of_a_reply_that_was_cut_off_is_none(text: str, end: dict[str, Any]) -> None:
    reply, heard = say(text, then=[end])
    assert (list(reply.tool_calls), reply.content, heard.deltas) == ([], "", [])
    assert (reply.whole, reply.finish_reason) == ((False, None) if "cut" in end else (True, FinishReason.LENGTH))


def test_the_text_of_an_answer_that_was_cut_off_is_kept() -> None:
    reply, heard = say('{"answer": "So far', then=[{"cut": True}])
    assert (reply.content, heard.text(), reply.whole) == ("So far", "So far", False)
    reply, _ = say('{"answer": "So far', then=[{"finish": "length"}])
    assert (reply.content, reply.whole, reply.finish_reason) == ("So far", True, FinishReason.LENGTH)


@pytest.mark.parametrize("text", ['{"answer": "So', '{"answer": "a\\', '{"tool": "clock"', "{", '{"answer": 7', "{{}"])
def test_json_that_is_broken_is_a_reply_that_is_not_whole(text: str) -> None:
    reply, _ = say(text)
    assert (reply.whole, reply.finish_reason, list(reply.tool_calls)) == (False, None, [])


def test_f22_arguments_that_are_no_object_are_kept_for_the_error_that_the_model_sees() -> None:
    reply, _ = say('{"tool": "weather", "arguments": ["Paris"]}')
    (call,) = reply.tool_calls
    assert (call.name, call.arguments, call.raw_arguments) == ("weather", None, '["Paris"]')


def test_f22_a_tool_that_was_not_offered_is_still_a_call() -> None:
    reply, _ = say('{"arguments": {"text": ""}, "tool": "write"}')
    (call,) = reply.tool_calls
    assert (call.name, call.arguments) == ("write", {"text": ""})


@pytest.mark.parametrize("text", ["Hello.", "  Hello {", "[1, 2]", "", "  ", "漢字", '"answer": "x"', '{"other": 1}'])
def test_text_of_a_server_that_ignores_the_schema_is_an_answer(text: str) -> None:
    reply, heard = say(text)
    assert (reply.content, heard.text(), reply.whole, reply.finish_reason) == (text, text, True, FinishReason.STOP)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


PLACES = st.lists(st.integers(0, 500), max_size=10)
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from('"\\/\b\f\n\r\t🎈\x00{}')), max_size=60)
ARGUMENTS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.none(), st.lists(TEXTS, max_size=3)), max_size=4)


@given(TEXTS, st.booleans(), st.sampled_from([None, 2]), PLACES)
def test_an_answer_is_the_same_however_it_is_cut(
    text: str, ascii_only: bool, indent: int | None, places: list[int]
) -> None:
    written = json.dumps({"answer": text}, ensure_ascii=ascii_only, indent=indent)
    assert read(*cut(written, places)) == (clean(text), None, True)


@given(TEXTS, ARGUMENTS, st.booleans(), PLACES)
def test_a_call_is_the_same_however_it_is_cut(
    name: str, arguments: dict[str, Any], ascii_only: bool, places: list[int]
) -> None:
    written = json.dumps({"tool": name, "arguments": arguments}, ensure_ascii=ascii_only)
    text, call, complete = read(*cut(written, places))
    assert (text, complete) == ("", True)
    assert call == read(written)[1]
    assert call is not None
    assert call.name == clean(name)


@given(st.text(st.sampled_from('{}"\\:,answertol u00d83de \n1'), max_size=40), PLACES)
def test_anything_at_all_is_read_alike_however_it_is_cut(written: str, places: list[int]) -> None:
    assert read(*cut(written, places)) == read(written)
    assert read(*written) == read(written)


@given(st.text(st.sampled_from('ab"\\/nu0d83e'), max_size=30), PLACES)
def test_the_inside_of_an_answer_is_read_as_json_reads_it(inside: str, places: list[int]) -> None:
    written = f'{{"answer": "{inside}"}}'
    try:
        expected = json.loads(written)["answer"]
    except (ValueError, KeyError):
        return
    assert read(*cut(written, places))[0] == clean(expected)


# What the model is told


def asked(server: OpenAIServer, *messages: ChatMessage, **values: Any) -> dict[str, Any]:
    """The request that reaches the server."""
    server.scripts["schema"] = streamed(
        completion(delta={"content": '{"answer": "a"}'}), completion(finish_reason="stop"), DONE
    )
    backend = SchemaToolBackend(
        OpenAIBackend(BackendSettings(name="openai", driver="openai", base_url=server.base_url, api_key=""))
    )
    request = chat("schema", **({"messages": messages} if messages else {}), **{"tools": [WEATHER, CLOCK], **values})
    backend.stream(request, Listener(), Cancellation())
    body: dict[str, Any] = server.received[-1].body
    return body


def test_the_tools_are_told_at_the_end_of_the_system_prompt(server: OpenAIServer) -> None:
    body = asked(server, ChatMessage(role="system", content="Be kind."), ChatMessage(role="user", content="Hello"))
    system, user = body["messages"]
    assert system["content"].startswith("Be kind.\n\nReply with one JSON object")
    assert '{"answer": "TEXT"}' in system["content"]
    assert f"- weather: The weather in a city.\n  arguments: {json.dumps(CITY)}\n- clock:" in system["content"]
    assert user == {"role": "user", "content": "Hello"}
    assert "tools" not in body


def test_without_a_system_prompt_the_tools_have_one_of_their_own(server: OpenAIServer) -> None:
    system, _ = asked(server)["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("Reply with one JSON object")


def test_the_reply_is_held_to_one_of_the_tools_or_an_answer(server: OpenAIServer) -> None:
    held = asked(server)["response_format"]["json_schema"]["schema"]
    for fits in (
        {"tool": "weather", "arguments": {"city": "Paris"}},
        {"tool": "clock", "arguments": {}},
        {"answer": ""},
    ):
        jsonschema.validate(fits, held)
    for does_not in ({"tool": "clock", "arguments": {"city": "Paris"}}, {"tool": "other", "arguments": {}},
                     {"tool": "weather"}, {"answer": "a", "tool": "clock", "arguments": {}}, {}):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(does_not, held)


def test_the_answer_can_be_left_out_until_the_last_turn(server: OpenAIServer) -> None:
    body = asked(server, answer_allowed=False)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"answer": "a"}, body["response_format"]["json_schema"]["schema"])
    assert "answer" not in body["messages"][0]["content"]


CALLED = ChatMessage(
    role="assistant",
    content="Let me see.",
    tool_calls=[
        RequestedCall(provider_id="1", name="weather", arguments={"city": "Zürich"}),
        RequestedCall(provider_id="2", name="clock", arguments=None, raw_arguments="{"),
    ],
)
PAST = [
    ChatMessage(role="user", content="And now?"),
    CALLED,
    ChatMessage(role="tool", name="weather", tool_call_id="1", content="Rain."),
    ChatMessage(role="tool", name="clock", tool_call_id="2", content="Error: no."),
    ChatMessage(role="assistant", content="It rains."),
    ChatMessage(role="user", content="Thanks."),
]
RESULTS = {"role": "user", "content": "Result of weather:\nRain.\n\nResult of clock:\nError: no."}
CALLS = '{"tool": "weather", "arguments": {"city": "Zürich"}}\n{"tool": "clock", "arguments": {}}'


def test_the_past_is_told_as_if_the_model_had_always_replied_so(server: OpenAIServer) -> None:
    _, *told = asked(server, *PAST)["messages"]
    assert told == [
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": '{"answer": "Let me see."}\n' + CALLS},
        RESULTS,
        {"role": "assistant", "content": '{"answer": "It rains."}'},
        {"role": "user", "content": "Thanks."},
    ]


def test_a_result_at_the_end_is_the_last_message(server: OpenAIServer) -> None:
    assert asked(server, *PAST[:4])["messages"][-1] == RESULTS


def test_without_tools_only_calls_of_the_past_are_told_otherwise(server: OpenAIServer) -> None:
    body = asked(server, *PAST, tools=())
    assert "response_format" not in body
    assert [message["content"] for message in body["messages"]] == [
        "And now?", "Let me see.\n" + CALLS, RESULTS["content"], "It rains.", "Thanks.",
    ]  # fmt: skip


def test_without_tools_a_reply_is_passed_on_as_it_is() -> None:
    reply, heard = play({"text": '{"answer": "a"}'}, tools=())
    assert reply.content == heard.text() == '{"answer": "a"}'


def test_tools_and_a_schema_for_the_answer_exclude_each_other() -> None:
    request: ChatRequest = replace(chat("echo"), tools=[CLOCK], response_schema=CITY)
    with pytest.raises(errors.BadRequest, match="at once"):
        FAKE.stream(request, Listener(), Cancellation())


def test_it_says_that_it_can_call_tools() -> None:
    inner = OpenAIBackend(BackendSettings(name="embedded", driver="openai", function_calling=False))
    backend = SchemaToolBackend(inner)
    assert (inner.capabilities.function_calling, backend.capabilities.function_calling) == (False, True)
    assert (backend.name, backend.driver) == ("embedded", "openai")
    assert FAKE.health().status == "available"
    assert "echo" in [model.name for model in FAKE.models()]


# What a tool's schema becomes


def simplified(parameters: dict[str, Any]) -> Any:
    held = schema.of_reply([ToolSchema(name="t", description="", parameters=parameters)], answer_allowed=False)
    jsonschema.Draft202012Validator.check_schema(held)
    return held["properties"]["arguments"]


def one(part: dict[str, Any], **root: Any) -> Any:
    """What becomes of one property's schema."""
    return simplified({"type": "object", "properties": {"p": part}, **root})["properties"]["p"]


ANY = {"type": ["string", "number", "boolean", "object", "array", "null"]}


@pytest.mark.parametrize(
    ("part", "becomes"),
    [
        ({"type": "string", "description": "d", "pattern": "^[a-z]+$", "default": "x"}, {"type": "string"}),
        ({"type": "string", "minLength": 1, "maxLength": 10**6}, {"type": "string", "minLength": 1}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "email"}, {"type": "string"}),
        ({"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2},
         {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number"}),
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"enum": ["a", 1, None], "description": "d"}, {"enum": ["a", 1, None]}),
        ({"const": "x", "type": "string"}, {"const": "x"}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"oneOf": [{"type": "string"}, {"not": {}}]}, {"anyOf": [{"type": "string"}, ANY]}),
        ({"type": "array", "items": {"type": "string", "pattern": "x"}, "uniqueItems": True, "minItems": 1},
         {"type": "array", "items": {"type": "string"}, "minItems": 1}),
        ({"type": "array", "minItems": 3}, {"type": "array"}),
        ({"items": {"type": "null"}}, {"type": "array", "items": {"type": "null"}}),
        ({}, ANY), (True, ANY), ({"description": "anything"}, ANY), ({"type": "widget"}, ANY),
        ({"if": {}, "then": {}}, ANY),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "object", "additionalProperties": {"type": "integer"}},
         {"type": "object", "additionalProperties": {"type": "integer"}}),
        ({"properties": {"a": {"type": "null"}}, "required": ["a", "b", 7], "patternProperties": {"x": {}}},
         {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"], "additionalProperties": False}),
        ({"allOf": [{"properties": {"a": {"type": "null"}}},
                    {"properties": {"b": {"type": "null"}}, "required": ["b"]}]},
         {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "required": ["b"],
          "additionalProperties": False}),
    ],
)  # fmt: skip
def test_what_converters_do_not_know_is_left_out(part: Any, becomes: dict[str, Any]) -> None:
    assert one(part) == becomes


def test_references_are_replaced_by_what_they_refer_to() -> None:
    definitions = {"a/b": {"type": "integer"}, "tree": {"properties": {"left": {"$ref": "#/$defs/tree"}}}}
    assert one({"$ref": "#/$defs/a~1b"}, **{"$defs": definitions}) == {"type": "integer"}
    assert one({"$ref": "#/$defs/tree"}, **{"$defs": definitions})["properties"]["left"] == ANY
    assert one({"$ref": "#/$defs/nowhere"}) == one({"$ref": "https://example.org/x"}) == one({"$ref": 7}) == ANY


def test_references_that_multiply_do_not_grow_without_limit() -> None:
    doubling = {f"d{n}": {"properties": {side: {"$ref": f"#/$defs/d{n + 1}"} for side in "ab"}} for n in range(60)}
    made = simplified({"type": "object", "properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": doubling})
    assert len(json.dumps(made)) < 500_000


def test_depth_does_not_grow_without_limit() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        deep = {"properties": {"p": deep}}
    assert len(json.dumps(simplified(deep))) < 10_000


@pytest.mark.parametrize(
    "parameters", [{}, {"type": "string"}, {"$ref": "#/$defs/s", "$defs": {"s": {"type": "null"}}}]
)
def test_arguments_are_an_object_whatever_the_tool_says(parameters: dict[str, Any]) -> None:
    assert simplified(parameters) == {"type": "object"}


def test_a_tool_without_arguments_has_none() -> None:
    assert simplified({"type": "object", "properties": {}})["properties"] == {}
