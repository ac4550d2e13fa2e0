"""A run is stopped at any moment of its turns with tools, on every driver's server: it ends at once and for good."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from conversations import runs
from conversations.models import Agent, Conversation, Message, Run, ToolCall
from models_registry.fakes.http import Received, Server
from tests.conversations import events
from tests.conversations.talkers import DIALECTS, MODEL, TALK, TURNS, WORDS, Talker
from tests.conversations.tool_plots import CountingTool, give
from tests.queue import drain
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = pytest.mark.databases

PROMISE = timedelta(seconds=1)


@dataclass
class Scene:
    """Alice's agent with its tool on one server, and a worker in a thread."""

    talker: Talker
    tool: CountingTool
    tools: Server
    agent: Agent
    number: int = 0
    worked: threading.Event = field(default_factory=threading.Event)

    def talk(self) -> Run:
        """A run of several turns, in a conversation of its own."""
        self.number += 1
        conversation = Conversation.objects.create(user=self.agent.user, agent=self.agent)
        return runs.start(conversation, f"{TALK} {self.number}")

    def work(self) -> None:
        try:
            while not self.worked.is_set():
                drain()
                self.worked.wait(0.002)
        finally:
            connections.close_all()


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, valkey: Valkey, transactional_db: None, settings: Settings, agent: Agent
) -> Iterator[Scene]:
    dialect = DIALECTS[request.param]
    with ExitStack() as open_servers:
        server = open_servers.enter_context(dialect.serve())
        talker, tool = Talker(dialect, server), CountingTool(seconds=0.02)
        tools = open_servers.enter_context(Server(tool.answer))
        for name, value in dialect.settings(server).items():
            setattr(settings, name, value)
        settings.OUTBOUND_ALLOWED = [urlsplit(tools.url).netloc]
        agent.ai_backend, agent.model_config, agent.system_tools = dialect.name, {"model": MODEL}, []
        agent.save()
        give(agent, tools.url)
        made = Scene(talker, tool, tools, agent)
        thread = threading.Thread(target=made.work)
        thread.start()
        yield made
        made.worked.set()
        thread.join()


def ended(run: Run) -> Run:
    eventually(lambda: Run.objects.get(pk=run.pk).status in Run.TERMINAL)
    return Run.objects.get(pk=run.pk)


def whole_run(scene: Scene) -> float:
    """Nobody stops it; the seconds that it takes."""
    begun = time.monotonic()
    run = ended(scene.talk())
    assert (run.status, run.turn_count) == ("completed", TURNS)
    assert "".join(run.messages.filter(role="assistant").values_list("content", flat=True)) == "".join(WORDS) * TURNS
    return time.monotonic() - begun


def check_end(run: Run) -> None:
    """One terminal event, nothing after it, all shown is stored, and each call has its one answer."""
    published = [(name, data) for name, data in events.published(run.conversation_id) if data["run_id"] == run.pk]
    assert [name for name, _ in published if name in events.TERMINAL] == [run.status]
    assert published[-1][0] == run.status
    stored = "".join(run.messages.filter(role="assistant").order_by("position").values_list("content", flat=True))
    assert stored.startswith(events.text_of(run.conversation_id, run.pk))
    assert ("".join(WORDS) * TURNS).startswith(stored)
    answered = sorted(Message.objects.filter(run=run, role="tool").values_list("tool_call_id", flat=True))
    assert answered == sorted(run.tool_calls.exclude(status__in=ToolCall.UNANSWERED).values_list("call_id", flat=True))
    assert len(answered) == run.tool_calls.count()
    assert not run.messages.filter(status=Message.Status.STREAMING).exists()


def closed(received: Received, before: float) -> bool:
    return received.answered or (received.hung_up_at is not None and received.hung_up_at < before)


def stop(scene: Scene, run: Run) -> Run:
    """Stop it, send the next message at once, and see both end."""
    begun, at = time.monotonic(), timezone.now()
    runs.stop(run)
    following = runs.start(run.conversation, "And then?")
    following, run = ended(following), ended(run)
    assert (following.status, following.error, following.messages.get().content) == ("completed", "", "Yes.")
    check_end(run)
    limit = begun + PROMISE.total_seconds()
    eventually(lambda: all(closed(asked, limit) for asked in (*scene.talker.asked, *scene.tools.received)))
    assert run.finished_at
    assert run.finished_at - at < PROMISE
    return run


@pytest.mark.parametrize("points", [5, pytest.param(67, marks=pytest.mark.long)])
@pytest.mark.parametrize("scene", DIALECTS, indirect=True)
def test_f06_a_stop_at_any_moment_ends_the_run_for_good(scene: Scene, points: int) -> None:
    whole_run(scene)  # the first is slower than the others
    seconds, chance, ends = min(whole_run(scene), whole_run(scene)), random.Random(points), []
    for _ in range(points):
        run = scene.talk()
        time.sleep(chance.uniform(0, seconds))
        run = stop(scene, run)
        ends.append(run.status)
        assert all(count == 1 for count in scene.tool.counted.values())
    assert set(ends) <= {"cancelled", "completed"}
    assert ends.count("cancelled") >= points / 3


@pytest.mark.parametrize("scene", DIALECTS, indirect=True)
def test_f06_a_stop_ends_a_tool_that_does_not_answer(scene: Scene) -> None:
    scene.tool.stalling.add("1-0")
    run = scene.talk()
    eventually(lambda: scene.tool.counted["1-0"])
    run = stop(scene, run)
    assert run.status == "cancelled"
    call = run.tool_calls.get()
    said = "Error: The run was stopped before this call was answered. It may have been carried out."
    assert (call.status, call.result) == ("cancelled", said)
    assert scene.tools.received[0].hung_up_at
