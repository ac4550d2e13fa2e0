"""Pulls with real workers, a server that pulls as Ollama does, and events over HTTP."""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from conversations import runs
from conversations.models import Agent, Conversation, Run
from maintenance.models import Job
from models_registry import pulls
from models_registry.fakes.ollama import OllamaServer
from models_registry.models import Pull
from tests.acceptance.conftest import Workers
from tests.acceptance.test_streams import Web, _events
from tests.asgi import Event
from tests.processes import command_line
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]
Status = Pull.Status
MODEL = "pull-slow:latest"


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[OllamaServer]:
    """Configured here and in the processes that are started from here."""
    with OllamaServer(pull_seconds=8) as server:
        settings.OLLAMA_BASE_URL = server.base_url
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        yield server


@pytest.fixture
def pulling(ollama: OllamaServer, valkey: Valkey, transactional_db: None) -> Iterator[Workers]:
    running = Workers()
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
def web(ollama: OllamaServer, valkey: Valkey, alice: User) -> Iterator[Web]:
    running = Web(alice)
    try:
        yield running
    finally:
        running.kill()


def fresh(pull: Pull) -> Pull:
    return Pull.objects.get(pk=pull.pk)


def start(user: User, model: str = MODEL) -> Pull:
    return pulls.start("ollama", model, user)[0]


class Reader(threading.Thread):
    """Reads a pull's events until the stream ends; one with `breaks_after` events comes back once with its cursor."""

    def __init__(self, web: Web, pull: Pull, breaks_after: int = 0) -> None:
        super().__init__(daemon=True)
        self.web, self.path = web, f"/api/v1/ai-backends/ollama/models/pull/{pull.pk}/stream"
        self.heard: list[Event] = []
        self.breaks_after = breaks_after
        self.start()

    def run(self) -> None:
        if self.breaks_after:
            self._read(self.breaks_after)
        self._read(100_000)

    def _read(self, at_most: int) -> None:
        cursor = self.heard[-1].id if self.heard else ""
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.web.token}", **({"Last-Event-ID": cursor} if cursor else {})}
        connection.request("GET", self.path, headers=headers)
        try:
            for event in _events(connection.getresponse()):
                if event.name != ":":
                    self.heard.append(event)
                if len(self.heard) >= at_most:
                    return
        finally:
            connection.close()

    def ended(self) -> list[Event]:
        self.join(60)
        assert not self.is_alive()
        return self.heard


def horse_of(workers: Workers, pull: Pull) -> int:
    title = f"rqworker: horse {fresh(pull).job_id}"
    return eventually(lambda: next((pid for pid in workers.pids() if command_line(pid) == title), 0))


def test_all_readers_see_the_same_end_though_the_worker_dies(pulling: Workers, web: Web, alice: User) -> None:
    pull = start(alice)
    readers = [Reader(web, pull), Reader(web, pull, breaks_after=12)]
    eventually(lambda: fresh(pull).percentage > 20)
    os.kill(horse_of(pulling, pull), signal.SIGKILL)
    eventually(lambda: Job.objects.get(pk=pull.job_id).recoveries == 1)
    eventually(lambda: fresh(pull).percentage > 60)
    readers.append(Reader(web, pull))
    for reader in readers:
        events = reader.ended()
        assert events[-1].name == "completed"
        assert [event.name for event in events].count("completed") == 1
        percentages = [event.data["percentage"] for event in events if "percentage" in event.data]
        assert percentages == sorted(percentages)
        assert percentages[-1] == 100
        assert not any("null" in json.dumps(event.data) for event in events)
        assert {one["digest"]: one["completed"] for one in events[-1].data["layers"]} == {
            one["digest"]: one["total"] for one in events[-1].data["layers"]
        }
    assert [event.name for event in readers[0].heard].count("started") == 1
    late = readers[2].heard
    assert [event.name for event in late[:3]] == ["connected", "started", "progress"]
    assert late[2].data["percentage"] > 60
    assert fresh(pull).status == Status.COMPLETED


def test_f11_pulls_keep_no_conversation_waiting(pulling: Workers, alice: User, agent: Agent) -> None:
    queued = [start(alice, f"pull-slow:{number}") for number in range(3)]
    eventually(lambda: fresh(queued[0]).status == Status.RUNNING)
    conversations = [Conversation.objects.create(user=alice, agent=agent) for _ in range(10)]
    asked = [runs.start(conversation, "Hello.") for conversation in conversations]
    eventually(lambda: Run.objects.filter(status="completed").count() == len(asked))
    assert [fresh(pull).status for pull in queued] == [Status.RUNNING, Status.QUEUED, Status.QUEUED]
    waits = [run.started_at - run.queued_at for run in Run.objects.all() if run.started_at and run.queued_at]
    assert max(wait.total_seconds() for wait in waits) < 5


def test_a_drain_hands_the_pull_back_and_it_goes_on(pulling: Workers, ollama: OllamaServer, alice: User) -> None:
    pull = start(alice)
    eventually(lambda: fresh(pull).percentage > 10)
    began = time.monotonic()
    assert pulling.stop() == 0
    assert time.monotonic() - began < 5
    row = fresh(pull)
    assert (row.status, row.phase) == (Status.QUEUED, "waiting for a worker")
    assert row.percentage > 10
    assert [attempt.outcome for attempt in Job.objects.get(pk=pull.job_id).executions.all()] == ["handed_back"]
    pulling.start()
    eventually(lambda: fresh(pull).status == Status.COMPLETED)
    assert Job.objects.get(pk=pull.job_id).recoveries == 0
    assert any(name.startswith("pull-slow") for name in ollama.installed)


def test_a_drain_and_a_cancel_do_not_wait_for_a_silent_server(pulling: Workers, alice: User) -> None:
    drained, cancelled = start(alice, "pull-silent"), start(alice, "pull-stall")
    eventually(lambda: fresh(drained).completed_bytes > 0)
    began = time.monotonic()
    assert pulling.stop() == 0
    assert time.monotonic() - began < 5
    assert fresh(drained).status == Status.QUEUED
    pulling.start()
    eventually(lambda: fresh(drained).status == Status.RUNNING)
    pulls.cancel(fresh(drained), alice)
    eventually(lambda: fresh(drained).status == Status.CANCELLED, within=15)
    eventually(lambda: fresh(cancelled).status == Status.RUNNING)  # its turn has come
    eventually(lambda: fresh(cancelled).completed_bytes > 0)
    pulls.cancel(fresh(cancelled), alice)
    eventually(lambda: fresh(cancelled).status == Status.CANCELLED, within=15)


def test_a_cancel_frees_the_server_within_a_second(
    pulling: Workers, ollama: OllamaServer, web: Web, alice: User
) -> None:
    pull = start(alice)
    reader = Reader(web, pull)
    eventually(lambda: fresh(pull).percentage > 10)
    (download,) = ollama.downloads.values()
    assert download.waiters == 1
    assert pulls.cancel(fresh(pull), alice).status == Status.CANCELLING
    eventually(lambda: download.waiters == 0, within=1)
    assert reader.ended()[-1].name == "cancelled"
    assert fresh(pull).status == Status.CANCELLED
