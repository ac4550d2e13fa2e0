"""Turns whose model is not in memory: they wait without a worker until one job has loaded it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from conversations import runs, stops
from conversations.console.explanations import next_step
from conversations.models import Agent, Conversation, Run
from maintenance import attempts, executor, ledger, outbox, reconciler
from maintenance.models import Attempt, Job
from models_registry import loading
from models_registry.fakes.ollama import SLOW_LOAD, OllamaServer
from models_registry.fakes.ollama_chat import refusal
from tests.conversations import events
from tests.queue import take
from tests.waiting import eventually

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaServer]:
    """An Ollama whose model `slow-load` is not in memory."""
    monkeypatch.setattr(loading, "_loaded_until", {})
    settings.TITLES = False  # they ask the model too
    with OllamaServer(load_seconds=0.3, tokens=3, delay_seconds=0.0) as started:
        settings.OLLAMA_BASE_URL = started.base_url
        yield started


@pytest.fixture
def cold(agent: Agent, server: OllamaServer) -> Agent:
    """Alice's agent, on that model."""
    agent.ai_backend, agent.model_config = "ollama", {"model": SLOW_LOAD}
    agent.save()
    return agent


def start(agent: Agent, number: int) -> list[Conversation]:
    """So many conversations, each with a question."""
    made = [Conversation.objects.create(user=agent.user, agent=agent) for _ in range(number)]
    for conversation in made:
        runs.start(conversation, "Hello")
    return made


def loads(server: OllamaServer) -> int:
    """How often the server was told to load something."""
    return sum(request.path == "/api/chat" and not request.body["messages"] for request in server.received)


def calls(server: OllamaServer) -> int:
    return sum(request.path == "/api/chat" and bool(request.body["messages"]) for request in server.received)


def perform(name: str) -> str:
    """Do the next job, which is of this function; its outcome."""
    dispatch = take()
    assert dispatch
    assert Job.objects.get(pk=dispatch[0]).name == name
    return executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="test")


@contextmanager
def in_a_thread(act: Callable[[], str]) -> Iterator[list[str]]:
    """As in another process. Answers with a list that holds what it came to, once it is left."""
    outcomes: list[str] = []

    def run() -> None:
        outcomes.append(act())
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield outcomes
    thread.join(20)
    assert not thread.is_alive()


def states() -> list[str]:
    return list(Run.objects.order_by("pk").values_list("status", flat=True))


def test_three_conversations_wait_for_one_load_and_hold_no_worker(
    cold: Agent, server: OllamaServer, work: Work
) -> None:
    made = start(cold, 3)
    assert [perform("process_turn") for _ in made] == ["succeeded"] * 3
    assert states() == ["queued"] * 3
    assert (calls(server), loads(server)) == (0, 0)
    assert [job.status for job in Job.objects.filter(name="process_turn", status__in=Job.UNFINISHED)] == [
        "scheduled"
    ] * 3

    assert work() == ["succeeded"] * 4  # the load, and each turn again
    assert states() == ["completed"] * 3
    assert (loads(server), calls(server)) == (1, 3)
    assert Job.objects.filter(name="load_model").count() == 1
    for conversation in made:
        names = events.names(conversation.pk)
        assert names[:3] == ["status_changed", "model_loading", "turn_started"]
        assert (names.count("model_loading"), names.count("status_changed"), names[-1]) == (1, 1, "completed")


def test_numbers_of_events_go_on_where_they_were_and_the_turn_counts_once(
    cold: Agent, server: OllamaServer, work: Work
) -> None:
    (conversation,) = start(cold, 1)
    work()
    published = events.published(conversation.pk)
    assert [data["seq"] for _, data in published] == list(range(1, len(published) + 1))
    assert {(data["turn"], data["attempt"]) for _, data in published} == {(1, 1)}
    assert dict(published)["model_loading"]["model"] == SLOW_LOAD
    run = Run.objects.get()
    assert (run.turn_count, run.attempt) == (1, 1)


def test_a_load_that_fails_fails_all_who_wait_for_it_in_its_words(
    cold: Agent, server: OllamaServer, work: Work
) -> None:
    server.load_script = refusal(500, "model requires more system memory (9.1 GiB) than is available")
    made = start(cold, 3)
    work()
    assert states() == ["failed"] * 3
    (load,) = Job.objects.filter(name="load_model")
    for run in Run.objects.all():
        assert f"{run.error_code}: {run.error}" == load.error
        assert run.error
    assert (loads(server), calls(server)) == (1, 0)
    for conversation in made:
        assert events.names(conversation.pk) == ["status_changed", "model_loading", "failed"]


def test_a_question_after_a_failed_load_tries_again(cold: Agent, server: OllamaServer, work: Work) -> None:
    server.load_script = refusal(500, "no memory")
    (conversation,) = start(cold, 1)
    work()
    server.load_script = None
    runs.start(conversation, "And now?")
    work()
    assert states() == ["failed", "completed"]
    assert loads(server) == 2


def test_a_worker_that_is_killed_while_it_loads_is_replaced(cold: Agent, server: OllamaServer, work: Work) -> None:
    start(cold, 2)
    assert [perform("process_turn"), perform("process_turn")] == ["succeeded"] * 2
    dispatch = take()
    assert dispatch
    attempts.claim(*dispatch, lease_token="t" * 32, worker="doomed")
    Job.objects.filter(status="running").update(lease_expires_at=timezone.now() - timedelta(seconds=60))
    assert reconciler.end_expired() == 1
    work()
    assert states() == ["completed"] * 2
    load = Job.objects.get(name="load_model")
    outcomes = Attempt.objects.filter(job=load).order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == [Attempt.Outcome.LOST, Attempt.Outcome.SUCCEEDED]


