"""Drivers with a real server and a real model: llama.cpp speaks OpenAI's protocol and Anthropic's."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from models_registry.backends.anthropic import AnthropicBackend
from models_registry.backends.base import (
    Backend,
    Cancellation,
    ChatMessage,
    ChatRequest,
    FinishReason,
    ModelConfig,
    Timeouts,
)
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.environment import EMBEDDED_MODEL
from models_registry.errors import Cancelled, ContextWindowExceeded
from tests.embedded import model_server, read
from tests.models_registry.conftest import Calling, Listener, chat
from tests.models_registry.contract.asking import TOOLS, call
from tests.processes import until

# The model computes on what the other tests leave of the machine.
LIMITS = Timeouts(connect=10, first_byte=120, idle=60, total=240)
BACKENDS: dict[str, tuple[Callable[[BackendSettings], Backend], str]] = {
    "openai": (OpenAIBackend, "/v1"),
    "anthropic": (AnthropicBackend, ""),
}
ABSENT = {("anthropic", "structured_output"): "llama.cpp constrains no reply in Anthropic's protocol"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server with the model that is shipped."""
    with model_server(tmp_path_factory.mktemp("data")) as url:
        yield url


def asked(text: str, *, max_tokens: int = 16, stop_sequences: Sequence[str] = (), **request: Any) -> ChatRequest:
    config = ModelConfig(
        model=EMBEDDED_MODEL, temperature=0.0, top_k=1, max_tokens=max_tokens, stop_sequences=stop_sequences
    )
    return chat(text=text, config=config, timeouts=LIMITS, **request)


def text_and_usage(backend: Backend, url: str) -> None:
    heard = Listener()
    reply = backend.stream(asked("Say hello."), heard, Cancellation())
    assert reply.content == heard.text() != ""
    assert (reply.whole, reply.model) == (True, EMBEDDED_MODEL)
    assert reply.usage is not None
    assert not reply.usage.estimated
    assert reply.usage.prompt > 0 < reply.usage.completion


def length(backend: Backend, url: str) -> None:
    reply = backend.stream(asked("Tell a long story.", max_tokens=4), Listener(), Cancellation())
    assert reply.finish_reason is FinishReason.LENGTH
    assert reply.usage is not None
    assert reply.usage.completion == 4


def stop_sequence(backend: Backend, url: str) -> None:
    counting = asked("Count: one, two, three, four.", max_tokens=200, stop_sequences=(".", ",", "\n"))
    reply = backend.stream(counting, Listener(), Cancellation())
    assert (reply.finish_reason, reply.whole) == (FinishReason.STOP, True)


def context_overflow(backend: Backend, url: str) -> None:
    with pytest.raises(ContextWindowExceeded):
        backend.stream(asked("word " * 6000), Listener(), Cancellation())


def cancel(backend: Backend, url: str) -> None:
    calling = Calling(backend, asked("Tell a very long story.", max_tokens=3000))
    until(lambda: len(calling.heard.deltas) > 3)
    calling.cancellation.cancel()
    calling.join(timeout=20)
    assert isinstance(calling.error, Cancelled)
    until(lambda: not any(slot["is_processing"] for slot in read(f"{url}/slots")))


def structured_output(backend: Backend, url: str) -> None:
    schema = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}, "required": ["answer"]}
    constrained = asked("Is water wet?", max_tokens=24, response_schema=schema)
    answer = json.loads(backend.stream(constrained, Listener(), Cancellation()).content)
    assert answer["answer"] in ("yes", "no")


def answers_of_tools(backend: Backend, url: str) -> None:
    messages = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="Do both."),
        ChatMessage(role="assistant", content="I will.", tool_calls=[call("", "f", a=1), call("", "f", a=2)]),
        ChatMessage(role="tool", name="f", content="one"),
        ChatMessage(role="tool", name="f", content="two"),
    ]
    reply = backend.stream(asked("", messages=messages, tools=TOOLS), Listener(), Cancellation())
    assert reply.whole


def models(backend: Backend, url: str) -> None:
    assert backend.health().status == "available"
    assert [model.name for model in backend.models()] == [EMBEDDED_MODEL]


CASES: dict[str, Callable[[Backend, str], None]] = {
    case.__name__: case
    for case in (
        text_and_usage, length, stop_sequence, context_overflow, cancel, structured_output, answers_of_tools, models,
    )
}  # fmt: skip


@pytest.mark.acceptance
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("driver", BACKENDS)
def test_real_server(
    driver: str, case: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    record_property("row", list(CASES).index(case))
    if reason := ABSENT.get((driver, case)):
        pytest.skip(reason)
    url = request.getfixturevalue("url")
    made, path = BACKENDS[driver]
    CASES[case](made(BackendSettings(name=driver, driver=driver, base_url=url + path)), url)
