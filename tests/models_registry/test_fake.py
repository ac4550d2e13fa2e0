import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends.base import Cancellation, ChatMessage, DeltaType, FinishReason, Reply, Usage
from models_registry.backends.fake import FakeBackend
from models_registry.backends.settings import BackendSettings
from tests.models_registry.conftest import PATIENT, Calling, Listener, chat
from tests.waiting import eventually

CONTENT, THINKING = DeltaType.CONTENT, DeltaType.THINKING
BACKEND = FakeBackend(BackendSettings(name="fake", driver="fake"))


def say(model: str, text: str, *later: ChatMessage) -> tuple[Reply, Listener]:
    heard = Listener()
    request = chat(model, messages=[ChatMessage(role="user", content=text), *later])
    return BACKEND.stream(request, heard, Cancellation()), heard


def script(*steps: dict[str, Any]) -> tuple[Reply, Listener]:
    return say("script", json.dumps({"script": steps}))


@pytest.mark.parametrize("text", ["one two", "  led by blanks", "two  blanks ", "", "\n", "line\nbreak 漢字 🎈"])
def test_echo_repeats_the_last_user_message_word_by_word(text: str) -> None:
    reply, heard = say("echo", text)
    assert reply.content == heard.text() == text
    assert len(heard.deltas) >= len(text.split())
    assert (reply.whole, reply.finish_reason) == (True, FinishReason.STOP)


def test_slow_counts_with_pauses() -> None:
    began = time.monotonic()
    reply, heard = say("slow", '{"chunks": 3, "delay_ms": 10}')
    assert (reply.content, len(heard.deltas)) == ("1 2 3 ", 3)
    assert time.monotonic() - began >= 0.03


def test_a_script_is_played_in_order() -> None:
    reply, heard = script({"thinking": "hm"}, {"text": "a "}, {"delay_ms": 1}, {"text": "b"})
    assert heard.deltas == [(THINKING, "hm"), (CONTENT, "a "), (CONTENT, "b")]
    assert (reply.thinking, reply.content) == ("hm", "a b")


def test_it_asks_for_tools() -> None:
    reply, _ = script(
        {"tool_call": {"name": "f", "arguments": {"a": 1}}},
        {"tool_call": {"name": "g", "arguments": '{"b"', "id": "mine"}},
    )
    first, second = reply.tool_calls
    assert (first.name, first.arguments) == ("f", {"a": 1})
    assert (second.provider_id, second.arguments, second.raw_arguments) == ("mine", None, '{"b"')
    assert reply.finish_reason is FinishReason.TOOL_CALLS


def turns(*given: Sequence[dict[str, Any]], taken: int) -> str:
    past = [ChatMessage(role="assistant"), ChatMessage(role="tool", content="4")] * taken
    return say("script", json.dumps({"turns": given}), *past)[0].content


def test_each_turn_has_its_script_and_the_last_one_repeats() -> None:
    given = [{"text": "first"}], [{"text": "second"}]
    assert [turns(*given, taken=taken) for taken in range(4)] == ["first", "second", "second", "second"]


def test_a_single_script_is_done_on_the_next_turn() -> None:
    text = json.dumps({"script": [{"tool_call": {"name": "f"}}]})
    reply, _ = say("script", text, ChatMessage(role="assistant"), ChatMessage(role="tool", content="4"))
    assert (reply.content, reply.tool_calls) == ("Done.", [])


@pytest.mark.parametrize("code", ["backend_unreachable", "rate_limited", "context_window", "backend_error"])
def test_it_fails_as_told(code: str) -> None:
    with pytest.raises(errors.BackendError) as raised:
        script({"text": "a"}, {"error": code, "message": "No."})
    assert (raised.value.code, raised.value.message) == (code, "No.")


def test_a_cut_reply_is_not_whole_and_its_calls_cannot_be_run() -> None:
    reply, heard = script({"tool_call": {"name": "f"}}, {"text": "a"}, {"cut": True}, {"text": "never"})
    assert (reply.content, heard.text(), reply.whole, reply.finish_reason) == ("a", "a", False, None)
    assert [call.arguments for call in reply.tool_calls] == [None]


def test_it_ends_with_the_finish_reason_it_is_told() -> None:
    assert script({"text": "a"}, {"finish": "length"})[0].finish_reason is FinishReason.LENGTH


def test_usage_is_counted_given_or_estimated() -> None:
    assert say("echo", "one two three")[0].usage == Usage(prompt=3, completion=3)
    assert script({"usage": {"prompt": 7, "cached": 5}})[0].usage == Usage(prompt=7, completion=0, cached=5)
    estimated = script({"usage": None})[0].usage
    assert estimated is not None
    assert estimated.estimated


@pytest.mark.parametrize(
    "text",
    ["hello", "{}", '{"script": 7}', '{"script": ["a"]}', '{"turns": 7}', '{"script": [{"dance": true}]}',
     '{"script": [{"delay_ms": "x"}]}', '{"script": [{"tool_call": {}}]}', '{"script": [{"finish": "x"}]}'],
)  # fmt: skip
def test_a_script_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        say("script", text)


def test_a_model_it_does_not_have_is_not_found() -> None:
    with pytest.raises(errors.ModelNotFound):
        say("gpt-4o", "hello")


def test_a_cancel_ends_a_wait_at_once() -> None:
    text = json.dumps({"script": [{"text": "a"}, {"delay_ms": 60_000}, {"text": "b"}]})
    calling = Calling(BACKEND, chat("script", text))
    eventually(lambda: calling.heard.deltas)
    began = time.monotonic()
    calling.cancellation.cancel()
    calling.join(timeout=5)
    assert isinstance(calling.error, errors.Cancelled)
    assert calling.ended_at - began < 1
    assert calling.heard.text() == "a"


def test_nothing_is_said_after_a_cancel() -> None:
    cancellation, heard = Cancellation(), Listener()

    def on_delta(kind: DeltaType, text: str) -> None:
        heard(kind, text)
        cancellation.cancel()

    with pytest.raises(errors.Cancelled):
        BACKEND.stream(chat("echo", "one two three"), on_delta, cancellation)
    assert heard.text() == "one"


def test_a_wait_beyond_the_total_limit_is_a_timeout() -> None:
    text = json.dumps({"script": [{"delay_ms": 60_000}]})
    with pytest.raises(errors.BackendTimeout):
        BACKEND.stream(chat("script", text, timeouts=replace(PATIENT, total=0.05)), Listener(), Cancellation())


def test_it_is_always_available() -> None:
    assert (BACKEND.health().status, BACKEND.health().models) == ("available", ("echo", "slow", "script"))


def test_its_models_are_told() -> None:
    assert [model.name for model in BACKEND.models()] == ["echo", "slow", "script"]
