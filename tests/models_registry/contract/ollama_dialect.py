"""How Ollama's chat says things."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from models_registry.backends.base import Backend
from models_registry.backends.ollama import OllamaBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import Script, document
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.ollama_chat import LINES_HEAD
from tests.models_registry.contract.wire import Body, Event

REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length"}


def line(value: Mapping[str, Any]) -> bytes:
    return json.dumps({"model": "stub", **value}, ensure_ascii=False).encode() + b"\n"


def message(done: bool = False, **values: Any) -> bytes:
    return line({"message": {"role": "assistant", "content": "", **values}, "done": done})


class OllamaDialect:
    name = "ollama"
    head = LINES_HEAD
    absent: Mapping[str, str] = {"content_filter": "Ollama filters nothing"}

    def __init__(self) -> None:
        self.server = OllamaServer()
        self.scripts = self.server.scripts

    def backend(self, key: str, base_url: str = "") -> Backend:
        url = base_url or self.server.url
        return OllamaBackend(BackendSettings(name=self.name, driver=self.name, base_url=url, api_key=key))

    def begin(self) -> list[Event]:
        return []

    def say(self, *pieces: str) -> list[Event]:
        return [message(content=piece) for piece in pieces]

    def think(self, *pieces: str) -> list[Event]:
        return [message(thinking=piece) for piece in pieces]

    def call(self, call_id: str, name: str, *fragments: str) -> list[Event]:
        return [message(tool_calls=[requested(call_id, name, *fragments)])]

    def end(self, reason: str = "stop", *, usage: bool = True) -> list[Event]:
        counts = {"prompt_eval_count": 12, "eval_count": 3} if usage else {}
        said = {"message": {"role": "assistant", "content": ""}}
        return [line({**said, "done": True, "done_reason": REASONS[reason], **counts})]

    def unknown(self) -> list[Event]:
        return [b"\n", line({"surprise": {"a": 1}, "done": False}), message(surprise=1)]

    def error(self, message: str) -> list[Event]:
        return [json.dumps({"error": message}).encode() + b"\n"]

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Script:
        words = {404: f"model 'x' not found: {message}"}
        return document(status, {"error": words.get(status, message)}, headers)

    def overflow(self) -> Script:
        return document(400, {"error": "the prompt is longer than the context length of the model"})

    def pairs(self, body: Body) -> list[tuple[str, str]]:
        called = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
        return list(zip(called, answered, strict=True))

    def images(self, body: Body) -> list[str]:
        return [image for message in body["messages"] for image in message.get("images", ())]

    def schema(self, body: Body) -> Mapping[str, Any]:
        found: Mapping[str, Any] = body["format"]
        return found


def requested(call_id: str, name: str, *fragments: str) -> dict[str, Any]:
    """A call as it comes: whole, its arguments an object, or text where they are none."""
    arguments: Any = "".join(fragments)
    with suppress(ValueError):
        arguments = json.loads(arguments or "{}")
    return {"id": call_id, "function": {"index": 0, "name": name, "arguments": arguments}}
