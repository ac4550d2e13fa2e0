"""One reader's way through a conversation's events: what to tell it, what to leave out, when to ask the database.

Knows neither Redis nor the database. Entries go in by `feed`, in order, and come out as frames. After a `feed` that
sets `need`, the caller loads that run from the database and hands it to `settle`, until `need` is None again.

- An entry whose number was had, or whose attempt is over, is left out. Text goes by its offset: what was told is cut.
- A jump (of the number, of the offset, of the attempt) is settled from the database: the text that is missing as one
  `text_chunk`, and for readers that know it a `resync`. A reader that is only beginning needs no `resync`.
- A run ends for its reader once, whether the stream says so or the database, and with the text that is stored.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from conversations.frames import KINDS, TERMINAL, Frame, Stored
from conversations.track import Track, cut, graft, is_behind
from maintenance.streams import START, Entry, Event


class Follower:
    """`goal` is the run whose end closes the stream; None where nothing ever ran: then the first run that comes.

    With `follow` nothing closes it.
    """

    def __init__(self, goal: int | None, *, follow: bool = False) -> None:
        self.follow = follow
        self.closed = False
        self.need: int | None = None
        self.cursor = ""
        self._goal = goal
        self._track: Track | None = None
        self._ended: set[int] = set()
        self._floor = 0  # the newest run that this reader has left behind
        self._held: Entry | None = None
        self._is_last_try = False
        self._resolve: Callable[[Entry, Stored], list[Frame]] | None = None

    # Where it begins

    def begin(self, run_id: int, told: Mapping[str, int] | None = None) -> None:
        """At the start of a run; with `told`, of which the reader has that much text already."""
        self._track = Track(run_id, sent=dict(told)) if told else Track(run_id)

    def begin_after(self, entry: Entry, told: Mapping[str, int] | None = None) -> None:
        """Behind an entry that the reader has; `told` is how much text it has, where that is known."""
        self.cursor = entry.id
        run_id = entry.data["run_id"]
        if entry.event in TERMINAL:
            self._leave_behind(run_id, was_told=entry.data["seq"] > 1)
            return
        sent: dict[str, int | None] = dict(told) if told else dict.fromkeys(KINDS)
        self._track = Track(run_id, sent=sent, heard=True)
        self._track.stands_at(entry)

    def begin_over(self, stored: Stored) -> list[Frame]:
        """At the end of the last run: no run is under way."""
        self._leave_behind(stored.run_id, was_told=True)
        return [stored.announcement(stored.ended)] if stored.ended else []

    def begin_anew(
        self, stored: Stored, tail: Sequence[Entry], last: Entry | None, *, is_last_try: bool = False
    ) -> list[Frame] | None:
        """With a `resync`: what the database has, and what is newer. None: the database is behind, try again.

        `tail` is what the stream has of the run after `stored`, up to `last`, the last entry of the stream.
        """
        text, seq = dict(stored.text), stored.seq
        for entry in tail:
            is_lost = entry.data["seq"] > seq + 1 and not is_last_try
            if is_lost or (entry.event == "text_chunk" and not graft(text, entry)):
                return None
            seq = max(seq, entry.data["seq"])
        self.cursor = last.id if last else START
        # Behind an unfinished entry of another run, the reader would be taken for a reader of that run.
        is_safe = last and (last.data["run_id"] == stored.run_id or last.event in TERMINAL)
        return self._begin_with_resync(stored, text, seq if last else 0, self.cursor if is_safe else START)

    def begin_without_redis(self, stored: Stored) -> list[Frame]:
        """With a `resync` from the database alone; the reader keeps the cursor it has."""
        return self._begin_with_resync(stored, stored.text, 0, "")

    def _begin_with_resync(self, stored: Stored, text: Mapping[str, str], seq: int, cursor: str) -> list[Frame]:
        if stored.ended:
            # The cursor comes with the end: a reader that is cut off between the two has still to be told of it.
            self._leave_behind(stored.run_id, was_told=True)
            return [stored.resync(text), stored.announcement(stored.ended, cursor)]
        sent: dict[str, int | None] = {kind: len(text[kind]) for kind in KINDS}
        self._track = Track(stored.run_id, stored.attempt, seq, sent, heard=True)
        return [stored.resync(text, cursor), *self.check(stored)]

    # What comes

    @property
    def watched(self) -> int | None:
        """The run whose end it waits for. None: it waits for a run."""
        if self._track and self._track.run_id not in self._ended:
            return self._track.run_id
        return None if self.follow or self._goal in self._ended else self._goal

    @property
    def untold(self) -> bool:
        """A run is under way and nothing of it was told."""
        return bool(self._track and not self._track.heard)

    def feed(self, entry: Entry) -> list[Frame]:
        self.cursor = entry.id
        run_id, goal, track = entry.data["run_id"], self._goal, self._track
        if self.closed or run_id in self._ended:
            return []
        if track and track.run_id not in self._ended:
            if run_id == track.run_id:
                return self._take(track, entry)
            return [] if run_id < track.run_id else self._hold(entry, track.run_id, self._resolve_newer)
        if goal is not None and run_id > goal and not self.follow:
            return self._hold(entry, goal, self._resolve_newer)
        if run_id <= self._floor and run_id != goal:
            return self._hold(entry, run_id, self._resolve_older)
        return self._start(entry)

    def settle(self, stored: Stored | None, *, is_last_try: bool = False) -> list[Frame]:
        """What the database has of the run that is needed. `need` stays where it has not enough yet."""
        self._is_last_try = is_last_try
        held, resolve = self._held, self._resolve
        if stored is None or held is None or resolve is None:
            self.need, self.closed = None, True  # the conversation was deleted
            return []
        return resolve(held, stored)

    def check(self, stored: Stored) -> list[Frame]:
        """What the database has of a run, when the stream has been silent: its end, or what was never told of it."""
        if stored.run_id in self._ended:
            self.closed = self.closed or (not self.follow and stored.run_id == self._goal)
            return []
        if stored.ended and stored.run_id <= self._floor:
            return []
        track = self._track
        if track is None or track.run_id in self._ended:
            track = self._enter(stored.run_id)
        if track.run_id != stored.run_id:
            return []
        if stored.ended:
            return self._finish(track, stored, stored.announcement(stored.ended))
        if stored.asks and (stored.closes or track.seq < stored.seq):
            return self._ask(track, stored, stored.asks)
        return [] if track.heard else self._reconcile(track, stored)

    def _ask(self, track: Track, stored: Stored, asks: Event) -> list[Frame]:
        """What the run waits for, to a reader that missed it; a client's call ends its stream in any case."""
        self.closed = stored.closes and not self.follow
        if not self.closed and track.seq >= stored.seq:
            return []
        frames = [*self._reconcile(track, stored), stored.announcement(asks)]
        track.seq, track.heard = max(track.seq, stored.seq), True
        return frames

    # One entry

    def _start(self, entry: Entry) -> list[Frame]:
        return self._take(self._enter(entry.data["run_id"]), entry)

    def _enter(self, run_id: int) -> Track:
        if self._goal is None and not self.follow:
            self._goal = run_id
        self._track = Track(run_id)
        return self._track

    def _take(self, track: Track, entry: Entry) -> list[Frame]:
        if entry.event in TERMINAL:
            return self._hold(entry, track.run_id, partial(self._resolve_end, track))
        if track.attempt is not None and entry.data["attempt"] < track.attempt:
            return []
        if entry.event == "text_chunk":
            return self._take_text(track, entry)
        if track.had(entry):
            return []
        if not track.is_next(entry):
            return self._hold(entry, track.run_id, partial(self._resolve_jump, track))
        if entry.event == "tool_request" and not self.follow:
            return self._hold(entry, track.run_id, partial(self._resolve_tool_request, track))
        return self._tell(track, entry, Frame.of(entry))

    def _take_text(self, track: Track, entry: Entry) -> list[Frame]:
        kind, offset = entry.data["type"], entry.data["offset"]
        sent = track.sent[kind]
        jumped = not track.had(entry) and not track.is_next(entry)
        if jumped or (sent is not None and offset > sent):
            return self._hold(entry, track.run_id, partial(self._resolve_jump, track))
        end = offset + len(entry.data["chunk"])
        if sent is not None and end <= sent:
            track.advance(entry)
            return []
        track.sent[kind] = end
        return self._tell(track, entry, cut(entry, sent))

    def _tell(self, track: Track, entry: Entry, frame: Frame) -> list[Frame]:
        track.advance(entry)
        track.heard = True
        return [frame]

    def _leave_behind(self, run_id: int, *, was_told: bool) -> None:
        self._ended.add(run_id)
        if was_told:  # else it was cancelled before its turn came, and older ones that wait may still come
            self._floor = max(self._floor, run_id)
        self.closed = not self.follow and run_id == self._goal

    # With the database's help

    def _hold(self, entry: Entry, run_id: int, resolve: Callable[[Entry, Stored], list[Frame]]) -> list[Frame]:
        self.need, self._held, self._resolve = run_id, entry, resolve
        return []

    def _resolve_end(self, track: Track, entry: Entry, stored: Stored) -> list[Frame]:
        """The database has the last word: a worker that died, or was without Redis, did not publish all its text."""
        self.need = None
        return self._finish(track, stored, Frame.of(entry)) if stored.ended else []

    def _resolve_jump(self, track: Track, entry: Entry, stored: Stored) -> list[Frame]:
        if stored.ended:
            self.need = None
            return self._finish(track, stored, stored.announcement(stored.ended))
        if is_behind(stored, entry, is_last_try=self._is_last_try):
            return []
        self.need = None
        # A reader that was told everything by the database, and only now finds its place, needs it no second time.
        frames = self._reconcile(track, stored, jumped=track.seq > 0)
        track.seq = entry.data["seq"] - 1 if entry.data["attempt"] == track.attempt else 0
        return frames + self._take(track, entry)

    def _resolve_newer(self, entry: Entry, stored: Stored) -> list[Frame]:
        """An entry of another run came before the end of the one that is read."""
        self.need = None
        frames = self.check(stored) if stored.ended or stored.run_id in self._ended else []
        if self.closed:
            return frames
        if stored.ended:
            return frames + self.feed(entry)
        if self.follow and entry.event in TERMINAL:  # of one that was cancelled before its turn came
            self._ended.add(entry.data["run_id"])
            return [Frame.of(entry)]
        return []

    def _resolve_older(self, entry: Entry, stored: Stored) -> list[Frame]:
        """An entry came of a run that is older than one that has ended: it waited longer, or its writer is late."""
        self.need = None
        if stored.ended:
            self._ended.add(stored.run_id)
            return []
        return self._start(entry)

    def _resolve_tool_request(self, track: Track, entry: Entry, stored: Stored) -> list[Frame]:
        self.need = None
        self.closed = stored.waits_for(entry)
        frames = self._reconcile(track, stored) if self.closed else []
        return frames + self._tell(track, entry, Frame.of(entry))

    def _finish(self, track: Track, stored: Stored, end: Frame) -> list[Frame]:
        frames = self._reconcile(track, stored)
        self._leave_behind(stored.run_id, was_told=track.heard)
        return [*frames, end]

    def _reconcile(self, track: Track, stored: Stored, *, jumped: bool = False) -> list[Frame]:
        """The text that was not told yet, where it is known how much was; and a `resync` where there was a mistake."""
        frames, heard, before = [], track.heard, {kind: track.sent[kind] or 0 for kind in KINDS}
        is_other_attempt = track.attempt != stored.attempt  # then its text may be another, though it is as long
        for kind in KINDS:
            sent, known = track.sent[kind], len(stored.text[kind])
            if sent is not None and sent < known:
                frames.append(stored.chunk(kind, sent))
                track.heard = True
            track.sent[kind] = known
        track.attempt = max(stored.attempt, track.attempt or 0)
        if heard and (jumped or is_other_attempt or before != track.sent):
            frames.append(stored.resync(stored.text))
        return frames
