"""How Anthropic's Messages say things."""

from collections.abc import Mapping
from typing import Any

from models_registry.backends.anthropic import AnthropicBackend
from models_registry.backends.base import Backend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes import anthropic
from models_registry.fakes.anthropic import AnthropicServer
from models_registry.fakes.http import Script
from models_registry.fakes.openai import STREAM_HEAD
from tests.models_registry.contract.wire import Body, Event

REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class AnthropicDialect:
    name = "anthropic"
    head = STREAM_HEAD
    absent: Mapping[str, str] = {"call_in_the_last_line": "blocks end before the message does"}

    def __init__(self) -> None:
        self.server = AnthropicServer()
        self.scripts = self.server.scripts
        self._index = -1

    def backend(self, key: str, base_url: str = "") -> Backend:
        url = base_url or self.server.base_url
        return AnthropicBackend(BackendSettings(name=self.name, driver=self.name, base_url=url, api_key=key))

    def _next(self) -> int:
        self._index += 1
        return self._index

    def begin(self) -> list[Event]:
        self._index = -1
        return [anthropic.begin()]

    def say(self, *pieces: str) -> list[Event]:
        return anthropic.text(self._next(), *pieces)

    def think(self, *pieces: str) -> list[Event]:
        return anthropic.thinking(self._next(), *pieces)

    def call(self, call_id: str, name: str, *fragments: str) -> list[Event]:
        return anthropic.tool_use(self._next(), call_id, name, *fragments)

    def end(self, reason: str = "stop", *, usage: bool = True) -> list[Event]:
        counted = {"output_tokens": 3} if usage else {"input_tokens": 0, "output_tokens": 0}
        return anthropic.ending(REASONS[reason], counted)

    def unknown(self) -> list[Event]:
        surprise = {"type": "surprise_delta", "surprise": 1}
        block = anthropic.block(self._next(), {"type": "surprise", "a": 1}, surprise)
        return [anthropic.event({"type": "ping"}), anthropic.event({"type": "surprise", "a": 1}), *block]

    def error(self, message: str) -> list[Event]:
        return [anthropic.event(anthropic.error("api_error", message))]

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Script:
        words = f"model: {message}" if status == 404 else message
        return anthropic.refusal(status, KINDS.get(status, "api_error"), words, headers)

    def overflow(self) -> Script:
        return self.scripts["context"]

    def _blocks(self, body: Body, kind: str) -> list[Mapping[str, Any]]:
        return [block for message in body["messages"] for block in message["content"] if block["type"] == kind]

    def pairs(self, body: Body) -> list[tuple[str, str]]:
        called = [block["id"] for block in self._blocks(body, "tool_use")]
        answered = [block["tool_use_id"] for block in self._blocks(body, "tool_result")]
        return list(zip(called, answered, strict=True))

    def images(self, body: Body) -> list[str]:
        return [block["source"]["data"] for block in self._blocks(body, "image")]

    def schema(self, body: Body) -> Mapping[str, Any]:
        found: Mapping[str, Any] = body["output_config"]["format"]["schema"]
        return found
