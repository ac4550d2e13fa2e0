"""Rules of the follower that a story seldom comes upon, one by one."""

import json
from typing import Any

import pytest

from conversations.follower import Follower
from conversations.frames import Frame, Stored
from maintenance.streams import Entry


def entry(number: int, event: str, run: int, seq: int, attempt: int = 1, **data: Any) -> Entry:
    line = {"run_id": run, "seq": seq, "attempt": attempt, **data}
    return Entry(f"{number}-0", event, json.dumps(line).encode())


def stored(run: int, ended: str = "", text: str = "", seq: int = 9) -> Stored:
    event = (ended, {"status": ended}) if ended else None
    status = ended or "processing"
    return Stored(7, run, status, 1, 1, seq, {"content": text, "thinking": ""}, {"turns": 1, "tokens": 0}, ended=event)


def names(frames: list[Frame]) -> list[str]:
    return [frame.event for frame in frames]


def following(run: int) -> Follower:
    follower = Follower(None, follow=True)
    follower.begin(run)
    return follower


def end(follower: Follower, number: int, run: int, seq: int) -> None:
    """The run is told to its end."""
    follower.feed(entry(number, "turn_started", run, seq - 1))
    follower.feed(entry(number + 1, "completed", run, seq))
    assert names(follower.settle(stored(run, "completed"))) == ["completed"]


def test_what_a_late_writer_says_of_an_older_run_is_left_out() -> None:
    follower = following(5)
    end(follower, 1, 5, 2)
    assert follower.feed(entry(3, "text_chunk", 4, 8, type="content", chunk="late", offset=0)) == []
    assert follower.need == 4
    assert follower.settle(stored(4, "failed")) == []
    assert follower.feed(entry(4, "failed", 4, 9)) == []
    assert follower.need is None


def test_an_older_run_that_has_waited_longer_is_told() -> None:
    follower = following(7)
    end(follower, 1, 7, 2)
    assert follower.feed(entry(3, "turn_started", 6, 1)) == []
    assert names(follower.settle(stored(6))) == ["turn_started"]


def test_a_run_that_is_cancelled_while_it_waits_disturbs_nobody() -> None:
    for follower, expected in ((following(5), ["cancelled"]), (Follower(5), [])):
        if not follower.follow:
            follower.begin(5)
        follower.feed(entry(1, "turn_started", 5, 1))
        assert follower.feed(entry(2, "cancelled", 6, 1)) == []
        assert names(follower.settle(stored(5))) == expected
        assert names(follower.feed(entry(3, "tool_executing", 5, 2))) == ["tool_executing"]
        assert not follower.closed


def test_the_next_run_begins_only_after_the_end_of_the_one_before() -> None:
    follower = following(5)
    follower.feed(entry(1, "turn_started", 5, 1))
    assert follower.feed(entry(2, "turn_started", 6, 1)) == []
    frames = follower.settle(stored(5, "completed"))
    assert [(frame.event, frame.data["run_id"]) for frame in frames] == [("completed", 5), ("turn_started", 6)]


def test_the_next_run_is_not_told_to_who_came_for_this_one() -> None:
    follower = Follower(5)
    follower.begin(5)
    follower.feed(entry(1, "turn_started", 5, 1))
    follower.feed(entry(2, "turn_started", 6, 1))
    assert names(follower.settle(stored(5, "completed"))) == ["completed"]
    assert follower.closed


def test_a_reader_that_is_between_runs_is_not_told_of_a_later_one_than_it_came_for() -> None:
    follower = Follower(5)
    follower.begin_after(entry(1, "completed", 4, 3))
    follower.feed(entry(2, "turn_started", 6, 1))
    assert follower.need == 5
    assert names(follower.settle(stored(5, "completed"))) == ["completed"]
    assert follower.closed


def test_what_is_repeated_is_told_once() -> None:
    follower = following(5)
    told = [*follower.feed(entry(1, "turn_started", 5, 1)), *follower.feed(entry(2, "tool_executing", 5, 2))]
    told += [*follower.feed(entry(3, "turn_started", 5, 1)), *follower.feed(entry(4, "tool_executing", 5, 2))]
    assert names(told) == ["turn_started", "tool_executing"]


@pytest.mark.parametrize(("offset", "expected"), [(0, "lo"), (3, "lo"), (1, "lo")])
def test_text_that_was_told_is_cut(offset: int, expected: str) -> None:
    follower = following(5)
    follower.feed(entry(1, "text_chunk", 5, 1, type="content", chunk="Hel", offset=0))
    frames = follower.feed(entry(2, "text_chunk", 5, 2, type="content", chunk="Hello"[offset:], offset=offset))
    assert [(frame.data["chunk"], frame.data["offset"]) for frame in frames] == [(expected, 3)]


def test_a_jump_tells_what_is_missing_and_how_things_are() -> None:
    follower = following(5)
    follower.feed(entry(1, "text_chunk", 5, 1, type="content", chunk="One ", offset=0))
    assert follower.feed(entry(2, "text_chunk", 5, 3, type="content", chunk="three", offset=8)) == []
    assert follower.settle(stored(5, text="One ", seq=1)) == []
    assert follower.need == 5
    frames = follower.settle(stored(5, text="One two ", seq=2))
    assert names(frames) == ["text_chunk", "resync", "text_chunk"]
    assert [frame.data.get("chunk", frame.data.get("text")) for frame in frames] == ["two ", "One two ", "three"]
    assert [frame.id for frame in frames] == ["", "", "2-0"]


def test_a_conversation_that_was_deleted_closes_the_stream() -> None:
    follower = following(5)
    follower.feed(entry(1, "turn_started", 5, 4))
    assert follower.settle(None) == []
    assert follower.closed
