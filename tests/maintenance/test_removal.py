from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from conversations import runs
from conversations.models import Conversation, Run
from maintenance import broker, ledger, queues, removal
from maintenance.errors import Refusal
from maintenance.models import Attempt, Job
from maintenance.tables import Queue
from tests.maintenance import jobs
from tests.maintenance.commands import failed, waiting
from tests.services import Valkey

Work = Callable[[], list[str]]
DAY = timedelta(days=1)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def ignore(done: int) -> None:
    """The progress of few jobs."""


@pytest.mark.django_db
def test_a_forgotten_job_goes_with_its_attempts() -> None:
    job = failed()
    removal.forget(job.pk)
    assert not Job.objects.exists()
    assert not Attempt.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["pending", "scheduled", "queued", "running"])
def test_a_job_that_has_not_ended_is_not_forgotten(status: str) -> None:
    job = waiting(status=status)
    with pytest.raises(Refusal, match=f"The job is {status}"):
        removal.forget(job.pk)
    with pytest.raises(Refusal, match="no such job"):
        removal.forget("0" * 32)
    assert Job.objects.exists()


@pytest.mark.django_db
def test_a_flush_deletes_what_failed_before_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 2)
    for _ in range(5):
        failed(ago=2 * DAY)
    kept = {failed().pk, failed(ago=2 * DAY, status="completed").pk, waiting(ago=2 * DAY).pk}
    heard: list[int] = []
    assert removal.flush(timezone.now() - DAY, heard.append) == 5
    assert heard == [2, 4, 5]
    assert set(Job.objects.values_list("pk", flat=True)) == kept


def test_clearing_cancels_what_waits_and_takes_it_out_of_redis(work: Work, path: str) -> None:
    rows = [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(3)]
    rows.append(jobs.write_line.after(DAY).enqueue(path=path, text="tomorrow"))
    other = jobs.write_line.on(Queue.LOW).enqueue(path=path, text="low")
    running = waiting(status="running")
    assert removal.clear("default", ignore) == 4
    assert {Job.objects.get(pk=row.pk).status for row in rows} == {"cancelled"}
    assert Job.objects.get(pk=running.pk).cancel_requested_at is None
    assert queues.sizes() == {"high": 0, "default": 0, "low": 1}
    assert not broker.quick().exists(*(f"rq:job:{row.pk}-1" for row in rows))
    assert work() == ["succeeded"]
    assert Path(path).read_text() == "low\n"
    assert Job.objects.get(pk=other.pk).status == "completed"


def test_clearing_does_without_redis(valkey: Valkey, transactional_db: None, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    valkey.stop()
    assert removal.clear("default", ignore) == 1
    assert Job.objects.get(pk=row.pk).status == "cancelled"


def test_a_job_that_a_worker_was_faster_with_runs_on(
    valkey: Valkey, transactional_db: None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    other = jobs.write_line.enqueue(path=path, text="y")
    monkeypatch.setattr(removal, "BATCH", 1)

    def claim(done: int) -> None:
        Job.objects.filter(pk=other.pk, status="queued").update(status="running")

    assert removal.clear("default", claim) == 1
    assert Job.objects.get(pk=row.pk).status == "cancelled"
    assert Job.objects.get(pk=other.pk).cancel_requested_at is None


def test_clearing_cancels_the_runs_too(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    assert removal.clear("default", ignore) == 1
    assert Run.objects.get(pk=run.pk).status == "cancelled"
    assert ledger.retry(str(run.job_id)).pk != run.job_id


def test_clearing_cancels_calls_that_wait_in_redis_alone(
    work: Work, conversation: Conversation, path: str, settings: Any
) -> None:
    settings.QUEUE_CONNECTION = "redis"
    run = runs.start(conversation, "hello")
    jobs.write_line.enqueue(path=path, text="x")
    broker.quick().rpush("rq:queue:default", "not-ours")
    assert not Job.objects.exists()
    assert removal.clear("default", ignore) == 2
    assert set(Job.objects.values_list("status", flat=True)) == {"cancelled"}
    assert Run.objects.get(pk=run.pk).status == "cancelled"
    assert queues.waiting_ids("default") == {"not-ours"}
