"""A reader's stream from first to last, told as questions to the world: read Redis, load a run, send, wait.

It does no I/O itself. Whoever drives it answers each question with `send`, or throws `Away` when Redis does not
answer; the web process does so for many readers at once, a command for one, a test without any server.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from conversations import frames
from conversations.follower import Follower
from conversations.frames import Frame, Stored
from conversations.resumption import Opening
from maintenance.streams import START, Away, Entry, is_cursor

PAGE = 500
# How often and how long to wait for a database that is saved every two seconds.
POLL_SECONDS = 0.25
POLLS = 20


@dataclass(frozen=True)
class Send:
    """Tell the reader. No answer."""

    frames: Sequence[Frame]


@dataclass(frozen=True)
class Span:
    """Entries of the conversation's stream: the answer is a list of them."""

    start: str
    end: str
    count: int = PAGE
    newest_first: bool = False


@dataclass(frozen=True)
class Load:
    """The run as the database has it: Stored, or None."""

    run_id: int


@dataclass(frozen=True)
class Pause:
    """Wait. No answer."""

    seconds: float


@dataclass(frozen=True)
class Join:
    """From here on the answers to `Next` begin, with what came after this cursor. No answer."""

    after: str


@dataclass(frozen=True)
class Next:
    """Wait for News."""


@dataclass(frozen=True)
class News:
    """What came: entries, and runs that the database has something to say about."""

    entries: Sequence[Entry] = ()
    stored: Sequence[Stored] = field(default=())


Question = Send | Span | Load | Pause | Join | Next
Reading = Generator[Question, Any, None]
Step = Generator[Question, Any, str]


def read(follower: Follower, opening: Opening, cursor: str | None = None) -> Reading:
    """The whole stream. It is over when the generator is; `cursor` is what the client sent, valid or not."""
    status = {"conversation_id": opening.conversation_id, "status": opening.status, "run_id": opening.run_id}
    yield Send([Frame("connected", status)])
    try:
        yield from _begin(follower, opening, cursor)
    except Away:
        yield from _begin_without_redis(follower, opening, cursor)
    if follower.closed:
        return
    yield Join(follower.cursor or START)
    while not follower.closed:
        news: News = yield Next()
        yield from _feed(follower, news.entries)
        for stored in news.stored:
            yield Send(follower.check(stored))


def _begin(follower: Follower, opening: Opening, cursor: str | None) -> Reading:
    if cursor is None:
        yield from _begin_at_run(follower, opening)
    elif (entry := (yield from _entry(cursor))) is not None:
        follower.begin_after(entry)
        yield from _history(follower)
    else:
        yield from _begin_anew(follower, opening)
    yield from _compare(follower, opening)


def _entry(cursor: str) -> Generator[Question, Any, Entry | None]:
    if not is_cursor(cursor):
        return None
    found: list[Entry] = yield Span(cursor, cursor, 1)
    return found[0] if found else None


def _begin_at_run(follower: Follower, opening: Opening) -> Reading:
    """Without a cursor: the run under way from its start, or from where its client was last heard of."""
    if opening.run_id is None or not opening.under_way:
        follower.cursor = yield from _last_cursor()
        if opening.run_id is not None:
            stored = yield Load(opening.run_id)
            yield Send(follower.begin_over(stored) if stored else [])
        return
    first = opening.first_event_id
    if opening.has_answers and (yield from _begin_after_answers(follower, opening.run_id, first or "-")):
        yield from _history(follower)
        return
    stored = (yield Load(opening.run_id)) if opening.has_answers else None
    follower.begin(opening.run_id, stored and stored.told)
    if first:
        yield from _history(follower, first)
    else:
        newest: list[Entry] = yield Span("-", "+", PAGE, newest_first=True)
        yield from _feed(follower, newest[::-1])


def _last_cursor() -> Step:
    newest: list[Entry] = yield Span("-", "+", 1, newest_first=True)
    return newest[0].id if newest else START


