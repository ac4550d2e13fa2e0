"""Following a conversation's run from a command: the same reading as a client's stream, without a server between."""

import time
from collections.abc import Iterator
from typing import Any

from conversations import resumption, stream
from conversations.follower import Follower
from conversations.frames import Frame
from conversations.models import Conversation
from conversations.reading import Join, Load, News, Next, Pause, Question, Send, Span, read
from maintenance.streams import START, Away
from maintenance.streams.read import span, wait

SILENCE_SECONDS = 0.25
# A stream that is silent for so long is compared with the database.
CHECK_SECONDS = 2.0


def listen(conversation: Conversation) -> Iterator[Frame | None]:
    """What a reader without a cursor is told, until the run has ended. None when there is nothing to tell just now."""
    return _Listener(conversation).frames()


class _Listener:
    def __init__(self, conversation: Conversation) -> None:
        self._opening = resumption.opening(conversation)
        self._follower = Follower(self._opening.run_id)
        self._key = stream.key(conversation.pk)
        self._cursor = START
        self._heard_at = time.monotonic()

    def frames(self) -> Iterator[Frame | None]:
        reading = read(self._follower, self._opening)
        question = next(reading)
        while True:
            try:
                if isinstance(question, Send):
                    yield from question.frames
                elif isinstance(question, Next):
                    yield None
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
            case Span(start, end, count, newest_first):
                return span(self._key, start, end, count=count, newest_first=newest_first)
            case Load(run_id):
                return resumption.stored(run_id)
            case Pause(seconds):
                time.sleep(seconds)
            case Join(after):
                self._cursor = after
            case Next():
                return self._news()
        return None

    def _news(self) -> News:
        try:
            entries = wait(self._key, self._cursor, seconds=SILENCE_SECONDS)
        except Away:
            entries = []
            time.sleep(SILENCE_SECONDS)
        now = time.monotonic()
        if entries:
            self._cursor, self._heard_at = entries[-1].id, now
            return News(entries)
        watched = self._follower.watched
        if watched is None or now - self._heard_at < CHECK_SECONDS:
            return News()
        self._heard_at = now
        stored = resumption.stored(watched)
        if stored is None:
            self._follower.closed = True  # the conversation was deleted
        return News(stored=[stored] if stored else [])
