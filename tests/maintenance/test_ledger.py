import json
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from maintenance import broker, ledger, queues
from maintenance.errors import Refusal
from maintenance.ledger import job
from maintenance.models import Job
from maintenance.tables import Queue
from tests.maintenance import jobs

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def test_a_declared_job_can_be_called_in_place(path: str) -> None:
    jobs.write_line(path=path, text="here")
    assert lines(path) == ["here"]


def test_a_job_runs_once_and_its_row_tells_the_story(work: Work, path: str) -> None:
    row = jobs.write_line.tagged("folder:7").enqueue(path=path, text="done")
    assert work() == ["succeeded"]
    row.refresh_from_db()
    attempt = row.executions.get()
    assert (row.status, row.dispatch, row.attempts, row.tags) == ("completed", 1, 0, ["folder:7"])
    assert (attempt.outcome, attempt.number, attempt.worker) == ("succeeded", 1, "test")
    assert attempt.finished_at is not None
    assert attempt.cpu_seconds is not None
    assert attempt.peak_memory_bytes
    assert lines(path) == ["done"]


def test_a_rolled_back_transaction_leaves_neither_row_nor_push(work: Work, path: str) -> None:
    with transaction.atomic():
        jobs.write_line.enqueue(path=path, text="never")
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    assert queues.sizes() == {"high": 0, "default": 0, "low": 0}


def test_nothing_is_pushed_before_the_commit(work: Work, path: str) -> None:
    with transaction.atomic():
        jobs.write_line.enqueue(path=path, text="later")
        assert queues.sizes()["default"] == 0
    assert queues.sizes()["default"] == 1


def test_a_new_job_costs_one_statement(
    work: Work, path: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3), transaction.atomic():  # with BEGIN and COMMIT
        jobs.write_line.enqueue(path=path, text="now")
    assert queues.sizes()["default"] == 1


def test_a_variation_does_not_touch_the_declaration(work: Work, path: str) -> None:
    row = jobs.write_line.on(Queue.LOW).after(timedelta(hours=1)).tagged("a").enqueue(path=path, text="x")
    assert (row.queue, row.status, row.tags) == ("low", "scheduled", ["a"])
    assert row.not_before is not None
    assert row.not_before > timezone.now() + timedelta(minutes=59)
    assert (jobs.write_line.queue, jobs.write_line.delay, jobs.write_line.tags) == (Queue.DEFAULT, timedelta(0), ())
    assert work() == []


def test_a_key_admits_one_unfinished_job(work: Work, path: str) -> None:
    first = jobs.write_line.keyed("the-key").enqueue(path=path, text="1")
    second = jobs.write_line.keyed("the-key").enqueue(path=path, text="2")
    assert first.pk == second.pk
    assert work() == ["succeeded"]
    third = jobs.write_line.keyed("the-key").enqueue(path=path, text="3")
    assert third.pk != first.pk


def test_positional_arguments_are_refused(path: str) -> None:
    with pytest.raises(TypeError, match="named arguments only"):
        jobs.write_line.enqueue(path, "x")


def test_contradictory_terms_fail_when_declared() -> None:
    with pytest.raises(ValueError, match="at least one second"):
        job(queue=Queue.LOW, timeout=timedelta(0), max_attempts=1)
    with pytest.raises(ValueError, match="at least one second and one attempt"):
        job(queue=Queue.LOW, timeout=timedelta(seconds=5), max_attempts=0)


def test_two_functions_of_one_name_fail_when_declared() -> None:
    def write_line() -> None:
        """Of the same name as another one."""

    with pytest.raises(ValueError, match="two job functions"):
        job(queue=Queue.LOW, timeout=timedelta(seconds=5), max_attempts=1)(write_line)


def test_a_job_that_fails_is_tried_again_after_a_pause(work: Work, path: str) -> None:
    row = jobs.always_fails.enqueue(path=path)
    assert work() == ["failed"]
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("scheduled", 1)
    assert row.not_before is not None
    assert row.not_before > timezone.now()


def test_a_permanent_error_is_not_tried_again(work: Work, path: str) -> None:
    row = jobs.fails_for_good.enqueue(path=path)
    assert work() == ["failed"]
    row.refresh_from_db()
    assert (row.status, row.error) == ("failed", "cannot_work: It cannot work.")
    attempt = row.executions.get()
    assert attempt.exception_class == "maintenance.declarations.JobError"
    assert "fails_for_good" in attempt.traceback
    assert row.error_fingerprint


def test_equal_failures_share_a_fingerprint(work: Work, path: str) -> None:
    rows = [jobs.fails_for_good.enqueue(path=path) for _ in range(2)]
    work()
    prints = {Job.objects.get(pk=row.pk).error_fingerprint for row in rows}
    assert len(prints) == 1


def test_a_failed_job_can_be_retried(work: Work, path: str) -> None:
    row = jobs.fails_for_good.enqueue(path=path)
    work()
    again = ledger.retry(row.pk)
    assert again.pk == row.pk
    assert work() == ["failed"]
    row.refresh_from_db()
    assert [attempt.number for attempt in row.executions.all()] == [1, 2]


def test_a_job_that_has_not_ended_cannot_be_retried(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    with pytest.raises(Refusal, match="only a failed or cancelled one"):
        ledger.retry(row.pk)


def test_an_unknown_job_is_refused(db: None) -> None:
    with pytest.raises(Refusal) as refused:
        ledger.cancel("nope")
    assert refused.value.status_code == 404


def test_a_cancelled_job_does_not_run(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="never")
    assert ledger.cancel(row.pk)
    assert work() == ["not claimed"]
    row.refresh_from_db()
    assert row.status == "cancelled"
    assert lines(path) == []


def test_cancelling_what_has_ended_changes_nothing(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    work()
    assert not ledger.cancel(row.pk)
    row.refresh_from_db()
    assert row.status == "completed"


def test_a_job_of_a_function_that_is_gone_fails_plainly(work: Work) -> None:
    row = Job.objects.create(name="gone", queue="default", max_attempts=3, timeout_seconds=5)
    ledger.push_on_commit(row)
    assert work() == ["failed"]
    row.refresh_from_db()
    assert row.error == "unknown_function: There is no job function gone."


def test_rq_carries_ids_and_no_pickle(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="secret words")
    data = zlib.decompress(broker.quick().hget(f"rq:job:{row.pk}-1", "data"))
    assert json.loads(data)[3] == {"job_id": row.pk, "dispatch": 1}
