"""A tool answers when its worker has been given up: what somebody else decided stays, and nothing more is told."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from conversations import runs
from conversations.models import Agent, Conversation, Run
from conversations.tools import INTERRUPTED
from maintenance import reconciler
from maintenance.models import Job
from models_registry.fakes.http import Play, Received, Server, document
from tests.conversations import events
from tests.conversations.scripts import call, say, turns
from tests.conversations.tool_plots import give
from tests.queue import drain
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = pytest.mark.databases


class SlowTool:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.called, self.released = threading.Event(), threading.Event()

    def answer(self, received: Received) -> Play:
        self.called.set()
        while not self.released.is_set():
            yield 0.005
        yield from (move for move in document(200, {"done": True}) if isinstance(move, bytes))


@pytest.fixture
def tool(settings: Settings, valkey: Valkey, transactional_db: None, agent: Agent) -> Iterator[SlowTool]:
    slow = SlowTool()
    with Server(slow.answer) as server:
        settings.OUTBOUND_ALLOWED = [urlsplit(server.url).netloc]
        settings.LEASE_RENEWAL_SECONDS = 600  # a worker that finds its lease gone ends its process: here, the tests
        agent.model_config = {"model": "script"}
        agent.save()
        give(agent, server.url)
        yield slow
        slow.released.set()


@pytest.fixture
def worker() -> Iterator[Callable[[], list[str]]]:
    """Begins to work, in a thread; what it is then asked for are the outcomes, which it waits for."""
    outcomes: list[str] = []

    def work() -> None:
        try:
            outcomes.extend(drain())
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)

    def ended() -> list[str]:
        if not thread.ident:
            thread.start()
            return []
        thread.join()
        return outcomes

    yield ended
    thread.join()


def give_up() -> None:
    """The worker is taken for dead, and its job is queued again."""
    long_ago = timezone.now() - timedelta(hours=1)
    Job.objects.filter(status="running").update(lease_expires_at=long_ago)
    Run.objects.filter(status="running").update(lease_expires_at=long_ago)
    assert reconciler.end_expired() == 1


@pytest.mark.parametrize("before", [True, False], ids=["another-was-faster", "nobody-took-it-up-yet"])
def test_an_answer_that_comes_too_late_is_neither_stored_nor_told(
    tool: SlowTool, worker: Callable[[], list[str]], conversation: Conversation, before: bool
) -> None:
    run = runs.start(conversation, turns([say("let me see"), call("count", thing="x")], [say("the end")]))
    worker()
    assert tool.called.wait(20)
    eventually(lambda: "tool_executing" in events.names(conversation.pk))
    give_up()
    if before:
        assert drain() == ["succeeded", "succeeded"]
    tool.released.set()
    worker()
    drain()
    run.refresh_from_db()
    (made,) = run.tool_calls.all()
    assert (run.status, run.attempt, made.status, made.result) == ("completed", 2, "failed", f"Error: {INTERRUPTED}")
    assert list(run.messages.filter(role="tool").values_list("content", flat=True)) == [f"Error: {INTERRUPTED}"]
    assert events.names(conversation.pk).count("tool_completed") == 1
    assert events.names(conversation.pk)[-1] == "completed"
