"""Batches: jobs that are counted together, and what follows when they end."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from maintenance import attempts, batches, ledger, tags
from maintenance.attempts import Ending, Execution
from maintenance.errors import Invalid, Refusal
from maintenance.ledger import Call, Failure
from maintenance.models import Attempt, Batch, Job, new_job_id
from maintenance.tables import Queue
from tests.maintenance.batch_jobs import (
    all_succeeded,
    batch_step,
    cancelled,
    first_failed,
    is_replaced,
    last_ended,
    minds_cancelling,
)
from tests.services import Valkey
from tests.source import ROOT, rows
from tests.test_documents import code_in

pytestmark = pytest.mark.databases

Outcome = Attempt.Outcome
FOR_GOOD = Failure("no", "No.", permanent=True)
CALLBACKS = (all_succeeded.name, first_failed.name, last_ended.name)


@pytest.fixture(autouse=True)
def _servers(valkey: Valkey, transactional_db: None) -> None:
    """Every push goes to a real Valkey."""


@pytest.fixture
def configured(request: pytest.FixtureRequest) -> Settings:
    """The settings; `settings` is hypothesis's here."""
    found: Settings = request.getfixturevalue("settings")
    return found


def batch_of(size: int, **options: Any) -> Batch:
    return batches.create(
        "a batch",
        [batch_step.call(number=number) for number in range(size)],
        then=Call(all_succeeded, {"to": "alice"}),
        catch=Call(first_failed, {}),
        finally_=Call(last_ended, {}),
        **options,
    )


def steps(batch: Batch) -> list[Job]:
    return list(Job.objects.filter(batch=batch).order_by("pk"))


def claim(job: Job) -> Execution:
    job.refresh_from_db()
    execution = attempts.claim(job.pk, job.dispatch, lease_token=new_job_id(), worker="w")
    assert execution
    return execution


def end(job: Job, outcome: Outcome, failure: Failure | None = None) -> None:
    assert attempts.finish(claim(job), Ending(outcome=outcome, failure=failure))


def succeed(*some: Job) -> None:
    for job in some:
        end(job, Outcome.SUCCEEDED)


def fail(*some: Job) -> None:
    for job in some:
        end(job, Outcome.FAILED, FOR_GOOD)


def numbers(batch: Batch) -> tuple[str, int, int]:
    batch.refresh_from_db()
    return batch.status, batch.pending, batch.failed


def called(batch: Batch) -> list[str]:
    """The call backs that became jobs, in that order."""
    found = [
        job
        for job in Job.objects.filter(name__in=CALLBACKS).order_by("created_at")
        if job.arguments["batch_id"] == batch.pk
    ]
    return [job.name for job in found]


def states(batch: Batch) -> Counter[str]:
    return Counter(job.status for job in steps(batch))


def test_the_states_of_a_batch_are_documented() -> None:
    documented = rows(ROOT / "docs" / "job-lifecycle.md", "Batches")
    assert [code_in(row[0])[0] for row in documented] == Batch.Status.values


# Making


def test_a_batch_and_its_jobs_are_made_and_pushed_together(alice: User) -> None:
    with transaction.atomic():
        batch = batch_of(3, by=alice)
        assert states(batch) == {"pending": 3}
    assert states(batch) == {"queued": 3}
    assert [job.arguments["number"] for job in steps(batch)] == [0, 1, 2]
    assert {job.created_by_id for job in steps(batch)} == {alice.pk}
    assert numbers(batch) == ("running", 3, 0)


def test_a_batch_that_is_rolled_back_leaves_nothing() -> None:
    with transaction.atomic():
        batch_of(3)
        transaction.set_rollback(True)
    assert not Batch.objects.exists()
    assert not Job.objects.exists()


def test_each_job_keeps_its_own_terms() -> None:
    varied = batch_step.on(Queue.LOW).tagged("a").after(timedelta(hours=1)).limited("key", 2)
    batch = batches.create("varied", [varied.call(number=1)])
    (job,) = steps(batch)
    assert (job.queue, job.tags, job.status, job.concurrency_limit) == ("low", ["a"], "scheduled", 2)
    assert list(tags.jobs_tagged("a")) == [job]


