"""The writer's side of a run's event stream.

`Publisher` takes what a turn says and, from another thread, sends it to the stream and saves it to the database: the
model's connection is never kept waiting. What could not be sent because Redis was away is kept and sent later, in
order; so readers miss nothing but what Redis itself lost, and that is caught up from the database.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from django.db import DatabaseError, close_old_connections
from django.utils import timezone
from redis.exceptions import RedisError

from conversations import journal, status
from conversations.models import Message, Run
from maintenance import streams
from models_registry.backends.base import Cancellation, DeltaType

logger = logging.getLogger(__name__)

COALESCE_SECONDS = 0.03
COALESCE_CHARACTERS = 1024
SAVE_SECONDS = 2.0
CANCEL_POLL_SECONDS = 0.25
RETRY_SECONDS = 0.5
DRAIN_SECONDS = 3.0
# A worker takes one turn at a time; only the driver `sync` takes several in one process.
THREADS_MAX = 64
_threads: dict[int, ThreadPoolExecutor] = {}


def key(conversation_id: int) -> str:
    return f"stream:conversation:{conversation_id}"


def cancel_signal(run_id: int) -> str:
    """The Redis key whose presence tells a publishing worker at once that its run is to stop."""
    return f"cancel:run:{run_id}"


def _publishing_threads() -> ThreadPoolExecutor:
    """This process's threads; a fork gets its own. They stay, and so do their connections to the database: to open one
    for each turn would cost more than all that is written with it."""
    own = _threads.get(os.getpid())
    return own or _threads.setdefault(os.getpid(), ThreadPoolExecutor(THREADS_MAX, "publisher"))


def envelope(run: Run, turn: int, seq: int) -> dict[str, Any]:
    return {
        "conversation_id": run.conversation_id,
        "run_id": run.pk,
        "turn": turn,
        "attempt": run.attempt,
        "seq": seq,
        "ts": timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def announce_end(run: Run, said: Message | None = None) -> None:
    """Append the terminal event of a run that has ended. Where Redis is away, readers get it from the database."""
    name, data = status.terminal_event(run, said)
    tell(run.conversation_id, [(name, {**data, **envelope_of(run)})])


def announce_wait(run: Run) -> None:
    """Append what a run that has begun to wait wants. Where Redis is away, readers get it from the database."""
    name, data = status.waiting_event(run, status.requests(status.wanted_calls(run)))
    tell(run.conversation_id, [(name, {**data, **envelope_of(run)})])


def envelope_of(run: Run) -> dict[str, Any]:
    """Of an event that has the run's newest number."""
    return envelope(run, run.turn_count, run.last_seq)


def tell(conversation_id: int, events: Sequence[streams.Event]) -> None:
    """Append events of a run that no worker holds. Where Redis is away, readers see their effect in the database."""
    try:
        streams.append(key(conversation_id), events)
    except RedisError as error:
        logger.warning("events of conversation %s are not in its stream (%s)", conversation_id, type(error).__name__)


@dataclass
class _Text:
    """Words of one type that were said without anything between them."""

    kind: DeltaType
    chunks: list[str]


_Item = _Text | tuple[str, Mapping[str, Any]]