def _begin_after_answers(follower: Follower, run_id: int, start: str) -> Generator[Question, Any, bool]:
    """Behind the run's last `tool_request` whose calls are all answered. False where the stream has none."""
    end = "+"
    while True:
        page: list[Entry] = yield Span(start, end, PAGE, newest_first=True)
        for entry in page:
            if entry.event == "tool_request" and entry.data["run_id"] == run_id:
                stored: Stored | None = yield Load(run_id)
                if stored and not stored.waits_for(entry):
                    follower.begin_after(entry, stored.told)
                    return True
        if len(page) < PAGE:
            return False
        end = f"({page[-1].id}"


def _begin_anew(follower: Follower, opening: Opening) -> Reading:
    """The cursor means nothing here: say how things are, then go on from the end of the stream."""
    newest: list[Entry] = yield Span("-", "+", 1, newest_first=True)
    last = newest[0] if newest else None
    if opening.run_id is None:
        follower.cursor = last.id if last else START
        yield Send([frames.resync_of_nothing(opening.conversation_id, follower.cursor)])
        return
    for left in reversed(range(POLLS)):
        stored: Stored | None = yield Load(opening.run_id)
        if stored is None:
            break
        tail = yield from _tail(opening, stored, last)
        told = follower.begin_anew(stored, tail, last, is_last_try=not left)
        if told is not None:
            yield Send(told)
            return
        yield Pause(POLL_SECONDS)
    follower.closed = True


def _tail(opening: Opening, stored: Stored, last: Entry | None) -> Generator[Question, Any, list[Entry]]:
    """What the stream has of the run, up to that entry, that is newer than the database."""
    tail: list[Entry] = []
    start = opening.first_event_id or "-"
    while last and not stored.ended:
        page: list[Entry] = yield Span(start, last.id)
        tail += [entry for entry in page if stored.precedes(entry)]
        if len(page) < PAGE:
            break
        start = f"({page[-1].id}"
    return tail


def _history(follower: Follower, start: str = "") -> Reading:
    """What the stream holds from there on, or after the follower's cursor, page by page."""
    while not follower.closed:
        page: list[Entry] = yield Span(start or f"({follower.cursor}", "+")
        yield from _feed(follower, page)
        if len(page) < PAGE:
            return
        start = ""


def _compare(follower: Follower, opening: Opening) -> Reading:
    """What Redis lost of the end of the story is in the database."""
    if opening.waiting or (opening.has_text and follower.untold):
        yield from _check(follower)
    for _ in range(0 if opening.under_way else 2):  # the run of the cursor, and the last one
        yield from _check(follower)
    if not opening.under_way and opening.run_id is not None and not follower.follow:
        follower.closed = True


def _check(follower: Follower) -> Reading:
    run_id = follower.watched
    if run_id is None or follower.closed:
        return
    stored: Stored | None = yield Load(run_id)
    if stored:
        yield Send(follower.check(stored))
    else:
        follower.closed = True


def _begin_without_redis(follower: Follower, opening: Opening, cursor: str | None) -> Reading:
    """Redis may be back soon, with all that it had: go on from where the reader is."""
    if follower.cursor or opening.run_id is None:
        return
    stored: Stored | None = yield Load(opening.run_id)
    if stored is None:
        follower.closed = True
    elif not opening.under_way and cursor is None:
        yield Send(follower.begin_over(stored))
    elif cursor is None:
        follower.begin(opening.run_id, stored.told)
        yield Send(follower.check(stored))
    else:
        yield Send(follower.begin_without_redis(stored))
    follower.cursor = cursor if cursor and is_cursor(cursor) else START


def _feed(follower: Follower, entries: Sequence[Entry]) -> Reading:
    told: list[Frame] = []
    for entry in entries:
        told += follower.feed(entry)
        if follower.need is not None:
            yield Send(told)
            told = []
            yield from _settle(follower)
    yield Send(told)


def _settle(follower: Follower) -> Reading:
    """Load what the follower needs until it has enough. A database that stays behind ends the stream: better than a
    hole in the text; the reader comes back."""
    for left in reversed(range(POLLS)):
        if follower.need is None:
            return
        stored = yield Load(follower.need)
        yield Send(follower.settle(stored, is_last_try=not left))
        if follower.need is not None:
            yield Pause(POLL_SECONDS)
    follower.closed = follower.closed or follower.need is not None
