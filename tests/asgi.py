"""A client for the ASGI application, without a server: opens event streams and reads them event by event."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]
PATIENCE_SECONDS = 10


@dataclass
class Event:
    """One event as a browser would have it; a comment has the name `:`."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    id: str = ""


def parse(block: str) -> Event | None:
    """None for a block that only sets the time to wait before coming back."""
    if block.startswith(":"):
        return Event(":", {"text": block[1:].strip()})
    fields = dict(line.split(": ", 1) for line in block.splitlines())
    return Event(fields["event"], json.loads(fields["data"]), fields.get("id", "")) if "event" in fields else None


class Response:
    """What comes back. `body` is everything so far; `over` is set when the server has closed it properly."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = ""
        self.over = False
        self.deaf = False
        self._cut = 0
        self._changed = asyncio.Condition()
        self._departed = asyncio.Event()
        self._asked = False

    async def receive(self) -> Mapping[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._departed.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        if self.deaf:
            await self._departed.wait()
            return
        async with self._changed:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message.get("body", b"").decode()
                self.over = not message.get("more_body", False)
            self._changed.notify_all()

    def leave(self) -> None:
        self._departed.set()

    def become_deaf(self) -> None:
        """Take nothing more, as a client does whose machine went to sleep."""
        self.deaf = True

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    async def event(self) -> Event:
        """The next event. EOFError when the server closed the stream before it."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            while True:
                block, found, _ = self.body[self._cut :].partition("\n\n")
                if found:
                    self._cut += len(block) + 2
                    if event := parse(block):
                        return event
                elif self.over:
                    raise EOFError
                else:
                    await self._changed.wait()

    async def until(self, name: str) -> list[Event]:
        """Events up to the first of that name."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            events = [await self.event()]
            while events[-1].name != name:
                events.append(await self.event())
        return events

    async def rest(self) -> list[Event]:
        """Everything until the server closes the stream."""
        events = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    events.append(await self.event())
        except EOFError:
            return events


class Client:
    """Sends requests to one application, with these headers."""

    def __init__(self, application: Application, headers: Mapping[str, str] | None = None) -> None:
        self.application = application
        self.headers = {"host": "localhost", **(headers or {})}

    @asynccontextmanager
    async def open(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> AsyncIterator[Response]:
        """A response that is being read; leaving the block breaks the connection."""
        path, _, query = path.partition("?")
        sent = {**self.headers, **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        }
        response = Response()
        task = asyncio.ensure_future(self.application(scope, response.receive, response.send))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not response.status:
                    await asyncio.sleep(0.001)
            yield response
        finally:
            response.leave()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await task

    async def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Response:
        """A response that is whole."""
        async with self.open(path, headers, method) as response:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not response.over:
                    await asyncio.sleep(0.001)
            return response
