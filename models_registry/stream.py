"""`GET /api/v1/ai-backends/{backend}/models/pull/{id}/stream`: a pull's events, as an ASGI callable before Django."""

import logging
import re

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError

from maintenance.errors import Refusal
from maintenance.streams import START, Away, Entry, is_cursor
from maintenance.streams.connection import Connection, Receive, Scope, Send
from maintenance.streams.door import Visitor
from maintenance.streams.endpoint import respond
from maintenance.streams.readership import Readership
from models_registry import catalog
from models_registry.models import Pull
from models_registry.pulling import events
from models_registry.pulling.following import Follower, Stored
from models_registry.sight import visible

logger = logging.getLogger(__name__)

PATH = re.compile(r"/api/v1/ai-backends/([^/\x00]{1,100})/models/pull/([0-9a-f]{32})/stream/?", re.ASCII)
PAGE = 500


class PullStream:
    """The endpoint: who asks, for which pull, from where on."""

    def __init__(self, readership: Readership) -> None:
        self._readership = readership

    @staticmethod
    def serves(path: str) -> bool:
        return PATH.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def feed(connection: Connection, found: tuple[Stored, str]) -> None:
            stored, cursor = found
            try:
                await _Reader(self._readership, connection, stored).read(cursor)
            except DatabaseError:
                logger.warning("event streams: the database does not answer, a stream ends", exc_info=True)

        await respond(self._readership, scope, receive, send, _find, feed)


def _find(visitor: Visitor, request: ASGIRequest) -> tuple[Stored, str]:
    """The pull, and what the client had of it last."""
    match = PATH.fullmatch(request.path_info)
    rows = visible(visitor.user)
    pull = rows.filter(backend=catalog.canonical(match[1]), pk=match[2]).first() if match else None
    if pull is None:
        raise Refusal("There is no such thing here.", code="not_found", status_code=404)
    # The header is newer: a browser repeats the address as it was at first.
    return _stored(pull), request.headers.get("Last-Event-ID", "").strip() or request.GET.get("after", "")


def _stored(pull: Pull) -> Stored:
    ended = pull.status in events.TERMINAL
    return Stored(
        pull_id=pull.pk,
        status=str(pull.status),
        model=pull.model,
        backend=pull.backend,
        event=events.terminal(pull) if ended else events.state(pull),
        begun=events.started(pull, 1) if pull.started_at and not ended else None,
    )


def _look(pull_id: str) -> Stored | None:
    pull = Pull.objects.filter(pk=pull_id).first()
    return _stored(pull) if pull else None


class _Reader:
    """One client of one pull."""

    def __init__(self, readership: Readership, connection: Connection, stored: Stored) -> None:
        self._readership = readership
        self._connection = connection
        self._stored = stored
        self._key = events.key(stored.pull_id)
        self._follower = Follower()

    async def read(self, cursor: str) -> None:
        """Until it has ended, the client is gone, or the server stops."""
        follower, connection = self._follower, self._connection
        await connection.write(follower.greet(self._stored))
        after = await self._begin(cursor)
        if follower.over:
            return
        connection.subscription = self._readership.hub.join(self._key, after, settings.STREAM_READER_MAX_EVENTS)
        while not (follower.over or connection.over or connection.dropped):
            entries = await connection.next()
            if entries:
                await connection.write(follower.feed(entries))
            elif not connection.over:
                # It was silent for a heartbeat: the end may be in the database alone.
                await self._ask()

    async def _begin(self, cursor: str) -> str:
        """Say what the client has missed; the cursor from which on events are live."""
        last = None
        try:
            entry = await self._entry(cursor)
            if entry is not None:
                self._follower.stand_behind(entry)
                return await self._catch_up(entry.id)
            last = await self._last()
        except Away:
            pass  # the database knows how things are
        # Read after the stream: then nothing is older than the cursor from which the reader goes on.
        stored = await self._look()
        if stored:
            await self._connection.write(self._follower.begin(stored, last))
        return last.id if last else START

    async def _entry(self, cursor: str) -> Entry | None:
        if not is_cursor(cursor):
            return None
        found = await self._readership.hub.span(self._key, cursor, cursor, count=1)
        return found[0] if found else None

    async def _last(self) -> Entry | None:
        found = await self._readership.hub.span(self._key, count=1, newest_first=True)
        return found[0] if found else None

    async def _catch_up(self, after: str) -> str:
        while not self._follower.over:
            page = await self._readership.hub.span(self._key, f"({after}", count=PAGE)
            await self._connection.write(self._follower.feed(page))
            after = page[-1].id if page else after
            if len(page) < PAGE:
                await self._ask()
                break
        return after

    async def _ask(self) -> None:
        stored = await self._look()
        if stored:
            await self._connection.write(self._follower.close(stored))

    async def _look(self) -> Stored | None:
        """The pull as it is now. None ends the stream: it was forgotten."""
        stored = await self._readership.database.ask(_look, self._stored.pull_id)
        self._follower.over = self._follower.over or stored is None
        return stored
