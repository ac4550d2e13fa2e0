"""The conversations' readers of this process: each is driven through its reading, and all are looked up together."""

import asyncio
import logging
from collections import defaultdict
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from conversations import resumption, stream
from conversations.follower import Follower
from conversations.frames import Stored
from conversations.reading import Join, Load, News, Next, Pause, Question, Send, Span, read
from conversations.resumption import Opening
from maintenance.streams import Away
from maintenance.streams.connection import Connection
from maintenance.streams.hub import Hub
from maintenance.streams.readership import Readership

logger = logging.getLogger(__name__)

# How often the database is asked while Redis is away.
AWAY_SECONDS = 2


class Reader:
    """One client of one conversation."""

    def __init__(self, connection: Connection, opening: Opening, *, follow: bool, cursor: str | None) -> None:
        self.connection = connection
        self.conversation_id = opening.conversation_id
        self.follower = Follower(opening.run_id if opening.under_way or not follow else None, follow=follow)
        self.reading = read(self.follower, opening, cursor)
        self.key = stream.key(opening.conversation_id)
        self._stored: list[Stored] = []

    def tell(self, stored: Stored) -> None:
        """Something that the stream may not have said."""
        self._stored.append(stored)
        self.connection.ring()

    async def news(self) -> News:
        entries = await self.connection.next()
        stored, self._stored = self._stored, []
        return News(entries, stored)


class Readers:
    """All readers of this process, and the one look into the database that serves them together."""

    """All of them. Each runs in its own task; their questions to the database are shared where they are the same."""

    def __init__(self, readership: Readership) -> None:
        self._readership = readership
        self._readers: set[Reader] = set()
        self._looking = False
        self._loads: dict[int, asyncio.Future[Stored | None]] = {}

    async def serve(self, reader: Reader) -> None:
        """Until the reading is over, the client is gone, or the server stops."""
        if not self._looking:
            self._looking = True
            self._readership.also(self._look())
        self._readers.add(reader)
        try:
            await self._drive(reader)
        finally:
            self._readers.discard(reader)

    async def _drive(self, reader: Reader) -> None:
        question = next(reader.reading)
        while not reader.connection.over and not reader.connection.dropped:
            try:
                question = await self._step(reader, question)
            except StopAsyncIteration:
                return
            except DatabaseError:
                logger.warning("event streams: the database does not answer, a stream ends", exc_info=True)
                return

    async def _step(self, reader: Reader, question: Question) -> Question:
        """Answer one question and return the next. Raises StopAsyncIteration when there is none."""
        try:
            try:
                answer = await self._answer(reader, question)
            except Away as error:
                return reader.reading.throw(error)
            return reader.reading.send(answer)
        except StopIteration:
            raise StopAsyncIteration from None

    async def _answer(self, reader: Reader, question: Question) -> Any:
        hub, connection = self._readership.hub, reader.connection
        match question:
            case Send(frames):
                return await connection.write(b"".join([frame.block for frame in frames]))
            case Next():
                return await reader.news()
            case Span(start, end, count, newest_first):
                return await hub.span(reader.key, start, end, count=count, newest_first=newest_first)
            case Load(run_id):
                return await self._load(run_id)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Join(after):
                return _join(hub, reader, after)

    async def _load(self, run_id: int) -> Stored | None:
        """The run as it is now. Whoever asks before the answer is begun shares it: a thousand may ask at once."""
        load = self._loads.get(run_id)
        if load is None:
            load = self._loads[run_id] = asyncio.ensure_future(self._readership.database.ask(self._begin_load, run_id))
        return await asyncio.shield(load)

    def _begin_load(self, run_id: int) -> Stored | None:
        self._loads.pop(run_id, None)
        return resumption.stored(run_id)

    async def _look(self) -> None:
        """Ask the database for what Redis may have lost: one query for all readers, each heartbeat."""
        while True:
            await asyncio.sleep(self._interval())
            try:
                await self._look_once()
            except DatabaseError:
                logger.warning("event streams: the database does not answer", exc_info=True)

    def _interval(self) -> float:
        heartbeat: float = settings.STREAM_HEARTBEAT_SECONDS
        return min(heartbeat, AWAY_SECONDS) if self._readership.hub.away else heartbeat

    async def _look_once(self) -> None:
        by_run, by_conversation = self._watchers()
        if not by_run and not by_conversation:
            return
        database = self._readership.database
        window = 3 * settings.STREAM_HEARTBEAT_SECONDS
        changes = await database.ask(resumption.changes, list(by_run), list(by_conversation), window)
        for run_id in changes.deleted:
            for reader in by_run[run_id]:
                reader.connection.end()
        for conversation_id, run_id in changes.runs:
            stored = await self._load(run_id)
            for reader in (*by_run[run_id], *by_conversation[conversation_id]):
                if stored:
                    reader.tell(stored)

    def _watchers(self) -> tuple[defaultdict[int, list[Reader]], defaultdict[int, list[Reader]]]:
        """Readers by the run whose end they wait for; by conversation those that wait for a run."""
        by_run: defaultdict[int, list[Reader]] = defaultdict(list)
        by_conversation: defaultdict[int, list[Reader]] = defaultdict(list)
        for reader in self._readers:
            run_id = reader.follower.watched
            waiting = by_conversation[reader.conversation_id] if run_id is None else by_run[run_id]
            waiting.append(reader)
        return by_run, by_conversation


def _join(hub: Hub, reader: Reader, after: str) -> None:
    room = settings.STREAM_READER_MAX_EVENTS
    reader.connection.subscription = hub.join(reader.key, after, room)
