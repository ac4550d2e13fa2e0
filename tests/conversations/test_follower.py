"""Streams that are rebuilt, from every cut point and after every loss, are what the database has."""

from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversations.frames import CONTENT, THINKING
from tests.conversations.clients import Client, Connection, Cut, OldClient, same
from tests.conversations.simulation import World

Step = tuple[str, Any]

TEXTS = st.text(alphabet="ab é𝄞\n", min_size=1, max_size=5)
SAY = st.tuples(st.sampled_from([f"say {CONTENT}", f"say {THINKING}"]), TEXTS)
WORK = st.sampled_from(["publish", "publish", "save", "event", "next turn", "ask"]).map(lambda name: (name, None))
TROUBLE = st.one_of(
    st.sampled_from(["publish twice", "flush", "outage", "return"]).map(lambda name: (name, None)),
    st.tuples(st.just("lose tail"), st.integers(1, 4)),
)
CRASH = st.one_of(
    st.tuples(st.just("crash"), st.sampled_from(["retry", "retry", "fail"])), st.just(("late writer", None))
)
TURNOVER = st.sampled_from([("end", None), ("announce", None)])
ENDS = st.sampled_from(["completed", "completed", "failed", "cancelled"])


class Story:
    """Steps of the world, taken one at a time; at their end every run is brought to its own."""

    def __init__(self, steps: list[Step], ends: list[str], lags: list[int]) -> None:
        self.world = World()
        self.lags = cycle(lags)
        self.steps = list(steps)
        self.ends = list(ends)
        self.world.start()

    def advance(self) -> bool:
        """Take a few steps before anybody looks again. False when the story is over."""
        taken = [self._advance() for _ in range(next(self.lags))]
        return any(taken)

    def _advance(self) -> bool:
        world = self.world
        if world.run.ended and (self.steps or not world.unannounced) and self._start():
            return True
        if not world.run.ended and not world.busy and world.run.status != "waiting_for_tool":
            world.claim()
        elif self.steps:
            self._take(*self.steps.pop(0))
        elif world.unannounced:
            world.announce()
        elif not world.run.ended:
            world.end(self.ends[len(world.runs) - 1])
        elif world.away:
            world.away = False
        else:
            return False
        return True

    def _start(self) -> bool:
        """The next run begins, perhaps before the end of this one is announced."""
        if len(self.world.runs) == len(self.ends):
            return False
        self.world.start()
        return True

    def _take(self, name: str, value: Any) -> None:
        world = self.world
        anytime: dict[str, Callable[[], Any]] = {
            "flush": world.flush,
            "lose tail": lambda: world.lose_tail(value),
            "outage": lambda: setattr(world, "away", True),
            "return": lambda: setattr(world, "away", False),
            "announce": world.announce,
            "late writer": world.write_late,
        }
        speaking: dict[str, Callable[[], Any]] = {
            f"say {CONTENT}": lambda: world.say(CONTENT, value),
            f"say {THINKING}": lambda: world.say(THINKING, value),
            "save": world.save,
        }
        working: dict[str, Callable[[], Any]] = {
            "publish": world.publish,
            "publish twice": lambda: world.publish(twice=True),
            "event": lambda: world.event("tool_executing"),
            "next turn": world.wind_up,
            "ask": world.ask,
            "crash": lambda: world.crash(value),
        }
        if name in anytime:
            anytime[name]()
        elif name == "end" and not world.run.ended:
            world.end(self.ends[len(world.runs) - 1])
        elif world.busy and (name in working or not world.recorded):
            {**speaking, **working}[name]()


def stories(*kinds: st.SearchStrategy[Step], runs: int = 1) -> st.SearchStrategy[Story]:
    steps = st.lists(st.one_of(SAY, SAY, WORK, *kinds), max_size=40)
    lags = st.lists(st.integers(1, 6), min_size=1, max_size=10)
    return st.builds(Story, steps, st.lists(ENDS, min_size=runs, max_size=runs), lags)


def cutting(frames: int) -> Callable[[], bool]:
    """Whether the connection breaks before the next frame: after so many."""
    left = frames

    def cut_before() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return cut_before


