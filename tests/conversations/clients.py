"""Clients of a conversation's stream, by the rules of docs/streams.md, and what carries a simulated stream to them."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from conversations.follower import Follower
from conversations.frames import CONTENT, KINDS, TERMINAL, THINKING, Frame
from conversations.reading import Join, Load, News, Next, Pause, Question, Send, Span, read
from maintenance.streams import START, Away
from tests.conversations.simulation import World, empty


class Client:
    """Keeps a cursor, puts chunks where they belong, knows `resync` and `attempt_started`."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.texts: dict[int, dict[str, str]] = {}
        self.ends: dict[int, list[str]] = {}
        self.asked = False
        self.heard: set[tuple[int, int, int, str]] = set()
        self._at_answer: dict[int, dict[str, str]] = {}

    def answered(self) -> None:
        """It answered a tool request: from here on it goes on when it comes without its cursor."""
        self.asked = False
        self._at_answer = deepcopy(self.texts)

    def begin_without_cursor(self) -> None:
        self.cursor = None
        self.texts = deepcopy(self._at_answer)

    def take(self, frame: Frame) -> None:
        self._check_repetition(frame)
        self.cursor = frame.id or self.cursor
        run_id = frame.data["run_id"]
        if frame.event == "connected" or run_id is None or run_id in self.ends:
            return
        if frame.event in TERMINAL:
            self.ends.setdefault(run_id, []).append(frame.event)
        self.asked = self.asked or frame.event == "tool_request"
        self._write(self.texts.setdefault(run_id, empty()), frame)

    def _check_repetition(self, frame: Frame) -> None:
        if frame.event == "connected":
            self.heard = set()
        elif frame.entry and frame.event != "text_chunk":
            number = frame.data["run_id"], frame.data["attempt"], frame.data["seq"], frame.event
            assert number not in self.heard, "told twice"
            self.heard.add(number)

    def _write(self, text: dict[str, str], frame: Frame) -> None:
        if frame.event == "text_chunk":
            kind = frame.data["type"]
            assert frame.data["offset"] <= len(text[kind]), "a hole"
            text[kind] = text[kind][: frame.data["offset"]] + frame.data["chunk"]
        elif frame.event == "resync":
            text[CONTENT], text[THINKING] = frame.data["text"], frame.data["thinking"]
        elif frame.event == "attempt_started":
            text[CONTENT] = text[CONTENT][: frame.data["discard_from"]]
            text[THINKING] = text[THINKING][: frame.data["discard_thinking_from"]]


class OldClient:
    """Has no cursor, appends what comes, knows neither offsets nor `resync`."""

    def __init__(self) -> None:
        self.text = empty()
        self.ends: list[str] = []
        self.asked = False

    def take(self, frame: Frame) -> None:
        if frame.event == "text_chunk":
            self.text[frame.data["type"]] += frame.data["chunk"]
        elif frame.event == "tool_request":
            self.asked = True
        elif frame.event in TERMINAL:
            self.ends.append(frame.event)


class Cut(Exception):
    """The connection broke before this frame."""


class Connection:
    """Drives one reading against the world. `advance` is called whenever the reader has to wait."""

    def __init__(
        self,
        world: World,
        take: Callable[[Frame], None],
        advance: Callable[[], bool],
        *,
        follow: bool = False,
        cut_before: Callable[[], bool] = lambda: False,
    ) -> None:
        self.world, self.take, self.advance, self.cut_before = world, take, advance, cut_before
        self.follow = follow
        self.cursor = START
        self.told_since_heartbeat = 1

    def run(self, cursor: str | None) -> None:
        """Until the server closes. Raises Cut."""
        opening = self.world.opening()
        self.follower = Follower(opening.run_id if opening.under_way or not self.follow else None, follow=self.follow)
        reading = read(self.follower, opening, cursor)
        question = next(reading)
        while True:
            try:
                try:
                    answer = self._answer(question)
                except Away as error:
                    question = reading.throw(error)
                    continue
                question = reading.send(answer)
            except StopIteration:
                return

    def _answer(self, question: Question) -> Any:
        match question:
            case Send(frames):
                self._send(frames)
            case Span():
                return self.world.span(question)
            case Load(run_id):
                return self.world.stored(run_id)
            case Pause():
                self.advance()
                self.world.save()
            case Join(after):
                self.cursor = after
            case Next():
                return self._news()
        return None

    def _send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if self.cut_before():
                raise Cut
            self.take(frame)
            self.told_since_heartbeat += 1

    def _news(self) -> News:
        entries = self.world.after(self.cursor)
        if entries:
            self.cursor = entries[-1].id
            return News(entries)
        if self.advance():
            return News()
        # Nothing more will happen: these are heartbeats, until one says nothing.
        if self.told_since_heartbeat == 0:
            raise Cut
        self.told_since_heartbeat = 0
        watched = self.follower.watched
        return News(stored=[self.world.stored(run.id) for run in self.world.runs if watched in (None, run.id)])


def same(text: Mapping[str, str], world: World, run_id: int) -> bool:
    return all(text[kind] == world.runs[run_id - 1].text(kind) for kind in KINDS)
