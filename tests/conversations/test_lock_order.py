"""Who decides about a conversation and a worker that writes to it never wait for each other, or one would be killed."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from conversations import calls, crash, journal, runs, transitions, turns
from conversations.models import Conversation, Message, Run, Snapshot, ToolCall
from conversations.requests import Asked
from maintenance.models import new_job_id
from models_registry.backends.base import ChatRequest, DeltaType, ModelConfig, Reply, Timeouts
from tests.waiting import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]

ASKED = Asked(
    ChatRequest(
        messages=[], config=ModelConfig(model="m"), timeouts=Timeouts(connect=1, first_byte=1, idle=1, total=1)
    ),
    {"estimated": 1, "scale": 1, "trimmed": 0, "shortened": {}, "images": 0, "without": {}},
)


def record(run: Run) -> None:
    turns.record(run, journal.Draft(position=7), Reply(content="So"), ASKED)


def save(run: Run) -> None:
    draft = journal.Draft(position=7)
    draft.add(DeltaType.CONTENT, "So")
    journal.save(run, draft, *draft.take(), 1)


def settle(run: Run) -> None:
    calls.settle(run.tool_calls.select_related("message").get(), run, ToolCall.Status.SUCCEEDED, "done")


@transaction.atomic
def recover(run: Run) -> None:
    crash.recover(run.pk, run.lease_token)


@pytest.fixture
def run(valkey: object, conversation: Conversation) -> Run:
    """Held by a worker, with one call that is being made."""
    made = runs.start(conversation, "hello")
    Run.objects.update(status="running", lease_token="worker", lease_expires_at=timezone.now(), job_id=new_job_id())
    run = Run.objects.select_related("conversation").get(pk=made.pk)
    Snapshot.objects.create(run=run, agent_name="Parrot", backend="fake", model="m")
    said = Message.objects.create(conversation=conversation, run=run, position=2, role="assistant")
    ToolCall.objects.create(
        message=said, run=run, call_id="call", position=0, name="f", kind="system", status="running"
    )
    return run


@pytest.mark.parametrize("write", [record, save, settle, recover])
def test_a_worker_and_somebody_who_stops_its_run_never_wait_for_each_other(
    run: Run, write: Callable[[Run], None]
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("one writer at a time")
    failures: list[Exception] = []

    def work() -> None:
        try:
            write(run)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        transitions.lock(run.conversation_id)
        thread.start()
        eventually(lambda: not thread.is_alive() or waiting())
        Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now())
    thread.join()
    assert failures == []


def waiting() -> bool:
    """Whether somebody waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