def test_a_load_that_kills_its_workers_fails_those_who_wait(cold: Agent, server: OllamaServer, work: Work) -> None:
    start(cold, 1)
    perform("process_turn")
    for death in range(3):
        dispatch = take()
        assert dispatch
        attempts.claim(*dispatch, lease_token=f"{death}" * 32, worker="doomed")
        Job.objects.filter(status="running").update(lease_expires_at=timezone.now() - timedelta(seconds=60))
        reconciler.end_expired()
    work()
    run = Run.objects.get()
    assert (run.status, run.error_code) == ("failed", "worker_lost")


def test_who_was_not_woken_looks_again(cold: Agent, server: OllamaServer, work: Work) -> None:
    (conversation,) = start(cold, 1)
    perform("process_turn")
    load = take()
    assert load
    Job.objects.filter(status="scheduled").update(not_before=timezone.now())
    assert outbox.relay() == 1
    assert perform("process_turn") == "succeeded"
    assert states() == ["queued"]
    assert events.names(conversation.pk).count("model_loading") == 1
    assert executor.perform(job_id=load[0], dispatch=load[1], worker="test") == "succeeded"
    work()
    assert states() == ["completed"]
    assert loads(server) == 1


def test_after_a_load_that_went_well_nobody_waits_again(cold: Agent, server: OllamaServer, work: Work) -> None:
    """The server may have thrown the model out by then: the call brings it back."""
    start(cold, 1)
    perform("process_turn")
    perform("load_model")
    server.memory.windows.clear()
    work()
    assert states() == ["completed"]
    assert loads(server) == 1


def test_a_run_that_waits_for_its_model_can_be_stopped(cold: Agent, server: OllamaServer, work: Work) -> None:
    (conversation,) = start(cold, 1)
    perform("process_turn")
    stops.stop(Run.objects.get())
    work()
    assert states() == ["cancelled"]
    assert events.names(conversation.pk)[-1] == "cancelled"
    assert calls(server) == 0


def test_a_load_that_an_operator_cancels_ends_the_wait(cold: Agent, server: OllamaServer, work: Work) -> None:
    start(cold, 1)
    perform("process_turn")
    ledger.cancel(Job.objects.get(name="load_model").pk)
    work()
    run = Run.objects.get()
    assert (run.status, run.error_code) == ("failed", "load_cancelled")


@pytest.mark.django_db(transaction=True)
def test_a_load_that_is_cancelled_while_it_runs_ends_and_with_it_the_wait(
    cold: Agent, server: OllamaServer, work: Work, settings: Settings
) -> None:
    settings.LEASE_RENEWAL_SECONDS = 0.1
    server.load_seconds = 60
    start(cold, 1)
    perform("process_turn")
    load = Job.objects.get(name="load_model")
    with in_a_thread(lambda: perform("load_model")) as outcomes:
        eventually(lambda: loads(server) == 1)
        assert next_step(Run.objects.get()).startswith("Its model, slow-load, is being loaded")
        ledger.cancel(load.pk)
    assert outcomes == ["failed"]
    load.refresh_from_db()
    assert load.status == "cancelled"
    work()
    run = Run.objects.get()
    assert (run.status, run.error_code) == ("failed", "load_cancelled")
    assert next_step(run).startswith("Somebody cancelled")
    (request,) = [one for one in server.received if one.path == "/api/chat"]
    assert request.hung_up_at


def test_the_console_says_that_a_run_waits_for_its_model(cold: Agent, server: OllamaServer, work: Work) -> None:
    start(cold, 1)
    assert next_step(Run.objects.get()) == ""  # it waits for a worker
    perform("process_turn")
    load = Job.objects.get(name="load_model")
    assert f"the job {load.pk} that does so waits for a worker" in next_step(Run.objects.get())
    work()
    assert next_step(Run.objects.get()) == ""


def asked(server: OllamaServer) -> int:
    return sum(request.path == "/api/ps" for request in server.received)


def test_a_model_in_memory_is_called_at_once_and_asked_about_once(
    cold: Agent, server: OllamaServer, work: Work
) -> None:
    cold.model_config = {"model": "stub"}
    cold.save()
    made = start(cold, 3)
    assert work() == ["succeeded"] * 3
    assert states() == ["completed"] * 3
    assert (asked(server), loads(server)) == (1, 0)
    assert "model_loading" not in events.names(made[0].pk)


def test_a_server_that_does_not_say_is_called(cold: Agent, settings: Settings, work: Work) -> None:
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:9"
    start(cold, 1)
    work()
    run = Run.objects.get()
    assert (run.status, run.error_code) == ("failed", "backend_unreachable")
    assert not Job.objects.filter(name="load_model").exists()


def test_backends_that_do_not_manage_models_are_not_asked(agent: Agent, work: Work) -> None:
    start(agent, 1)
    assert work() == ["succeeded"]


@pytest.mark.parametrize("model", ["llama3", "m" * 255, " blank "])
def test_a_load_has_a_key_that_is_a_tag_too(model: str) -> None:
    found = loading.key("ollama", model)
    assert len(found) <= 100
    assert found == found.strip()
    assert found != loading.key("other", model)
