"""The driver `fake`, which has no server: its steps are what a case wants to be answered with."""

import json
from collections.abc import Mapping
from typing import Any

from models_registry.backends.base import Backend, ChatRequest, ModelConfig
from models_registry.backends.fake import FakeBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.openai import FOR_EVER
from tests.models_registry.conftest import chat
from tests.models_registry.contract.wire import Event

NO_WIRE = "there is no wire"
NOTHING_SENT = "nothing is sent"
NO_STATUS = "there is no HTTP"


class ScriptedWire:
    """The driver and its dialect in one: a step is an event."""

    name = "fake"
    absent: Mapping[str, str] = {
        **dict.fromkeys(
            ("split_characters", "long_line", "cut_in_an_event", "endless_reply", "unknown_event"), NO_WIRE
        ),
        **dict.fromkeys(("open_after_the_end", "call_in_the_last_line", "key_stays_secret", "nobody_there"), NO_WIRE),
        **dict.fromkeys(("image_input", "structured_output", "two_turns", "two_turns_without_ids"), NOTHING_SENT),
        **dict.fromkeys(("two_turns_with_one_id", "two_turns_with_thinking"), NOTHING_SENT),
        **dict.fromkeys((f"http_{status}" for status in (401, 403, 404, 429, 500, 503, 529)), NO_STATUS),
        "slow_first_byte": "only its total limit has something to measure",
        "idle_gap": "only its total limit has something to measure",
    }

    @property
    def dialect(self) -> Any:
        return self

    def backend(self) -> Backend:
        return FakeBackend(BackendSettings(name="fake", driver="fake"))

    def begin(self) -> list[Event]:
        return []

    def say(self, *pieces: str) -> list[Event]:
        return [{"text": piece} for piece in pieces]

    def think(self, *pieces: str) -> list[Event]:
        return [{"thinking": piece} for piece in pieces]

    def call(self, call_id: str, name: str, *fragments: str) -> list[Event]:
        return [{"tool_call": {"id": call_id, "name": name, "arguments": "".join(fragments)}}]

    def end(self, reason: str = "stop", *, usage: bool = True) -> list[Event]:
        return [{"finish": reason}, {"usage": {"prompt": 12, "completion": 3} if usage else None}]

    def error(self, message: str) -> list[Event]:
        return [{"error": "backend_error", "message": message}]

    def overflow(self) -> list[Event]:
        return [{"error": "context_window"}]

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> list[Event]:
        return self.error(message)

    def answered(self, script: list[Event], **request: Any) -> ChatRequest:
        values = {name: value for name, value in request.items() if name != "config"}
        asked = chat(text=json.dumps({"script": script}), config=ModelConfig(model="script"))
        return chat(**{"messages": asked.messages, "config": asked.config, **values})

    def whole(self, *events: Event, **request: Any) -> ChatRequest:
        ended = any("finish" in event or "error" in event for event in events)
        return self.answered([*events, *([] if ended else [{"cut": True}])], **request)

    def cut(self, *events: Event, **request: Any) -> ChatRequest:
        return self.answered([*events, {"cut": True}], **request)

    def stalled(self, *events: Event, **request: Any) -> ChatRequest:
        return self.answered([*events, {"delay_ms": FOR_EVER * 1000}], **request)

    def paused(self, seconds: float, *events: Event, **request: Any) -> ChatRequest:
        return self.answered([step for event in events for step in ({"delay_ms": seconds * 1000}, event)], **request)

    def has_hung_up(self) -> bool:
        return True