class Publisher:
    """Publishes one turn. Use as a context manager; leaving it sends and saves what is left.

    `text` and `event` only note what is to be sent and return at once. `cancellation` is used when somebody stopped
    the run, and when the run's lease is gone (`fenced` is True then, and nothing more is written).
    `broken` says that something unforeseen ended the publishing.
    """

    def __init__(self, run: Run, draft: journal.Draft, cancellation: Cancellation) -> None:
        self.run = run
        self.draft = draft
        self.cancellation = cancellation
        self.fenced = self.broken = False
        self.seq = run.last_seq
        self._sent = {DeltaType.CONTENT: draft.content_before, DeltaType.THINKING: draft.thinking_before}
        self._order: list[_Item] = []
        self._unsent: list[streams.Event] = []
        self._change = threading.Condition()
        self._saving = threading.Lock()
        self._closing = False
        self._size = 0
        self._next_send = self._next_save = 0.0
        self._next_poll = time.monotonic() + CANCEL_POLL_SECONDS
        self._noted = bool(run.first_event_id)
        self._publishing: Future[None] | None = None

    # What the turn calls

    def text(self, kind: DeltaType, chunk: str) -> None:
        with self._change:
            last = self._order[-1] if self._order else None
            if isinstance(last, _Text) and last.kind is kind:
                last.chunks.append(chunk)
            else:
                self._order.append(_Text(kind, [chunk]))
            self._size += len(chunk)
            self.draft.add(kind, chunk)
            # Where something waits already the thread knows when to send it; waking it for each word costs more
            # than all the rest that is done with a word.
            if last is None or self._size >= COALESCE_CHARACTERS:
                self._change.notify()

    def event(self, name: str, /, **data: Any) -> None:
        with self._change:
            self._order.append((name, data))
            self._size += COALESCE_CHARACTERS  # not worth waiting for more
            self._change.notify()

    def hand_over(self) -> None:
        """The reply is whole and the turn will store it: save no more. Text not yet shown waits until it is stored."""
        with self._saving:
            self.draft.unsaved = False

    def __enter__(self) -> "Publisher":
        self._publishing = _publishing_threads().submit(self._work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Send what is left, within `DRAIN_SECONDS`, and end publishing. Doing it again changes nothing."""
        with self._change:
            self._closing = True
            self._change.notify()
        if self._publishing:
            self._publishing.result()

    # The thread

    def _work(self) -> None:
        try:
            close_old_connections()
            while not self.fenced and not self._step():
                pass
        except Exception:
            logger.exception("publishing run %s failed", self.run.pk)
            self.broken = True
            self.cancellation.cancel()
        finally:
            close_old_connections()

    def _step(self) -> bool:
        """Wait until something is due and do it. True when the turn is over and nothing is left."""
        with self._change:
            self._change.wait(self._patience())
            closing = self._closing
        now = time.monotonic()
        if self.draft.unsaved and (not self.draft.stored or now >= self._next_save):
            self._save()
        if self._send_due(now):
            self._send()
        if now >= self._next_poll and not closing:
            self._poll(now)
        return closing and self._wind_up()

    def _patience(self) -> float:
        if self._closing:
            return 0.0
        now = time.monotonic()
        due = [self._next_poll]
        if (self._order or self._unsent) and not self._shy():
            due.append(now if self._size >= COALESCE_CHARACTERS else self._next_send)
        if self.draft.unsaved:
            due.append(self._next_save)
        return max(0.0, min(due) - now)

    def _send_due(self, now: float) -> bool:
        full = self._size >= COALESCE_CHARACTERS and not self._unsent
        return bool(self._order or self._unsent) and not self._shy() and (full or now >= self._next_send)

    def _shy(self) -> bool:
        """Text waits that the database does not know of. It is not shown: a crash would make it be said twice."""
        return not self.draft.stored and any(isinstance(item, _Text) for item in self._order)

    def _save(self) -> None:
        self._next_save = time.monotonic() + SAVE_SECONDS
        with self._saving:
            if not self.draft.unsaved:
                return
            with self._change:
                content, thinking = self.draft.take()
            try:
                self._act_on(journal.save(self.run, self.draft, content, thinking, self.seq))
            except DatabaseError:
                self.draft.unsaved = True
                logger.warning("run %s: the text so far is not saved yet", self.run.pk, exc_info=True)

    def _poll(self, now: float) -> None:
        self._next_poll = now + CANCEL_POLL_SECONDS
        if self.run.first_event_id and not self._noted:
            # Turns that say something sooner write it together with their text.
            journal.note_first_event(self.run)
            self._noted = True
        self._act_on(journal.standing(self.run))

    def _send(self) -> None:
        if not self._unsent:
            self._unsent = self._collect()
        if not self._unsent:
            return
        self._next_send = time.monotonic() + COALESCE_SECONDS
        try:
            ids, stop = streams.append_and_look(key(self.run.conversation_id), self._unsent, cancel_signal(self.run.pk))
        except RedisError:
            # It may have been appended all the same: sent again unchanged, readers drop it by its number.
            self._next_send = time.monotonic() + RETRY_SECONDS
            return
        self._unsent = []
        self.run.first_event_id = self.run.first_event_id or ids[0]
        if stop:
            self.cancellation.cancel()

    def _collect(self) -> list[streams.Event]:
        with self._change:
            order, self._order, self._size = self._order, [], 0
            return [self._build(item) for item in order]

    def _build(self, item: _Item) -> streams.Event:
        self.seq += 1
        frame = envelope(self.run, self.run.turn_count, self.seq)
        if not isinstance(item, _Text):
            name, data = item
            return name, {**data, **frame}
        chunk, offset = "".join(item.chunks), self._sent[item.kind]
        self._sent[item.kind] += len(chunk)
        return "text_chunk", {"chunk": chunk, "type": item.kind.value, "offset": offset, **frame}

    def _wind_up(self) -> bool:
        """The turn is over: send what is left, but do not wait for a Redis that stays away."""
        until = time.monotonic() + DRAIN_SECONDS
        while (self._order or self._unsent) and not self._shy() and time.monotonic() < until:
            self._send()
            if self._unsent:
                time.sleep(0.1)
        return True

    def _act_on(self, standing: journal.Standing) -> None:
        if standing is journal.Standing.LOST:
            self.fenced = True
            self.cancellation.cancel()
        elif standing is journal.Standing.CANCELLING:
            self.cancellation.cancel()
