"""All event streams that are open in this process: how many may be, what keeps them alive, and how they end."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from django.conf import settings

from maintenance.errors import Refusal
from maintenance.streams.connection import Connection, Receive, Send
from maintenance.streams.database import DatabaseThreads
from maintenance.streams.hub import Hub

PULSE_SECONDS = 1.0


class Full(Refusal):
    """More streams than may be open at once."""

    code = "too_many_streams"
    status_code = 429


class Readership:
    """Belongs to one event loop, that of the first reader. `hub` and `database` exist from then on."""

    hub: Hub
    database: DatabaseThreads

    def __init__(self) -> None:
        self.stopping = False
        self._connections: set[Connection] = set()
        self._by_user: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        """Idempotent. Not done at import: there is no event loop then."""
        if self._tasks:
            return
        self.hub = Hub()
        self.database = DatabaseThreads()
        self.also(self.hub.run())
        self.also(self._pulse())

    def also(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this too, until the readership stops."""
        self._tasks.add(asyncio.create_task(work))

    def require_room(self) -> None:
        """Raises Refusal 503, before anything is asked of the database."""
        if self.stopping or len(self) >= settings.STREAMS_MAX:
            raise Full("This server has no room for more streams now.", code="busy", status_code=503)

    def enter(self, user_id: int, receive: Receive, send: Send) -> Connection:
        """Raises Refusal: 429 for a user who has enough streams, 503 when the server has."""
        self.require_room()
        if self._by_user[user_id] >= settings.STREAMS_PER_USER:
            raise Full(f"You have {settings.STREAMS_PER_USER} streams open; close some.")
        connection = Connection(user_id, receive, send)
        self._connections.add(connection)
        self._by_user[user_id] += 1
        return connection

    def leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._by_user[connection.user_id] -= 1
        if not self._by_user[connection.user_id]:
            del self._by_user[connection.user_id]
        if connection.subscription:
            self.hub.leave(connection.subscription)

    def end_all(self) -> None:
        """Let every stream end now, and no new one begin. Clients come back with their cursors."""
        self.stopping = True
        for connection in self._connections:
            connection.end()

    async def stop(self) -> None:
        """End everything, the work in the background too."""
        self.end_all()
        if not self._tasks:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.close()
        await asyncio.to_thread(self.database.close)
        self._tasks.clear()

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(min(PULSE_SECONDS, settings.STREAM_HEARTBEAT_SECONDS / 4))
            now = monotonic()
            for connection in list(self._connections):
                connection.pulse(now)
