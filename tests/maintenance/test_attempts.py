from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.utils import timezone
from pytest_django.fixtures import Settings

from maintenance import attempts, executor, reconciler
from maintenance.attempts import Ending, Execution
from maintenance.ledger import Failure
from maintenance.models import Attempt, Job
from tests.maintenance import jobs
from tests.queue import take

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]
LOST = Ending(outcome=Attempt.Outcome.LOST, detail="it died")
DONE = Ending(outcome=Attempt.Outcome.SUCCEEDED)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def claim(row: Job, token: str = "a" * 32) -> Execution:
    dispatch = take()
    assert dispatch
    execution = attempts.claim(*dispatch, lease_token=token, worker="w")
    assert execution
    return execution


def expire(row: Job) -> None:
    Job.objects.filter(pk=row.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_a_dispatch_is_claimed_once(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    first = attempts.claim(row.pk, 1, lease_token="a" * 32, worker="one")
    second = attempts.claim(row.pk, 1, lease_token="b" * 32, worker="two")
    assert first is not None
    assert second is None
    assert row.executions.count() == 1


def test_a_lease_can_be_renewed_by_its_holder_only(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    execution = claim(row)
    assert attempts.renew(execution)
    assert not attempts.renew(Execution(execution.job, "b" * 32))


def test_an_expired_lease_ends_the_attempt_and_queues_the_job_again(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    claim(row)
    assert reconciler.end_expired() == 0
    expire(row)
    assert reconciler.end_expired() == 1
    row.refresh_from_db()
    assert (row.status, row.attempts, row.recoveries) == ("queued", 0, 1)
    assert row.executions.get().outcome == "lost"
    assert work() == ["succeeded"]


def test_a_late_writer_is_refused(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    frozen = claim(row)
    expire(row)
    reconciler.end_expired()
    assert not attempts.finish(frozen, DONE)
    assert not attempts.renew(frozen)
    row.refresh_from_db()
    assert row.status == "queued"


def test_of_two_that_end_an_execution_one_wins(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    execution = claim(row)
    assert attempts.lose(row.pk, execution.lease_token, LOST)
    assert not attempts.lose(row.pk, execution.lease_token, LOST)
    row.refresh_from_db()
    assert row.recoveries == 1


def test_a_job_that_killed_three_workers_is_poison(work: Work, path: str) -> None:
    row = jobs.kills_its_worker.enqueue(path=path)
    for turn in range(3):
        execution = claim(row, token=f"{turn:032x}")
        attempts.lose(row.pk, execution.lease_token, LOST)
    row.refresh_from_db()
    assert (row.status, row.recoveries) == ("failed", 3)
    assert row.error.startswith("poison:")
    assert Path(path).read_text() == "failed: poison\n"
    assert work() == []


def test_a_hand_back_counts_as_neither_attempt_nor_recovery(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    attempts.finish(claim(row), Ending(outcome=Attempt.Outcome.HANDED_BACK))
    row.refresh_from_db()
    assert (row.status, row.attempts, row.recoveries) == ("queued", 0, 0)
    assert work() == ["succeeded"]


def test_a_failure_runs_its_reaction_once_in_the_same_transaction(work: Work, path: str) -> None:
    row = jobs.kills_its_worker.enqueue(path=path)
    ending = Ending(outcome=Attempt.Outcome.FAILED, failure=Failure("broken", "It broke.", True))
    attempts.finish(claim(row), ending)
    assert Path(path).read_text() == "failed: broken\n"


def test_a_reaction_that_raises_does_not_keep_the_job_from_ending(work: Work, path: str) -> None:
    row = jobs.fails_with_a_broken_reaction.enqueue(path=path)
    assert work() == ["failed"]
    row.refresh_from_db()
    assert (row.status, row.error) == ("failed", "job_failed: The job failed with an unexpected error.")


def test_a_lease_outlives_two_missed_renewals() -> None:
    assert configured.LEASE_SECONDS > 3 * configured.LEASE_RENEWAL_SECONDS


def test_a_job_ends_at_its_time_limit_even_when_it_swallows_exceptions(work: Work, path: str) -> None:
    row = jobs.swallows_exceptions.enqueue(path=path)
    assert work() == ["timeout"]
    row.refresh_from_db()
    assert row.error == "timeout: The job took longer than 1 s."


def test_time_limits_can_be_switched_off(settings: Settings) -> None:
    settings.JOB_TIMEOUTS = False
    assert executor.time_limit(Job(timeout_seconds=5)) is None
