"""What a reader of a conversation's stream is told, and what the database knows to tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from maintenance import streams
from maintenance.streams import Entry, Event, sse

THINKING = "thinking"
CONTENT = "content"
KINDS = (THINKING, CONTENT)  # in the order in which a model gives them
TERMINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True)
class Frame:
    """One event for the reader: an entry as it is, or one of our making. Without an id the reader keeps its cursor."""

    event: str
    data: Mapping[str, Any]
    id: str = ""
    entry: Entry | None = None

    @classmethod
    def of(cls, entry: Entry) -> "Frame":
        return cls(entry.event, entry.data, entry.id, entry)

    @property
    def block(self) -> bytes:
        if self.entry:
            return self.entry.block
        return sse.block(self.event, streams.dumps(self.data).encode(), self.id)


@dataclass(frozen=True)
class Stored:
    """A run as the database has it.

    `ended` is its terminal event, `asks` its `tool_request` or `approval_request` while it waits. `told` is how much of
    the text stands before the last tool calls that were answered: a client that answered them has it.
    """

    conversation_id: int
    run_id: int
    status: str
    turn: int
    attempt: int
    seq: int
    text: Mapping[str, str]
    stats: Mapping[str, int]
    tool_requests: Sequence[Mapping[str, Any]] = ()
    told: Mapping[str, int] | None = None
    ended: Event | None = None
    asks: Event | None = None

    @property
    def closes(self) -> bool:
        """Whether what it asks for ends a client's stream: the client answers and comes again."""
        return self.asks is not None and self.asks[0] == "tool_request"

    def chunk(self, kind: str, offset: int) -> Frame:
        """The text from there on, as one ordinary event."""
        return self._frame("text_chunk", {"chunk": self.text[kind][offset:], "type": kind, "offset": offset})

    def resync(self, text: Mapping[str, str], cursor: str = "") -> Frame:
        """Everything that a reader needs to forget what it had and go on from here."""
        state = {
            "status": self.status,
            "text": text[CONTENT],
            "thinking": text[THINKING],
            "tool_requests": list(self.tool_requests),
            "stats": self.stats,
        }
        return self._frame("resync", state, cursor)

    def precedes(self, entry: Entry) -> bool:
        """Whether the entry was published by the present attempt after this was stored."""
        data = entry.data
        return (data["run_id"], data["attempt"]) == (self.run_id, self.attempt) and data["seq"] > self.seq

    def waits_for(self, tool_request: Entry) -> bool:
        """Whether a call of this event is still to be answered."""
        pending = {call["call_id"] for call in self.tool_requests}
        return any(call["call_id"] in pending for call in tool_request.data.get("tool_requests", []))

    def announcement(self, event: Event, cursor: str = "") -> Frame:
        """`ended` or `asks` as a frame."""
        name, data = event
        return self._frame(name, data, cursor)

    def _frame(self, event: str, data: Mapping[str, Any], cursor: str = "") -> Frame:
        return Frame(event, {**data, **self._envelope()}, cursor)

    def _envelope(self) -> dict[str, Any]:
        return {
            "conversation_id": self.conversation_id,
            "run_id": self.run_id,
            "turn": self.turn,
            "attempt": self.attempt,
            "seq": self.seq,
            "ts": timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


def resync_of_nothing(conversation_id: int, cursor: str) -> Frame:
    """The `resync` of a conversation in which nothing ever ran."""
    data: dict[str, Any] = {"conversation_id": conversation_id, "run_id": None, "status": "completed", "turn": 0}
    data |= {
        "attempt": 0,
        "seq": 0,
        "text": "",
        "thinking": "",
        "tool_requests": [],
        "stats": {"turns": 0, "tokens": 0},
    }
    return Frame("resync", data, cursor)