@pytest.mark.parametrize(
    ("calls", "options", "why"),
    [
        ([], {}, "at least one job"),
        ([batch_step.keyed("k").call(number=1)], {}, "no unique key"),
        ([batch_step.call(number=1)], {"then": Call(batch_step, {})}, "cannot be called back"),
        ([batch_step.call(number=1)], {"catch": Call(first_failed, {"wrong": 1})}, "cannot be called back"),
        ([batch_step.call(number=1)], {"finally_": Call(last_ended.keyed("k"), {})}, "only queue and tags"),
    ],
)
def test_what_could_not_work_is_refused_at_once(calls: list[Call], options: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        batches.create("a batch", calls, **options)
    assert not Batch.objects.exists()


# Ending


def test_when_all_succeeded_then_and_finally_follow() -> None:
    batch = batch_of(3)
    first, *others = steps(batch)
    succeed(first)
    assert numbers(batch) == ("running", 2, 0)
    assert batches.progress(batch) == batches.Progress(total=3, pending=2, failed=0)
    assert (batches.progress(batch).ended, batches.progress(batch).percent) == (1, 33)
    assert called(batch) == []
    succeed(*others)
    assert numbers(batch) == ("completed", 0, 0)
    assert batch.finished_at is not None
    assert called(batch) == ["all_succeeded", "last_ended"]


def test_what_is_called_back_is_an_ordinary_job(alice: User) -> None:
    then = Call(all_succeeded.on(Queue.HIGH).tagged("a"), {"to": "alice"})
    batch = batches.create("a batch", [batch_step.call(number=1)], then=then, by=alice)
    succeed(*steps(batch))
    job = Job.objects.get(name="all_succeeded")
    assert job.arguments == {"to": "alice", "batch_id": batch.pk}
    assert (job.status, job.queue, job.created_by) == ("queued", "high", alice)
    assert job.batch is None
    assert list(tags.jobs_tagged(f"batch:{batch.pk}")) == [job]
    batch.refresh_from_db()
    assert batch.then_call["job_id"] == job.pk


def test_what_is_called_back_has_a_row_at_once_whatever_the_driver(configured: Settings) -> None:
    configured.QUEUE_CONNECTION = "redis"
    batch = batch_of(1)
    with transaction.atomic():
        succeed(*steps(batch))
        assert called(batch) == ["all_succeeded", "last_ended"]


def test_the_first_failure_calls_catch_and_cancels_what_has_not_started() -> None:
    batch = batch_of(4)
    first, second, third, _ = steps(batch)
    running = claim(first)
    fail(second)
    assert numbers(batch) == ("failed", 1, 1)
    assert states(batch) == {"running": 1, "failed": 1, "cancelled": 2}
    assert called(batch) == ["first_failed"]
    third.refresh_from_db()
    assert third.error == "batch_failed: Another job of the batch failed."
    attempts.finish(running, Ending(outcome=Outcome.FAILED, failure=FOR_GOOD))
    assert numbers(batch) == ("failed", 0, 2)
    assert called(batch) == ["first_failed", "last_ended"]


def test_with_allow_failures_everything_runs_and_then_follows() -> None:
    batch = batch_of(3, allow_failures=True)
    first, second, third = steps(batch)
    fail(first, second)
    assert numbers(batch) == ("running", 1, 2)
    succeed(third)
    assert numbers(batch) == ("completed", 0, 2)
    assert called(batch) == ["first_failed", "all_succeeded", "last_ended"]


def test_an_attempt_that_is_repeated_is_no_end() -> None:
    batch = batch_of(1)
    (job,) = steps(batch)
    end(job, Outcome.FAILED)
    end(job, Outcome.LOST)
    end(job, Outcome.HANDED_BACK)
    assert numbers(batch) == ("running", 1, 0)
    end(job, Outcome.FAILED)
    assert numbers(batch) == ("failed", 0, 1)


def test_a_cancelled_job_leaves_the_batch_without_then() -> None:
    batch = batch_of(2)
    first, second = steps(batch)
    ledger.cancel(first.pk)
    succeed(second)
    assert numbers(batch) == ("cancelled", 0, 0)
    assert called(batch) == ["last_ended"]


def test_a_transaction_that_is_lost_counts_nothing() -> None:
    batch = batch_of(1)
    (job,) = steps(batch)
    execution = claim(job)
    with transaction.atomic():
        attempts.finish(execution, Ending(outcome=Outcome.SUCCEEDED))
        transaction.set_rollback(True)  # the process died before the commit
    assert numbers(batch) == ("running", 1, 0)
    assert called(batch) == []
    assert attempts.finish(execution, Ending(outcome=Outcome.SUCCEEDED))
    assert not attempts.finish(execution, Ending(outcome=Outcome.SUCCEEDED))
    assert numbers(batch) == ("completed", 0, 0)
    assert called(batch) == ["all_succeeded", "last_ended"]


def at_once(acts: list[Callable[[], object]]) -> None:
    barrier = Barrier(len(acts))

    def act(what: Callable[[], object]) -> None:
        barrier.wait(30)
        try:
            what()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        list(pool.map(act, acts))


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_jobs_that_end_at_the_same_moment_are_all_counted_and_call_back_once(outcome: Outcome) -> None:
    for _ in range(5):
        batch = batch_of(8)
        ending = Ending(outcome=outcome, failure=None if outcome == Outcome.SUCCEEDED else FOR_GOOD)
        executions = [claim(job) for job in steps(batch)]
        at_once([partial(attempts.finish, execution, ending) for execution in executions])
        if outcome == Outcome.SUCCEEDED:
            assert numbers(batch) == ("completed", 0, 0)
            assert called(batch) == ["all_succeeded", "last_ended"]
        else:
            assert numbers(batch) == ("failed", 0, 8)
            assert called(batch) == ["first_failed", "last_ended"]


def test_ends_failures_and_cancels_at_the_same_moment_do_not_hinder_each_other() -> None:
    for _ in range(5):
        batch = batch_of(12)
        rows = steps(batch)
        running = [claim(job) for job in rows[:4]]
        failed = Ending(outcome=Outcome.FAILED, failure=FOR_GOOD)
        at_once(
            [
                partial(attempts.finish, running[0], Ending(outcome=Outcome.SUCCEEDED)),
                partial(attempts.finish, running[1], failed),
                partial(attempts.finish, running[2], failed),
                partial(attempts.finish, running[3], Ending(outcome=Outcome.LOST)),
                partial(batches.cancel, batch.pk),
                *[partial(ledger.cancel, row.pk) for row in rows[8:]],
            ]
        )
        batches.reconcile()
        status, pending, number_failed = numbers(batch)
        assert (pending, number_failed) == (0, 2)
        assert status in ("failed", "cancelled")
        assert sorted(called(batch)) == ["first_failed", "last_ended"]


# Cancelling


def test_a_cancelled_batch_stops_what_waits_and_asks_what_runs() -> None:
    batch = batch_of(3)
    first, *_ = steps(batch)
    running = claim(first)
    assert batches.cancel(batch.pk)
    assert states(batch) == {"running": 1, "cancelled": 2}
    first.refresh_from_db()
    assert first.cancel_requested_at is not None
    assert numbers(batch) == ("cancelled", 1, 0)
    assert called(batch) == []
    attempts.finish(running, Ending(outcome=Outcome.SUCCEEDED))
    assert numbers(batch) == ("cancelled", 0, 0)
    assert called(batch) == ["last_ended"]
    assert not batches.cancel(batch.pk)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.LOST, Outcome.HANDED_BACK])
