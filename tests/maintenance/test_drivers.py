"""The three drivers: `database` is what all other tests use; here are `sync` and `redis`."""

import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings
from rq.serializers import JSONSerializer

from conversations import recovery, runs
from conversations.models import Conversation, Message, Run
from maintenance import (
    attempts,
    broker,
    checks,
    executor,
    inprocess,
    leftovers,
    outbox,
    pauses,
    queues,
    reconciler,
    streams,
)
from maintenance.errors import Refusal
from maintenance.models import Job
from maintenance.taking import Taker
from tests.conversations.scripts import call, say, turns
from tests.maintenance import jobs
from tests.queue import take
from tests.services import Valkey

Work = Callable[[], list[str]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


@pytest.fixture
def sync(settings: Settings, transactional_db: None) -> Iterator[None]:
    """No Redis at all: its address leads nowhere."""
    settings.QUEUE_CONNECTION = "sync"
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    queues.forget()
    yield
    queues.forget()
    inprocess.STORE.streams.clear()


@pytest.fixture
def direct(settings: Settings, work: Work) -> Work:
    """The driver `redis`, and what drains its queues."""
    settings.QUEUE_CONNECTION = "redis"
    return work


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def test_sync_runs_the_job_before_enqueue_returns_and_keeps_the_same_rows(sync: None, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="now")
    row.refresh_from_db()
    assert (row.status, row.executions.get().outcome, lines(path)) == ("completed", "succeeded", ["now"])


def test_sync_waits_for_the_commit(sync: None, path: str) -> None:
    with transaction.atomic():
        jobs.write_line.enqueue(path=path, text="now")
        assert lines(path) == []
    assert lines(path) == ["now"]


def test_sync_records_a_failure(sync: None, path: str) -> None:
    row = jobs.fails_for_good.enqueue(path=path)
    row.refresh_from_db()
    assert row.error == "cannot_work: It cannot work."


def test_sync_takes_the_turns_of_a_run_one_after_another(sync: None, conversation: Conversation) -> None:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.max_turns = 30
    conversation.agent.save()
    run = runs.start(conversation, turns(*[[call("f")] for _ in range(25)], [say("done")]))
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 26)
    names = [fields[b"event"] for _, fields in inprocess.STORE.streams[f"stream:conversation:{conversation.pk}"]]
    assert names[-1] == b"completed"


def test_sync_needs_no_redis_for_streams_signals_and_pauses(sync: None) -> None:
    ids = streams.append("stream:a", [("one", {"n": 1}), ("two", {"n": 2})])
    assert streams.is_cursor(ids[0])
    broker.quick().set("cancel:run:1", 1)
    assert streams.append_and_look("stream:a", [("three", {})], "cancel:run:1")[1]
    assert outbox.relay() == 0
    with pytest.raises(Refusal, match="nothing to pause"):
        pauses.pause("low", by=None, reason="a test")
    streams.delete("stream:a")
    assert not broker.quick().exists("stream:a")


def test_sync_has_nothing_for_workers_to_take(sync: None) -> None:
    for command in ("rqworker", "runworkers"):
        with pytest.raises(CommandError, match="QUEUE_CONNECTION is sync"):
            call_command(command)


def test_redis_writes_the_row_when_the_job_is_claimed(direct: Work, path: str) -> None:
    row = jobs.write_line.tagged("folder:7").enqueue(path=path, text="done")
    assert not Job.objects.exists()
    assert direct() == ["succeeded"]
    stored = Job.objects.get()
    assert (stored.pk, stored.name, stored.status, stored.starts) == (row.pk, "write_line", "completed", 1)
    assert stored.tag_rows.get().tag == "folder:7"
    assert stored.executions.get().outcome == "succeeded"
    assert lines(path) == ["done"]


def test_redis_sends_nothing_of_a_transaction_that_is_rolled_back(direct: Work, path: str) -> None:
    with transaction.atomic():
        jobs.write_line.enqueue(path=path, text="never")
        transaction.set_rollback(True)
    assert direct() == []


def test_redis_runs_two_copies_once(direct: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="once")
    broker.quick().rpush("rq:queue:default", f"{row.pk}-1")
    assert direct() == ["succeeded", "not claimed"]
    assert lines(path) == ["once"]


def test_redis_writes_first_what_must_not_be_lost(direct: Work, path: str) -> None:
    jobs.write_line.keyed("k").enqueue(path=path, text="keyed")
    jobs.write_line.limited("l", 1).enqueue(path=path, text="limited")
    jobs.write_line.after(timedelta(hours=1)).enqueue(path=path, text="delayed")
    assert sorted(Job.objects.values_list("status", flat=True)) == ["queued", "queued", "scheduled"]


def test_redis_away_at_the_push_writes_the_row_after_all(direct: Work, valkey: Valkey, path: str) -> None:
    valkey.stop()
    row = jobs.write_line.enqueue(path=path, text="late")
    assert Job.objects.get().status == "pending"
    valkey.start()
    Job.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    outbox.relay()
    assert direct() == ["succeeded"]
    assert Job.objects.get().pk == row.pk


def test_redis_puts_back_what_a_worker_took_and_did_not_start(direct: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="once")
    assert Taker(broker.quick(), ["default"], pauses.mirror).take(0) == ("default", f"{row.pk}-1")
    assert leftovers.sweep() == 0
    assert leftovers.sweep() == 1
    assert direct() == ["succeeded"]
    assert lines(path) == ["once"]


def test_redis_recovers_a_job_whose_worker_died_by_its_row(direct: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    dispatch = take()
    assert dispatch
    attempts.claim(*dispatch, lease_token="t" * 32, worker="doomed")
    Job.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert reconciler.end_expired() == 1
    assert direct() == ["succeeded"]
    assert Job.objects.get(pk=row.pk).recoveries == 1


def test_redis_losing_a_job_fails_the_run_that_waits_for_it(direct: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    Run.objects.update(queued_at=timezone.now() - timedelta(minutes=1))
    assert recovery.revive_queued() == 0
    broker.quick().flushall()
    assert recovery.revive_queued() == 1
    run.refresh_from_db()
    assert (run.status, run.error_code) == ("failed", "job_lost")


def test_redis_answers_a_conversation(direct: Work, conversation: Conversation) -> None:
    first, second = runs.start(conversation, "one"), runs.start(conversation, "two")
    direct()
    assert [Run.objects.get(pk=run.pk).status for run in (first, second)] == ["completed", "completed"]
    assert Message.objects.filter(role="assistant").count() == 2


def test_a_hostile_call_in_redis_runs_no_code(direct: Work, tmp_path: Path) -> None:
    row = jobs.write_line.enqueue(path=str(tmp_path / "x"), text="x")
    whole = {"name": "os.system", "queue": "default", "arguments": {"command": "touch owned"}, "tags": []}
    whole |= {
        "max_attempts": 1,
        "max_recoveries": 3,
        "timeout_seconds": 5,
        "created_by_id": None,
        "pushed_at": "2026-01-01T00:00:00Z",
    }
    data = JSONSerializer.dumps(["os.system", None, [], {"job_id": row.pk, "dispatch": 1, "whole": whole}])
    broker.quick().hset(f"rq:job:{row.pk}-1", "data", zlib.compress(data))
    assert direct() == ["failed"]
    assert Job.objects.get().error == "unknown_function: There is no job function os.system."
    assert executor.current() is None


def test_an_unknown_driver_stops_the_start(settings: Settings) -> None:
    settings.QUEUE_CONNECTION = "sqs"
    assert [message.id for message in checks.queue_connection(None)] == ["maintenance.E004"]
