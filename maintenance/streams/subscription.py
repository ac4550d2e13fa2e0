"""What one reader of a key is given."""

import asyncio
from collections.abc import Iterable

from maintenance.streams.entries import Entry


class Subscription:
    """Entries after a cursor, in order, each once. Bounded: who does not keep up is dropped, and reads on elsewhere."""

    def __init__(self, key: str, after: tuple[int, int], room: int) -> None:
        self.key = key
        self.dropped = False
        self._after = after
        self._room = room
        self._waiting: list[Entry] = []
        self._bell = asyncio.Event()

    def offer(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.order > self._after:
                self._waiting.append(entry)
                self._after = entry.order
        if len(self._waiting) > self._room:
            self.dropped = True
            self._waiting = []
        if self._waiting or self.dropped:
            self._bell.set()

    def ring(self) -> None:
        """Wake the reader though nothing came."""
        self._bell.set()

    async def take(self) -> list[Entry]:
        """What has come; waits for it. Empty when somebody rang, or the reader was dropped."""
        await self._bell.wait()
        self._bell.clear()
        waiting, self._waiting = self._waiting, []
        return waiting