def test_what_was_asked_to_stop_is_not_run_again(outcome: Outcome) -> None:
    batch = batch_of(1)
    (job,) = steps(batch)
    execution = claim(job)
    batches.cancel(batch.pk)
    attempts.finish(execution, Ending(outcome=outcome))
    assert states(batch) == {"cancelled": 1}
    assert numbers(batch) == ("cancelled", 0, 0)


def test_a_function_that_minds_is_told_for_each_job_that_is_cancelled() -> None:
    cancelled.clear()
    batch = batches.create("minding", [minds_cancelling.call(number=number) for number in range(3)])
    batches.cancel(batch.pk)
    assert cancelled == [0, 1, 2]
    assert numbers(batch) == ("cancelled", 0, 0)


def test_cancelling_in_a_transaction_happens_with_its_commit() -> None:
    batch = batch_of(2)
    with transaction.atomic():
        assert batches.cancel(batch.pk)
        assert states(batch) == {"queued": 2}
    assert states(batch) == {"cancelled": 2}


def test_an_unknown_batch_is_refused() -> None:
    for verb in (batches.cancel, batches.retry_failed):
        with pytest.raises(Refusal, match="no such batch"):
            verb("nope")  # type: ignore[operator]


# Retrying


def test_what_failed_is_retried_with_what_was_cancelled_for_it() -> None:
    batch = batch_of(4)
    first, second, third, _ = steps(batch)
    ledger.cancel(third.pk)
    succeed(first)
    fail(second)
    assert numbers(batch) == ("failed", 0, 1)
    assert batches.retry_failed(batch.pk) == 2
    assert numbers(batch) == ("running", 2, 0)
    assert batch.finished_at is None
    ledger.retry(third.pk)
    succeed(*[job for job in steps(batch) if job.status == "queued"])
    assert numbers(batch) == ("completed", 0, 0)
    assert called(batch) == ["first_failed", "last_ended", "all_succeeded"]


def test_nothing_is_called_back_a_second_time() -> None:
    batch = batch_of(1, allow_failures=True)
    for _ in range(3):
        fail(*steps(batch))
        assert batches.retry_failed(batch.pk) == 1
    succeed(*steps(batch))
    assert numbers(batch) == ("completed", 0, 0)
    assert called(batch) == ["first_failed", "all_succeeded", "last_ended"]


def test_a_failure_after_a_retry_cancels_again() -> None:
    batch = batch_of(3)
    first, *_ = steps(batch)
    fail(first)
    batches.retry_failed(batch.pk)
    assert states(batch) == {"queued": 3}
    fail(first)
    assert numbers(batch) == ("failed", 0, 1)
    assert states(batch) == {"failed": 1, "cancelled": 2}


