"""One reader's way through a pull's events. Knows neither Redis nor the database, and does no I/O.

Events are snapshots, so one that came twice, or from a worker that was given up for dead, is left out by its number;
what is shown of the percentage never falls; and the first end that comes, from stream or database, is the last event.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from maintenance import streams
from maintenance.streams import Entry, Event, sse
from models_registry.pulling.events import TERMINAL


@dataclass(frozen=True)
class Stored:
    """A pull as the database has it: where it stands as an event, which is its terminal one where it has ended."""

    pull_id: str
    status: str
    model: str
    backend: str
    event: Event
    begun: Event | None = None

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


class Follower:
    """Answers with the bytes to send. `over` is True when the reader has had the end."""

    def __init__(self) -> None:
        self.over = False
        self._begun = False
        self._seq = 0
        self._percentage = 0.0

    def greet(self, stored: Stored) -> bytes:
        data = {"pull_id": stored.pull_id, "status": stored.status, "model": stored.model, "backend": stored.backend}
        return _block("connected", data)

    def stand_behind(self, entry: Entry) -> None:
        """The reader has had this one."""
        self._note(entry.data)
        self.over = entry.event in TERMINAL

    def begin(self, stored: Stored, last: Entry | None) -> bytes:
        """How things are, for a reader that has had nothing, or whose cursor means nothing here.

        `last` is the newest event of the stream, which the database may be a second behind.
        """
        cursor = last.id if last else ""
        if last:
            self._note(last.data)
        if stored.ended:
            return self.close(stored, cursor)
        # The database may know of the beginning before the stream does: it is told once.
        self._begun = stored.begun is not None
        begun = _block(*stored.begun) if stored.begun else b""
        return begun + self._tell(*stored.event, cursor)

    def close(self, stored: Stored, cursor: str = "") -> bytes:
        """The end, as the database has it; nothing where it has not ended, or the reader knows."""
        if not stored.ended or self.over:
            return b""
        self.over = True
        return _block(*stored.event, cursor)

    def feed(self, entries: Iterable[Entry]) -> bytes:
        return b"".join([self._take(entry) for entry in entries])

    def _take(self, entry: Entry) -> bytes:
        if self.over:
            return b""
        if entry.event in TERMINAL:
            self.over = True
            return entry.block
        if entry.data["seq"] <= self._seq:
            return b""
        if entry.data.get("percentage", self._percentage) < self._percentage:
            return self._tell(entry.event, entry.data, entry.id)
        self._note(entry.data)
        if entry.event == "started" and self._begun:
            return b""
        return entry.block

    def _tell(self, name: str, data: Any, cursor: str) -> bytes:
        self._note(data)
        return _block(name, {**data, "percentage": self._percentage}, cursor)

    def _note(self, data: Any) -> None:
        self._seq = max(self._seq, data["seq"])
        self._percentage = max(self._percentage, data.get("percentage", 0.0))


def _block(name: str, data: Any, cursor: str = "") -> bytes:
    return sse.block(name, streams.dumps(data).encode(), cursor)
