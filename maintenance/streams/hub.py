"""One XREAD for all readers of a process: it watches every key that somebody reads, and shares out what comes.

A reader catches up by `span`, then joins after the last entry it has. The cursor of a key is that of its reader who
is furthest behind; each reader skips what it has had. So a reader may join at any time and misses nothing.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from maintenance import broker
from maintenance.streams.entries import START, Away, Entry, order, parse
from maintenance.streams.subscription import Subscription

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 5
PAGE = 500  # entries per key and read
SPANS_AT_ONCE = 32
SPAN_TIMEOUT_SECONDS = 3
BACK_OFF_SECONDS = (0.1, 2.0)
# Asking for a thousand keys costs about 3 ms of CPU here and 1 ms in Redis; entries that come within this pause
# are fetched by one XREAD instead of many.
GATHER_SECONDS_PER_KEY = 20e-6


class Hub:
    """Belongs to one event loop. `run` does the work; `away` tells whether Redis answered it last time."""

    def __init__(self) -> None:
        self.away = False
        self._client: Any = broker.asynchronous()
        # A connection may have died at rest, so one more try at once; whoever waits longer is served elsewhere.
        self._client.set_retry(Retry(NoBackoff(), 1))
        self._spans = asyncio.Semaphore(SPANS_AT_ONCE)
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._cursors: dict[str, str] = {}
        self._joined = asyncio.Event()
        # An entry in this stream wakes the XREAD that blocks, so that it asks again with the keys of today. Unlike a
        # CLIENT UNBLOCK it cannot come too early.
        self._bell = f"stream:bell:{secrets.token_hex(8)}"
        self._bell_cursor = START
        self._blocked = False
        self._ringing: asyncio.Task[None] | None = None

    def join(self, key: str, after: str, room: int) -> Subscription:
        """Get every entry after that cursor. Whoever has `room` entries waiting is dropped."""
        subscription = Subscription(key, order(after), room)
        readers = self._subscriptions.setdefault(key, set())
        readers.add(subscription)
        self._cursors[key] = min(self._cursors.get(key, after), after, key=order)
        self._joined.set()
        if self._blocked and self._ringing is None:
            self._ringing = asyncio.create_task(self._ring())
        return subscription

    def leave(self, subscription: Subscription) -> None:
        readers = self._subscriptions.get(subscription.key, set())
        readers.discard(subscription)
        if not readers:
            self._subscriptions.pop(subscription.key, None)
            self._cursors.pop(subscription.key, None)

    async def span(
        self, key: str, start: str = "-", end: str = "+", *, count: int = PAGE, newest_first: bool = False
    ) -> list[Entry]:
        """Entries between two ids, both included; `(id` leaves that one out. Raises Away."""
        try:
            async with self._spans, asyncio.timeout(SPAN_TIMEOUT_SECONDS):
                if newest_first:
                    raw = await self._client.xrevrange(key, end, start, count=count)
                else:
                    raw = await self._client.xrange(key, start, end, count=count)
        except (RedisError, OSError, TimeoutError) as error:
            raise Away(type(error).__name__) from error
        return parse(raw)

    async def run(self) -> None:
        """Read until cancelled. An outage of Redis only makes it slower."""
        shortest, longest = BACK_OFF_SECONDS
        pause = shortest
        while True:
            while not self._cursors:
                self._joined.clear()
                await self._joined.wait()
            try:
                async with asyncio.timeout(BLOCK_SECONDS * 2):
                    await self._read()
                pause = shortest
                self._note(away=False)
            except (RedisError, OSError, TimeoutError) as error:
                self._note(away=True, reason=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            except Exception:
                # Every reader of this process depends on this loop.
                logger.exception("event streams: reading failed")
                await asyncio.sleep(longest)

    async def close(self) -> None:
        if self._ringing:
            self._ringing.cancel()
        await self._client.aclose()

    async def _read(self) -> None:
        asked = dict(self._cursors)
        streams = {self._bell: self._bell_cursor, **asked}
        self._blocked = True
        try:
            answer = await self._client.xread(streams, count=PAGE, block=BLOCK_SECONDS * 1000)
        finally:
            self._blocked = False
        self._note(away=False)
        for name, raw in answer:
            self._take(name.decode(), raw, asked)
        if answer:
            await asyncio.sleep(min(len(asked) * GATHER_SECONDS_PER_KEY, 0.02))

    def _take(self, key: str, raw: list[tuple[bytes, Mapping[bytes, bytes]]], asked: Mapping[str, str]) -> None:
        last = raw[-1][0].decode()
        if key == self._bell:
            self._bell_cursor = last
        elif self._cursors.get(key) == asked[key]:  # else somebody joined further back: this part is read again
            self._cursors[key] = last
            self._share(key, parse(raw))

    def _share(self, key: str, entries: list[Entry]) -> None:
        for subscription in list(self._subscriptions[key]):
            subscription.offer(entries)
            if subscription.dropped:
                self.leave(subscription)

    async def _ring(self) -> None:
        try:
            async with asyncio.timeout(SPAN_TIMEOUT_SECONDS), self._client.pipeline(transaction=False) as pipeline:
                pipeline.xadd(self._bell, {"": ""}, maxlen=1)
                pipeline.expire(self._bell, 60)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError):
            pass  # the XREAD that was to be woken fails too, or ends by itself
        finally:
            self._ringing = None

    def _note(self, *, away: bool, reason: str = "") -> None:
        if away and not self.away:
            logger.warning("event streams: Redis is away (%s), readers are served from the database", reason)
        elif self.away and not away:
            logger.info("event streams: Redis is back")
        self.away = away
