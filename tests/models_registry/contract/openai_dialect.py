"""How OpenAI's chat completions say things."""

from collections.abc import Mapping
from typing import Any

from models_registry.backends.base import Backend
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import Script
from models_registry.fakes.openai import DONE, STREAM_HEAD, USAGE, OpenAIServer, completion, event, refusal
from tests.models_registry.contract.wire import Body, Event


class OpenAIDialect:
    name = "openai"
    head = STREAM_HEAD
    absent: Mapping[str, str] = {"call_in_the_last_line": "nothing is said in the line that ends a completion"}

    def __init__(self) -> None:
        self.server = OpenAIServer()
        self.scripts = self.server.scripts
        self._index = 0

    def backend(self, key: str, base_url: str = "") -> Backend:
        url = base_url or self.server.base_url
        return OpenAIBackend(BackendSettings(name=self.name, driver=self.name, base_url=url, api_key=key))

    def begin(self) -> list[Event]:
        self._index = 0
        return [completion(delta={"role": "assistant", "content": ""})]

    def say(self, *pieces: str) -> list[Event]:
        return [completion(delta={"content": piece}) for piece in pieces]

    def think(self, *pieces: str) -> list[Event]:
        return [completion(delta={"reasoning_content": piece}) for piece in pieces]

    def call(self, call_id: str, name: str, *fragments: str) -> list[Event]:
        first: dict[str, Any] = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        index, self._index = self._index, self._index + 1
        return [
            completion(delta={"tool_calls": [{"index": index, **value}]})
            for value in (first, *({"function": {"arguments": fragment}} for fragment in fragments))
        ]

    def end(self, reason: str = "stop", *, usage: bool = True) -> list[Event]:
        counted = [completion(choices=[], usage=USAGE)] if usage else []
        return [completion(finish_reason=reason), *counted, DONE]

    def unknown(self) -> list[Event]:
        return [b": a comment\n\n", b'event: surprise\ndata: {"a": 1}\n\n', completion(delta={"surprise": {"a": 1}})]

    def error(self, message: str) -> list[Event]:
        return [event({"error": {"message": message, "type": "server_error"}})]

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Script:
        return refusal(status, f"the model does not exist: {message}" if status == 404 else message, headers=headers)

    def overflow(self) -> Script:
        return self.scripts["context"]

    def pairs(self, body: Body) -> list[tuple[str, str]]:
        called = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
        return list(zip(called, answered, strict=True))

    def images(self, body: Body) -> list[str]:
        parts = [part for message in body["messages"] for part in message["content"] if isinstance(part, dict)]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        return [url.partition(";base64,")[2] for url in urls]

    def schema(self, body: Body) -> Mapping[str, Any]:
        found: Mapping[str, Any] = body["response_format"]["json_schema"]["schema"]
        return found
