"""A stub server, a backend that is configured for it, and requests to make."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models_registry.backends.base import (
    Cancellation,
    ChatMessage,
    ChatRequest,
    DeltaType,
    ModelConfig,
    Reply,
    Timeouts,
)
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.openai import OpenAIServer

KEY = "sk-very-secret-key"
PATIENT = Timeouts(connect=5, first_byte=20, idle=20, total=30)


def chat(model: str = "stub", text: str = "Hello", **values: Any) -> ChatRequest:
    request = ChatRequest(
        messages=[ChatMessage(role="user", content=text)], config=ModelConfig(model=model), timeouts=PATIENT
    )
    return replace(request, **values)


class Listener:
    """Keeps the deltas as they come."""

    def __init__(self) -> None:
        self.deltas: list[tuple[DeltaType, str]] = []

    def __call__(self, kind: DeltaType, text: str) -> None:
        self.deltas.append((kind, text))

    def text(self, kind: DeltaType = DeltaType.CONTENT) -> str:
        return "".join(text for delta, text in self.deltas if delta is kind)


class Calling(threading.Thread):
    """A call in a thread of its own, for a test that ends it."""

    def __init__(self, backend: Any, request: ChatRequest) -> None:
        super().__init__(daemon=True)
        self.backend, self.request = backend, request
        self.cancellation = Cancellation()
        self.heard = Listener()
        self.reply: Reply | None = None
        self.error: BaseException | None = None
        self.ended_at = 0.0
        self.start()

    def run(self) -> None:
        try:
            self.reply = self.backend.stream(self.request, self.heard, self.cancellation)
        except BaseException as error:
            self.error = error
        self.ended_at = time.monotonic()


@pytest.fixture(scope="session")
def stub() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(stub: OpenAIServer) -> OpenAIServer:
    """The stub server, with no requests recorded yet."""
    stub.received.clear()
    return stub


@pytest.fixture
def backend(server: OpenAIServer) -> OpenAIBackend:
    return OpenAIBackend(BackendSettings(name="openai", driver="openai", base_url=server.base_url, api_key=KEY))
