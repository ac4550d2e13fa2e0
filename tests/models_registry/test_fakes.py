"""The servers of the providers tell the same story under the same name."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from models_registry.backends.anthropic import AnthropicBackend
from models_registry.backends.base import Cancellation, FinishReason
from models_registry.backends.ollama import OllamaBackend
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.anthropic import AnthropicServer
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.openai import OpenAIServer
from tests.models_registry.conftest import KEY, Listener, chat

DRIVERS: Mapping[str, Any] = {
    "openai": (OpenAIServer, OpenAIBackend),
    "ollama": (OllamaServer, OllamaBackend),
    "anthropic": (AnthropicServer, AnthropicBackend),
}
CALL: tuple[str, Any] = ("f", {"a": 1})
OTHER_CALL: tuple[str, Any] = ("g", {"b": 2})
EMPTY_CALL: tuple[str, Any] = ("f", {})
BROKEN_CALL: tuple[str, Any] = ("f", None)
STORIES: Mapping[str, tuple[str, str, list[tuple[str, Any]], FinishReason | None]] = {
    "stub-tool": ("", "", [CALL], FinishReason.TOOL_CALLS),
    "parallel-calls": ("", "", [CALL, OTHER_CALL], FinishReason.TOOL_CALLS),
    "empty-arguments": ("", "", [EMPTY_CALL], FinishReason.TOOL_CALLS),
    "invalid-arguments": ("", "", [BROKEN_CALL], FinishReason.TOOL_CALLS),
    "thinking": ("Yes.", "hm", [], FinishReason.STOP),
    "structured": ('{"answer":"yes"}', "", [], FinishReason.STOP),
    "length": ("So ", "", [], FinishReason.LENGTH),
    "no-usage": ("Yes.", "", [], FinishReason.STOP),
    "unknown-field": ("Yes.", "", [], FinishReason.STOP),
    "split-utf8": ("漢字", "", [], FinishReason.STOP),
    "early-eof": ("So ", "", [], None),
    "cut": ("So ", "", [], None),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, Any]]:
    with ExitStack() as running:
        yield {name: running.enter_context(server()) for name, (server, _backend) in DRIVERS.items()}


@pytest.fixture
def backends(servers: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        name: backend(BackendSettings(name=name, driver=name, base_url=servers[name].base_url, api_key=KEY))
        for name, (_server, backend) in DRIVERS.items()
    }


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("model", STORIES)
def test_a_model_tells_its_story(backends: Mapping[str, Any], driver: str, model: str) -> None:
    content, thinking, calls, reason = STORIES[model]
    reply = backends[driver].stream(chat(model), Listener(), Cancellation())
    assert (reply.content, reply.thinking) == (content, thinking)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == calls
    assert (reply.finish_reason, reply.whole) == (reason, reason is not None)


@pytest.mark.parametrize("driver", DRIVERS)
def test_only_the_model_without_counts_is_estimated(backends: Mapping[str, Any], driver: str) -> None:
    estimated = [
        model
        for model in ("stub", "thinking", "no-usage", "unknown-field")
        if backends[driver].stream(chat(model), Listener(), Cancellation()).usage.estimated
    ]
    assert estimated == ["no-usage"]


def test_the_servers_have_the_same_models(servers: Mapping[str, Any]) -> None:
    models = {name: set(server.scripts) for name, server in servers.items()}
    assert models["openai"] <= models["ollama"]
    assert models["openai"] <= models["anthropic"]
