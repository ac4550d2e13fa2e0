"""A run of a hundred turns with tools: each turn costs as much as the one before."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from conversations import runs
from conversations.models import Agent, Conversation, Run
from maintenance import executor
from tests.conversations import events
from tests.conversations.scripts import call, say, turns
from tests.queue import take

TURNS = 100
WARM = 10
MEGABYTE = 1024 * 1024
NO_COUNT = {"usage": None}  # words for tokens would be a suspiciously small count


@pytest.fixture
def run(valkey: object, transactional_db: None, agent: Agent, conversation: Conversation) -> Run:
    """Its model calls a tool in all turns but the last."""
    agent.model_config, agent.max_turns = {"model": "script"}, TURNS
    agent.save()
    conversation.refresh_from_db()
    tool_turn = [say("once more"), call("todo_list"), NO_COUNT]
    return runs.start(conversation, turns(*[tool_turn] * (TURNS - 1), [say("the end"), NO_COUNT]))


def take_turn() -> None:
    dispatch = take()
    assert dispatch
    assert executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="test") == "succeeded"


def statements(act: Callable[[], None]) -> int:
    """How many this thread sends to the database; the publisher's own depend on the time that passes."""
    with CaptureQueriesContext(connection) as queries:
        act()
    return len(queries)


def objects() -> int:
    """How many objects there are. Unlike the memory of a process, it does not depend on what ran here before."""
    gc.collect()
    return len(gc.get_objects())


def test_a_turn_takes_as_many_statements_and_leaves_as_little_behind_late_in_a_run_as_early(run: Run) -> None:
    taken = [statements(take_turn) for _ in range(WARM)]
    before = objects()
    taken += [statements(take_turn) for _ in range(TURNS - WARM)]
    assert objects() - before < 20 * (TURNS - WARM)
    run.refresh_from_db()
    assert (run.status, run.turn_count, run.tool_calls.filter(status="succeeded").count()) == ("completed", 100, 99)
    assert events.names(run.conversation_id)[-1] == "completed"
    assert set(taken[2 : TURNS - 1]) == {taken[2]}
    assert taken[2] <= 60


@pytest.mark.long
def test_the_memory_of_a_long_run_is_flat(run: Run) -> None:
    held, peaks = [], []
    tracemalloc.start()
    try:
        for _ in range(TURNS):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            take_turn()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    run.refresh_from_db()
    assert run.status == "completed"
    assert held[-1] - held[WARM - 1] < MEGABYTE  # what a turn leaves behind
    assert max(peaks[WARM:]) < 4 * MEGABYTE  # what it needs meanwhile: its history of two hundred messages
