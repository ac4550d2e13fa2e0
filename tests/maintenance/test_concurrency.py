"""Concurrency keys: at most so many jobs of a key are queued or running, and the others wait their turn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connections
from django.utils import timezone

from maintenance import attempts, broker, ledger, outbox, queues, reconciler
from maintenance.attempts import Ending, Execution
from maintenance.ledger import Failure
from maintenance.models import Attempt, Job, new_job_id
from maintenance.tables import Queue
from tests.maintenance import jobs
from tests.services import Valkey

pytestmark = pytest.mark.databases

Outcome = Attempt.Outcome
THREADS = 20
AT_WORK = ("queued", "running")


@pytest.fixture(autouse=True)
def _servers(valkey: Valkey, transactional_db: None) -> None:
    """Every push goes to a real Valkey."""


def enqueue(text: str = "", *, key: str = "pulls", limit: int = 1) -> Job:
    return jobs.write_line.limited(key, limit).enqueue(path="/dev/null", text=text)


def states(*rows: Job) -> list[str]:
    found = dict(Job.objects.filter(pk__in=[row.pk for row in rows]).values_list("pk", "status"))
    return [found[row.pk] for row in rows]


def claim(row: Job) -> Execution:
    row.refresh_from_db()
    execution = attempts.claim(row.pk, row.dispatch, lease_token=new_job_id(), worker="w")
    assert execution
    return execution


def end(row: Job, outcome: Outcome, failure: Failure | None = None) -> None:
    assert attempts.finish(claim(row), Ending(outcome=outcome, failure=failure))


def at_once(what: Callable[[int], object], threads: int = THREADS) -> list[object]:
    """Let so many threads do it at the same moment, each with its own connection."""
    barrier = Barrier(threads)

    def act(number: int) -> object:
        barrier.wait(30)
        try:
            return what(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(act, range(threads)))


def test_no_more_than_the_limit_are_queued_and_the_oldest_goes_next() -> None:
    rows = [enqueue(limit=2) for _ in range(4)]
    assert states(*rows) == ["queued", "queued", "pending", "pending"]
    end(rows[1], Outcome.SUCCEEDED)
    assert states(*rows) == ["queued", "completed", "queued", "pending"]
    end(rows[0], Outcome.SUCCEEDED)
    assert states(*rows) == ["completed", "completed", "queued", "queued"]
    assert queues.sizes()["default"] == 4  # a push each


def test_keys_do_not_share_their_slots() -> None:
    rows = [enqueue(key="a"), enqueue(key="b"), enqueue(key="a"), jobs.write_line.enqueue(path="", text="")]
    assert states(*rows) == ["queued", "queued", "pending", "queued"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_at_least_one(limit: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        jobs.write_line.limited("key", limit)


ENDINGS: dict[str, Callable[[Job], object]] = {
    "succeeds": lambda row: end(row, Outcome.SUCCEEDED),
    "fails for good": lambda row: end(row, Outcome.FAILED, Failure("no", "No.", permanent=True)),
    "waits for its next attempt": lambda row: end(row, Outcome.FAILED),
    "is cancelled": lambda row: ledger.cancel(row.pk),
    "is stopped": lambda row: end(row, Outcome.CANCELLED, Failure("cancelled", "Stopped.", permanent=True)),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_becomes_of_a_job_its_slot_is_free(ending: str) -> None:
    first = jobs.always_fails.limited("pulls", 1).enqueue(path="/dev/null")
    second = enqueue()
    assert states(second) == ["pending"]
    ENDINGS[ending](first)
    assert states(second) == ["queued"]


def test_a_job_that_was_handed_back_is_older_and_goes_first() -> None:
    first, second = enqueue(), enqueue()
    end(first, Outcome.HANDED_BACK)
    assert states(first, second) == ["queued", "pending"]


def test_the_death_of_a_worker_frees_the_slot() -> None:
    first = jobs.kills_its_worker.limited("pulls", 1).enqueue(path="/dev/null")
    second = enqueue()
    for _ in range(first.max_recoveries):
        claim(first)
        Job.objects.filter(pk=first.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert states(second) == ["pending"]
        assert reconciler.end_expired() == 1
    assert states(first, second) == ["failed", "queued"]


def test_a_retried_job_waits_for_a_slot_like_any_other() -> None:
    first, second = enqueue(), enqueue()
    ledger.cancel(first.pk)
    ledger.retry(first.pk)
    assert states(first, second) == ["pending", "queued"]


def test_a_job_that_is_not_due_takes_no_slot() -> None:
    later = jobs.write_line.limited("pulls", 1).after(timedelta(hours=1)).enqueue(path="", text="")
    now = enqueue()
    assert states(later, now) == ["scheduled", "queued"]
    Job.objects.filter(pk=later.pk).update(not_before=timezone.now())
    assert outbox.relay() == 0
    end(now, Outcome.SUCCEEDED)
    assert states(later) == ["queued"]


def test_two_pushers_never_pass_the_limit_together() -> None:
    rows = at_once(lambda number: enqueue(limit=3))
    assert len(rows) == THREADS
    at_once(lambda number: outbox.push_next("pulls"))
    assert Job.objects.filter(status__in=AT_WORK).count() == 3
    assert queues.sizes()["default"] == 3


def test_many_workers_keep_the_limit_and_finish_everything() -> None:
    rows = [enqueue(limit=3) for _ in range(THREADS)]
    seen: list[int] = []

    def work(number: int) -> None:
        while Job.objects.filter(status__in=Job.UNFINISHED).exists():
            row = Job.objects.filter(status="queued").order_by("pk").first()
            execution = row and attempts.claim(row.pk, row.dispatch, lease_token=new_job_id(), worker="w")
            if execution:
                seen.append(Job.objects.filter(status__in=AT_WORK).count())
                attempts.finish(execution, Ending(outcome=Outcome.SUCCEEDED))

    at_once(work, threads=5)
    assert states(*rows) == ["completed"] * THREADS
    assert max(seen) <= 3


def never_pushed(count: int, key: str = "") -> None:
    function = jobs.write_line.limited(key, 1) if key else jobs.write_line
    Job.objects.bulk_create(function.call(path="", text="").row() for _ in range(count))
    Job.objects.update(created_at=timezone.now() - timedelta(seconds=10))


def test_a_key_with_many_waiting_jobs_keeps_nobody_else_waiting() -> None:
    first = enqueue(key="busy")
    never_pushed(outbox.BATCH + 1, "busy")
    never_pushed(1, "idle")
    never_pushed(1)
    assert outbox.relay() == 2
    assert states(first) == ["queued"]
    assert Job.objects.filter(status="queued").count() == 3


def test_the_relay_fills_a_slot_whose_next_job_was_never_pushed() -> None:
    first, second = enqueue(), enqueue()
    Job.objects.filter(pk=first.pk).update(status="completed")  # and the process died before it pushed
    Job.objects.update(created_at=timezone.now() - timedelta(seconds=10))
    assert outbox.relay() == 1
    assert states(second) == ["queued"]


def test_redis_being_away_costs_no_slot(valkey: Valkey) -> None:
    valkey.stop()
    rows = [enqueue(limit=2) for _ in range(3)]
    assert states(*rows) == ["pending"] * 3
    Job.objects.update(created_at=timezone.now() - timedelta(seconds=10))
    assert outbox.relay() == 0
    valkey.start()
    assert outbox.relay() == 2
    assert states(*rows) == ["queued", "queued", "pending"]


def test_a_slot_is_held_over_a_loss_of_redis(valkey: Valkey) -> None:
    rows = [enqueue(), enqueue()]
    Job.objects.update(pushed_at=timezone.now() - timedelta(minutes=1))
    broker.quick().flushall()
    assert outbox.recover_lost() == 1
    assert states(*rows) == ["queued", "pending"]


def test_the_limit_holds_across_queues() -> None:
    first = jobs.write_line.limited("pulls", 1).on(Queue.LOW).enqueue(path="", text="")
    second = jobs.write_line.limited("pulls", 1).on(Queue.HIGH).enqueue(path="", text="")
    assert states(first, second) == ["queued", "pending"]
