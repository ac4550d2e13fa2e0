"""A writer, a Redis and a database in memory: what conversations/stream.py and its surroundings do, step by step.

Between two steps anything may be read. The writer is modelled on `Publisher`: text is stored before its first chunk is
published, what Redis did not take is sent again unchanged, a turn that ends without Redis leaves a jump in the numbers.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from conversations.frames import CONTENT, KINDS, THINKING, Stored
from conversations.reading import Span
from conversations.resumption import Opening
from maintenance.streams import Away, Entry
from maintenance.streams.entries import order

CONVERSATION = 7
TERMINAL_STATUS = {"completed": "completed", "failed": "failed", "cancelled": "cancelled"}


def empty() -> dict[str, str]:
    return {CONTENT: "", THINKING: ""}


@dataclass
class SimulatedRun:
    """The database's rows of one run."""

    id: int
    status: str = "processing"
    attempt: int = 0
    last_seq: int = 0
    turn: int = 0
    messages: list[dict[str, str]] = field(default_factory=list)
    first_event_id: str = ""
    pending: list[str] = field(default_factory=list)
    answered: list[tuple[int, str]] = field(default_factory=list)
    started: bool = False

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL_STATUS

    def text(self, kind: str, messages: int | None = None) -> str:
        return "".join(message[kind] for message in self.messages[:messages])


