"""Real workers and a model that takes its time: who waits for it holds none of them, and a death costs only time."""

import os
import signal
from collections.abc import Iterator

import pytest

from conversations import runs
from conversations.models import Agent, Conversation, Run
from maintenance.models import Attempt, Job
from models_registry.fakes.ollama import SLOW_LOAD, OllamaServer
from tests.acceptance.conftest import Workers
from tests.conversations import events
from tests.processes import command_line, until
from tests.services import Valkey

pytestmark = pytest.mark.acceptance


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer(load_seconds=4.0, tokens=3, delay_seconds=0.0) as started:
        yield started


@pytest.fixture
def cold(agent: Agent) -> Agent:
    """Alice's agent, on a model that is not in memory."""
    agent.ai_backend, agent.model_config = "ollama", {"model": SLOW_LOAD}
    agent.save()
    return agent


@pytest.fixture
def loaders(valkey: Valkey, transactional_db: None, server: OllamaServer) -> Iterator[Workers]:
    """Two workers that know this server."""
    running = Workers(OLLAMA_BASE_URL=server.base_url, FAKE_BACKEND="1")
    try:
        running.start()
        yield running
    finally:
        running.kill()


def ask(agent: Agent) -> Conversation:
    conversation = Conversation.objects.create(user=agent.user, agent=agent)
    runs.start(conversation, "Hello")
    return conversation


def ended(*conversations: Conversation) -> list[str]:
    """The states of their runs, once all have ended."""
    of_these = Run.objects.filter(conversation__in=conversations).order_by("pk")
    until(lambda: all(run.status in Run.TERMINAL for run in of_these.all()), 90)
    return [run.status for run in of_these.all()]


def test_a_horse_that_is_killed_while_it_loads_costs_only_time(
    loaders: Workers, cold: Agent, server: OllamaServer
) -> None:
    waiting = [ask(cold) for _ in range(3)]
    until(lambda: Job.objects.filter(name="load_model", status="running").exists(), 30)
    load = Job.objects.get(name="load_model")
    until(lambda: Run.objects.filter(status="queued").count() == 3, 30)

    # One worker loads, the other one is free meanwhile.
    warm = Agent.objects.create(
        user=cold.user, name="Warm", slug="warm", ai_backend="fake", model_config={"model": "echo"}
    )
    assert ended(ask(warm)) == ["completed"]
    assert Job.objects.get(pk=load.pk).status == "running"

    horse = next(pid for pid in loaders.pids() if command_line(pid) == f"rqworker: horse {load.pk}")
    os.kill(horse, signal.SIGKILL)
    assert ended(*waiting) == ["completed"] * 3
    attempts = Attempt.objects.filter(job=load).order_by("number").values_list("outcome", flat=True)
    assert list(attempts) == ["lost", "succeeded"]
    for conversation in waiting:
        assert events.names(conversation.pk).count("model_loading") == 1
