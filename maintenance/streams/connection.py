"""One open event stream: the client's socket, and what ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from time import monotonic
from typing import Any

from django.conf import settings

from maintenance.streams import sse
from maintenance.streams.entries import Entry
from maintenance.streams.subscription import Subscription

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A client that takes nothing for so long is given up; TCP itself would wait for a quarter of an hour.
STUCK_SECONDS = 30


class Connection:
    """`over` is set when the client has gone or the server stops; whoever feeds the stream then returns."""

    def __init__(self, user_id: int, receive: Receive, send: Send) -> None:
        self.user_id = user_id
        self.over = False
        self.subscription: Subscription | None = None
        self._receive = receive
        self._send = send
        self._written_at = monotonic()
        self._writing = self._silent = False
        self._given_up = False
        self._task: asyncio.Task[Any] | None = None

    async def run(self, feed: Coroutine[Any, Any, None]) -> None:
        """Answer with a stream that lasts until `feed` returns."""
        self._task = asyncio.current_task()
        watcher = asyncio.create_task(self._await_departure())
        try:
            await self._open()
            await feed
            await self._write(b"", more=False)
        except asyncio.CancelledError:
            if not self._given_up:
                raise
        finally:
            feed.close()
            watcher.cancel()

    async def write(self, body: bytes) -> None:
        if body and not self.over:
            await self._write(body, more=True)

    async def next(self) -> list[Entry]:
        """Entries of the subscription. Empty when there is another reason to look up: see `over` and `dropped`."""
        if self.subscription is None:
            raise RuntimeError("nothing comes before it is joined")
        entries = await self.subscription.take()
        if self._silent and not entries:
            await self.write(sse.HEARTBEAT)
        return entries

    @property
    def dropped(self) -> bool:
        return self.subscription is not None and self.subscription.dropped

    def end(self) -> None:
        self.over = True
        self.ring()

    def ring(self) -> None:
        if self.subscription:
            self.subscription.ring()

    def pulse(self, now: float) -> None:
        """Called every second or so: say something if it was silent for long, give up on who does not listen."""
        silence = now - self._written_at
        if self._writing and (self.dropped or silence > STUCK_SECONDS):
            self._give_up()
        elif silence >= settings.STREAM_HEARTBEAT_SECONDS:
            self._silent = True
            self.ring()

    def _give_up(self) -> None:
        self.over = self._given_up = True
        if self._task:
            self._task.cancel()

    async def _open(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": list(sse.HEADERS)})
        await self._write(sse.RETRY, more=True)

    async def _write(self, body: bytes, *, more: bool) -> None:
        self._writing, self._silent, self._written_at = True, False, monotonic()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._writing = False

    async def _await_departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end()