def test_a_job_that_is_the_retry_takes_the_place_in_the_batch() -> None:
    batch = batches.create("replaced", [is_replaced.call(number=7)], then=Call(all_succeeded, {}))
    (job,) = steps(batch)
    fail(job)
    assert batches.retry_failed(batch.pk) == 1
    (again,) = steps(batch)
    assert again.pk != job.pk
    assert numbers(batch) == ("running", 1, 0)
    succeed(again)
    assert numbers(batch) == ("completed", 0, 0)
    assert called(batch) == ["all_succeeded"]


# Healing


def test_counters_that_are_not_those_of_the_rows_are_counted_anew() -> None:
    batch, other = batch_of(3), batch_of(3)
    succeed(*steps(batch)[:2])
    Batch.objects.filter(pk=batch.pk).update(pending=F("pending") + 1, failed=1)
    assert batches.recount() == 1
    assert numbers(batch) == ("running", 1, 0)
    assert numbers(other) == ("running", 3, 0)
    assert batches.recount() == 0


def test_a_batch_whose_last_jobs_are_gone_ends() -> None:
    batch = batch_of(2)
    first, second = steps(batch)
    succeed(first)
    second.delete()
    cache.clear()
    batches.reconcile()
    assert numbers(batch) == ("completed", 0, 0)
    assert called(batch) == ["all_succeeded", "last_ended"]


def test_too_low_a_counter_does_not_keep_a_job_from_ending() -> None:
    batch = batch_of(2)
    first, second = steps(batch)
    Batch.objects.filter(pk=batch.pk).update(pending=0)
    succeed(first)
    assert batches.recount() == 1
    assert numbers(batch) == ("running", 1, 0)
    succeed(second)
    assert called(batch) == ["all_succeeded", "last_ended"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_the_leader_stops_what_a_process_that_died_has_left(status: str) -> None:
    batch = batch_of(3)
    first, *_ = steps(batch)
    running = claim(first)
    Batch.objects.filter(pk=batch.pk).update(status=status)
    batches.finish_stops()
    assert states(batch) == {"running": 1, "cancelled": 2}
    first.refresh_from_db()
    assert (first.cancel_requested_at is not None) == (status == "cancelled")
    attempts.finish(running, Ending(outcome=Outcome.SUCCEEDED))
    assert numbers(batch)[0] == status


# Whatever happens


def act(verb: str, batch: Batch, number: int) -> None:
    job = steps(batch)[number % batch.total]
    if verb == "cancel the batch":
        batches.cancel(batch.pk)
    elif verb == "retry what failed":
        batches.retry_failed(batch.pk)
    elif verb == "cancel":
        ledger.cancel(job.pk)
    elif verb == "retry" and job.status in ("failed", "cancelled"):
        ledger.retry(job.pk)
    elif verb in OUTCOMES and job.status == "queued":
        end(job, *OUTCOMES[verb])


OUTCOMES: dict[str, tuple[Outcome, Failure | None]] = {
    "succeed": (Outcome.SUCCEEDED, None),
    "fail": (Outcome.FAILED, None),
    "fail for good": (Outcome.FAILED, FOR_GOOD),
    "lose the worker": (Outcome.LOST, None),
    "hand back": (Outcome.HANDED_BACK, None),
}
VERBS = st.sampled_from([*OUTCOMES, "cancel", "retry", "cancel the batch", "retry what failed"])


def check(batch: Batch) -> None:
    status, pending, failed = numbers(batch)
    found = states(batch)
    assert pending == found["queued"] + found["running"] + found["pending"]
    assert failed == found["failed"]
    assert (batch.finished_at is not None) == (pending == 0)
    assert (status == "running") <= (pending > 0)
    assert all(count == 1 for count in Counter(called(batch)).values())


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 4),
    allow_failures=st.booleans(),
    verbs=st.lists(st.tuples(VERBS, st.integers(0, 3)), max_size=12),
)
def test_counters_are_those_of_the_rows_and_each_call_back_is_made_once(
    size: int, allow_failures: bool, verbs: list[tuple[str, int]]
) -> None:
    Job.objects.all().delete()
    batch = batch_of(size, allow_failures=allow_failures)
    failures = 0
    completed = False
    for verb, number in verbs:
        before = numbers(batch)[2]
        act(verb, batch, number)
        check(batch)
        failures += numbers(batch)[2] > before
        completed |= batch.status == "completed"
    while waiting := [job for job in steps(batch) if job.status == "queued"]:
        succeed(waiting[0])
        check(batch)
    completed |= batch.status == "completed"
    expected = {"last_ended", *(["first_failed"] if failures else []), *(["all_succeeded"] if completed else [])}
    assert set(called(batch)) == expected
    assert batch.finished_at <= timezone.now()
