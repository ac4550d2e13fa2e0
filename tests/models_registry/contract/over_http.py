"""The drivers that speak HTTP, each with a server that says what a case wants it to."""

import itertools
from collections.abc import Mapping
from typing import Any

from models_registry.backends.base import Backend, ChatRequest, ModelConfig
from models_registry.fakes.http import CUT, Script, chunk
from models_registry.fakes.openai import FOR_EVER
from tests.models_registry.conftest import KEY, chat
from tests.models_registry.contract.wire import Body, Dialect, Event


class HttpWire:
    """A driver and the server of its dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.name = dialect.name
        self.absent: Mapping[str, str] = dialect.absent
        self._numbers = itertools.count()

    def backend(self) -> Backend:
        return self.dialect.backend(KEY)

    def answered(self, script: Script, **request: Any) -> ChatRequest:
        """A request that is answered by this script."""
        config = request.pop("config", {})
        # Ollama refuses to think with a model that does not say that it can.
        model = "thinking" if config.get("think") else f"case-{next(self._numbers)}"
        self.dialect.scripts[model] = script
        return chat(config=ModelConfig(model=model, **config), **request)

    def whole(self, *events: Event, **request: Any) -> ChatRequest:
        return self.answered([self._body(*events) + chunk(b"")], **request)

    def cut(self, *events: Event, **request: Any) -> ChatRequest:
        return self.answered([self._body(*events), CUT], **request)

    def stalled(self, *events: Event, **request: Any) -> ChatRequest:
        return self.answered([self._body(*events), FOR_EVER] if events else [FOR_EVER], **request)

    def paused(self, seconds: float, *events: Event, **request: Any) -> ChatRequest:
        moves = [move for event in events for move in (seconds, chunk(event))]
        return self.answered([seconds, self.dialect.head, *moves, chunk(b"")], **request)

    def has_hung_up(self) -> bool:
        return self.dialect.server.received[-1].hung_up_at is not None

    def received(self) -> Body:
        """The body of the last request."""
        body: Body = self.dialect.server.received[-1].body
        return body

    def _body(self, *events: Event) -> bytes:
        return self.dialect.head + b"".join(chunk(event) for event in events)