def rebuild(story: Story, cuts: list[int], keeps_cursor: list[bool]) -> None:
    """Read a story with a client whose connection breaks, and compare what it has with the database."""
    client, world = Client(), story.world
    cut, keeps = iter(cuts), cycle(keeps_cursor)
    fetches = False
    while 1 not in client.ends:
        cursor = client.cursor if next(keeps) else None
        fetches = cursor is None and not world.opening().under_way
        if cursor is None:
            client.begin_without_cursor()
        try:
            Connection(world, client.take, story.advance, cut_before=cutting(next(cut, FOREVER))).run(cursor)
        except Cut:
            story.advance()
        if client.asked and world.run.status == "waiting_for_tool":
            client.answered()
            world.answer()
    assert client.ends[1] == [world.run.status]
    # Without a cursor, of a run that is over only its end is told: the text is in the conversation then.
    assert fetches or same(client.texts[1], world, 1)


def rebuild_all(story: Story, cuts: list[int]) -> None:
    """The same with a client that follows run after run."""
    client, world, fetched = Client(), story.world, 0
    for frames in (*cuts, FOREVER):
        if client.cursor is None and not world.opening().under_way:
            fetched = world.run.id
        with suppress(Cut):
            Connection(world, client.take, story.advance, follow=True, cut_before=cutting(frames)).run(client.cursor)
        story.advance()
    for run_id, ends in client.ends.items():
        assert ends == [world.runs[run_id - 1].status]
        assert run_id <= fetched or same(client.texts[run_id], world, run_id)
    assert 3 in client.ends


FOREVER = 10**6
PROFILE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CUTS = st.lists(st.integers(0, 12), max_size=6)


@PROFILE
@given(stories(TROUBLE, CRASH), CUTS, st.lists(st.booleans(), min_size=8))
def test_f33_a_stream_rebuilt_from_any_cut_is_the_stored_text(
    story: Story, cuts: list[int], keeps_cursor: list[bool]
) -> None:
    rebuild(story, cuts, keeps_cursor)


@PROFILE
@given(stories(TROUBLE, CRASH, TURNOVER, runs=3), CUTS)
def test_a_reader_that_follows_gets_every_run_and_each_end_once(story: Story, cuts: list[int]) -> None:
    rebuild_all(story, cuts)


@PROFILE
@given(stories(TROUBLE))
def test_an_old_client_that_stays_gets_every_character_once(story: Story) -> None:
    client, world = OldClient(), story.world
    while not client.ends:
        Connection(world, client.take, story.advance).run(None)
        if client.asked and world.run.status == "waiting_for_tool":
            client.asked = False
            world.answer()
    assert client.ends == [world.run.status]
    assert same(client.text, world, 1)


def steps(text: str) -> list[Step]:
    """`"say content a, publish, crash retry"` as steps."""
    found: list[Step] = []
    for step in text.split(", "):
        name, _, value = step.rpartition(" ")
        found.append((name, value) if name.startswith(("say", "crash")) else (step, None))
    return found


@pytest.mark.parametrize(
    ("text", "lags", "cuts", "keeps_cursor"),
    [
        # Lost thinking is not in the database yet when the next content shows the jump.
        (
            "say content a, publish, say thinking a, publish, flush, publish, say content a, publish",
            [1, 2],
            [6],
            [False, True],
        ),
        (
            "say content a, publish, say thinking a, publish, flush, say content a, publish, say thinking a",
            [2],
            [6],
            [False, True],
        ),
        # The attempt that told the text is over, and the new one's text is as long.
        ("say content aa, publish, outage, crash retry, say content bb", [1], [], [True]),
        (
            "say content a, publish, flush, save, crash retry, next turn, say content a, event, publish, crash retry",
            [2],
            [6],
            [False],
        ),
        # The reply was stored and not published when its worker died.
        ("say content aaa, next turn, flush, crash retry", [1, 4], [], [True]),
    ],
)
def test_a_story_that_was_once_told_wrongly(
    text: str, lags: list[int], cuts: list[int], keeps_cursor: list[bool]
) -> None:
    rebuild(Story(steps(text), ["completed"], lags), cuts, keeps_cursor)


def test_a_resync_never_makes_a_reader_one_of_another_run() -> None:
    text = "publish, publish, say content a, say thinking a, publish, flush, crash retry, publish, outage"
    rebuild_all(Story(steps(text), ["completed"] * 3, [3]), [5, 3])


def test_an_end_is_still_told_after_the_resync_before_it_was_cut_off() -> None:
    text = "say content a, publish, end, say content a, publish, say content a, publish, flush"
    rebuild_all(Story(steps(text), ["completed"] * 3, [3]), [9, 2])