class World:
    """Where it all happens. `busy` while a worker holds the newest run."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.away = False
        self.runs: list[SimulatedRun] = []
        self._clock = 1000
        self._calls = 0
        self._to_announce: list[tuple[str, dict[str, Any]]] = []
        self._finds_reply = False
        self._late: list[tuple[str, dict[str, Any]]] = []
        self.queue: list[Any] = []
        self.unsent: list[tuple[str, dict[str, Any]]] = []
        self._forget_writer()

    # The writer

    def start(self) -> None:
        """A message was posted."""
        self.runs.append(SimulatedRun(len(self.runs) + 1))

    def claim(self) -> None:
        """A worker takes the run's next turn."""
        run = self.run
        first, again = not run.started, run.attempt > 1
        run.started, run.attempt, run.turn = True, max(1, run.attempt), run.turn + 1
        self._forget_writer()
        self.busy = True
        if self._finds_reply:  # and goes on with it: the model is not asked again
            self._finds_reply, self.recorded = False, True
            return
        if again:
            discard = {"discard_from": self.before[CONTENT], "discard_thinking_from": self.before[THINKING]}
            self.event("attempt_started", **discard)
        if first:
            self.event("status_changed", status="processing")
        self.event("turn_started")

    def say(self, kind: str, text: str) -> None:
        self.draft[kind] += text
        self.waiting[kind] += text
        if not self.queue or self.queue[-1] != kind:
            self.queue.append(kind)

    def event(self, name: str, **data: Any) -> None:
        self.queue.append((name, data))

    def save(self) -> None:
        """The text so far goes to the database."""
        if any(self.draft.values()) and not self.recorded:
            self._store()
            self.run.last_seq = self.seq

    def publish(self, *, twice: bool = False) -> None:
        """What waits goes to Redis; `twice` where its answer was lost, so that it is sent again."""
        if not self.saved and not self.recorded:
            self.save()
        if not self.unsent:
            self.unsent = [self._build(item) for item in self.queue]
            self.queue = []
        if self.away or not self.unsent:
            return
        ids = [self._append(name, data) for name, data in self.unsent]
        if twice:
            return
        self.unsent = []
        self.run.first_event_id = self.run.first_event_id or ids[0]

    def record(self) -> None:
        """The reply is whole: it is stored, then what is left is published."""
        if not self.recorded:
            self._store()
            self.recorded = True

    def wind_up(self) -> None:
        """The end of a turn."""
        self.record()
        self.publish()
        self.publish()
        if self.queue:
            self.seq += 1  # never sent: a jump says so
        self._forget_queue()
        self.run.last_seq = self.seq
        self.busy = False

    def ask(self) -> None:
        """The turn ends with a tool call for the client."""
        self._calls += 1
        call = {"call_id": f"call_{self._calls}", "name": "look", "arguments": {}}
        self.record()
        self.run.pending = [f"call_{self._calls}"]
        self.event("tool_request", status="waiting_for_tool", tool_request=call, tool_requests=[call])
        self.wind_up()
        self.run.status = "waiting_for_tool"

    def answer(self) -> None:
        run = self.run
        run.answered += [(len(run.messages), call_id) for call_id in run.pending]
        run.pending, run.status = [], "processing"

    def end(self, name: str) -> None:
        """The run's end is committed; its event follows by `announce`."""
        run = self.run
        if self.busy:
            self.wind_up()
        self._end(run, name)

    def announce(self) -> None:
        for name, data in self._to_announce:
            if not self.away:
                self._append(name, data)
        self._to_announce = []

    # What goes wrong

    def crash(self, policy: str) -> None:
        """The worker dies: what it had not saved or sent is gone."""
        run, half, self._finds_reply = self.run, self.saved and not self.recorded, self.recorded
        self._late = self.unsent or [self._build(item) for item in self.queue if self.saved]
        self._forget_writer()
        if half and policy == "fail":
            self._end(run, "failed")
            return
        if half:
            run.messages.pop()
        run.attempt, run.turn = run.attempt + 1, run.turn - 1

    def write_late(self) -> None:
        """A worker that was given up for dead sends what it had."""
        for name, data in self._late if not self.away else ():
            self._append(name, data)
        self._late = []

    def flush(self) -> None:
        self.entries = []

    def lose_tail(self, count: int) -> None:
        """Redis was restarted and had not written its last entries to disk."""
        self.entries = self.entries[: max(0, len(self.entries) - count)]

    # What readers see

    def opening(self) -> Opening:
        unfinished = [run for run in self.runs if not run.ended]
        run = unfinished[0] if unfinished else self.runs[-1]
        return Opening(
            CONVERSATION,
            run.status,
            run.id,
            under_way=not run.ended,
            has_text=any(map(run.text, KINDS)),
            waiting=run.status == "waiting_for_tool",
            has_answers=bool(run.answered),
            first_event_id=run.first_event_id,
        )

    def stored(self, run_id: int) -> Stored:
        run = self.runs[run_id - 1]
        calls = [{"call_id": call_id, "name": "look", "arguments": {}} for call_id in run.pending]
        told = run.answered[-1][0] if run.answered else None
        return Stored(
            CONVERSATION,
            run.id,
            run.status,
            run.turn,
            run.attempt,
            run.last_seq,
            {kind: run.text(kind) for kind in KINDS},
            {"turns": run.turn, "tokens": 0},
            tool_requests=calls,
            told=None if told is None else {kind: len(run.text(kind, told)) for kind in KINDS},
            ended=(run.status, {"status": run.status}) if run.ended else None,
            asks=("tool_request", {"tool_requests": calls}) if run.status == "waiting_for_tool" else None,
        )

    def span(self, asked: Span) -> list[Entry]:
        if self.away:
            raise Away
        inside = [entry for entry in self.entries if _after(entry, asked.start) and _until(entry, asked.end)]
        return (inside[::-1] if asked.newest_first else inside)[: asked.count]

    def after(self, cursor: str) -> list[Entry]:
        return [] if self.away else [entry for entry in self.entries if entry.order > order(cursor)]

    # Inside

    @property
    def unannounced(self) -> bool:
        return bool(self._to_announce)

    @property
    def run(self) -> SimulatedRun:
        return self.runs[-1]

    def _forget_writer(self) -> None:
        self.busy = self.saved = self.recorded = False
        self.draft, self.waiting = empty(), empty()
        self.before = {kind: len(self.run.text(kind)) if self.runs else 0 for kind in KINDS}
        self.published = dict(self.before)
        self.seq = self.run.last_seq if self.runs else 0
        self._forget_queue()

    def _store(self) -> None:
        if self.saved:
            self.run.messages.pop()
        self.run.messages.append(dict(self.draft))
        self.saved = True

    def _forget_queue(self) -> None:
        self.queue, self.unsent = [], []

    def _build(self, item: Any) -> tuple[str, dict[str, Any]]:
        self.seq += 1
        if not isinstance(item, str):
            return item[0], {**item[1], **self._envelope(self.seq)}
        chunk, offset = self.waiting[item], self.published[item]
        self.waiting[item], self.published[item] = "", offset + len(chunk)
        return "text_chunk", {"chunk": chunk, "type": item, "offset": offset, **self._envelope(self.seq)}

    def _envelope(self, seq: int) -> dict[str, Any]:
        run = self.run
        return {"conversation_id": CONVERSATION, "run_id": run.id, "turn": run.turn, "attempt": run.attempt, "seq": seq}

    def _append(self, name: str, data: dict[str, Any]) -> str:
        self._clock += 1
        self.entries.append(Entry(f"{self._clock}-0", name, json.dumps(data).encode()))
        return self.entries[-1].id

    def _end(self, run: SimulatedRun, name: str) -> None:
        run.status, run.pending = name, []
        self._forget_writer()
        run.last_seq += 1
        self._to_announce.append((name, {"status": name, **self._envelope(run.last_seq)}))


def _after(entry: Entry, start: str) -> bool:
    if start == "-":
        return True
    return entry.order > order(start[1:]) if start.startswith("(") else entry.order >= order(start)


def _until(entry: Entry, end: str) -> bool:
    if end == "+":
        return True
    return entry.order < order(end[1:]) if end.startswith("(") else entry.order <= order(end)
