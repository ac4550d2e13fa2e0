"""What the cases need of a driver and of whatever answers it."""

from collections.abc import Mapping
from typing import Any, Protocol

from models_registry.backends.base import Backend, ChatRequest
from models_registry.fakes.http import Script, Server

Event = Any  # bytes of a provider's stream, or a step of the driver `fake`
Body = Mapping[str, Any]


class Dialect(Protocol):
    """A provider's way to say things; `server` answers with `scripts[model]`.

    `absent`: cases that it has no words for, and why.
    """

    name: str
    absent: Mapping[str, str]
    server: Server
    scripts: dict[str, Script]
    head: bytes

    def backend(self, key: str, base_url: str = "") -> Backend: ...

    def begin(self) -> list[Event]: ...

    def say(self, *pieces: str) -> list[Event]: ...

    def think(self, *pieces: str) -> list[Event]: ...

    def call(self, call_id: str, name: str, *fragments: str) -> list[Event]:
        """A tool call; `fragments` joined are its arguments as JSON text."""
        ...

    def end(self, reason: str = "stop", *, usage: bool = True) -> list[Event]:
        """The end, as `stop`, `tool_calls`, `length` or `content_filter`, with 12 and 3 tokens of usage."""
        ...

    def unknown(self) -> list[Event]:
        """Something that no version of the provider has said so far."""
        ...

    def error(self, message: str) -> list[Event]: ...

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Script: ...

    def overflow(self) -> Script:
        """The refusal of a prompt that is too long."""
        ...

    def pairs(self, body: Body) -> list[tuple[str, str]]:
        """The id of each call in a request, and the id that its answer carries."""
        ...

    def images(self, body: Body) -> list[str]:
        """The images of a request, in base64."""
        ...

    def schema(self, body: Body) -> Mapping[str, Any]:
        """The schema that a request constrains the reply by."""
        ...


class Wire(Protocol):
    """A driver with what answers it. Each method gives a request to make, and what it is answered with."""

    dialect: Any
    name: str
    absent: Mapping[str, str]

    def backend(self) -> Backend: ...

    def answered(self, script: Any, **request: Any) -> ChatRequest:
        """Answered by this script of its server; where there is none, by these steps."""
        ...

    def received(self) -> Body:
        """The body of the last request."""
        ...

    def whole(self, *events: Event, **request: Any) -> ChatRequest:
        """Answered with these events, and no more."""
        ...

    def cut(self, *events: Event, **request: Any) -> ChatRequest:
        """Answered with these events, after which the connection is dropped."""
        ...

    def stalled(self, *events: Event, **request: Any) -> ChatRequest:
        """Answered with these events, after which nothing ever comes."""
        ...

    def paused(self, seconds: float, *events: Event, **request: Any) -> ChatRequest:
        """Answered with these events and a pause before each of them."""
        ...

    def has_hung_up(self) -> bool:
        """Whether the driver has left before its last answer was over."""
        ...
