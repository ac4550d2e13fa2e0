"""Workers and horses that end, or go on, at moments that are hard to hit."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from maintenance import broker, leadership
from maintenance.models import Job, Lease, QueuePause
from maintenance.tables import Queue
from maintenance.taking import MIRRORED
from tests.acceptance.conftest import Workers
from tests.maintenance import jobs
from tests.processes import command_line, until
from tests.services import Valkey

pytestmark = pytest.mark.acceptance


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def worker_with(workers: Workers, row: Job) -> int:
    """The process of the worker that has this job in hand, once there is one."""

    def found() -> list[int]:
        return [pid for pid in workers.named("rqworker: ai-workers") if command_line(pid).endswith(row.pk)]

    until(found)
    return found()[0]


def is_completed(row: Job) -> bool:
    return Job.objects.get(pk=row.pk).status == "completed"


def test_a_job_whose_horse_died_before_it_began_is_run_at_once(workers: Workers, path: str) -> None:
    horses = workers.named("rqworker: horse ai-workers")
    for horse in horses:
        os.kill(horse, signal.SIGSTOP)
    row = jobs.write_line.enqueue(path=path, text="once")
    worker_with(workers, row)
    for horse in horses:
        os.kill(horse, signal.SIGKILL)
    until(lambda: is_completed(row), 8)
    row.refresh_from_db()
    assert (row.dispatch, row.starts, row.recoveries) == (1, 1, 0)
    assert lines(path) == ["once"]


def test_a_worker_that_is_told_twice_to_stop_finishes_its_job(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    worker = worker_with(workers, row)
    until(lambda: lines(path))
    assert workers.master
    os.kill(worker, signal.SIGTERM)
    time.sleep(1.2)  # a master whose Redis hangs is so late
    workers.master.terminate()
    until(lambda: len(workers.pids()) < 7)
    (tmp_path / "go").touch()
    assert workers.master.wait(20) == 0
    assert [attempt.outcome for attempt in Job.objects.get(pk=row.pk).executions.all()] == ["succeeded"]


def test_a_master_goes_on_leading_while_it_waits_for_its_workers(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    worker_with(workers, row)
    assert workers.master
    workers.master.terminate()
    until(lambda: len(workers.pids()) < 7)
    lease = Lease.objects.get(name=leadership.LEADER)
    until(lambda: Lease.objects.filter(pk=lease.pk, holder=lease.holder, expires_at__gt=lease.expires_at))
    assert lease.holder.endswith(f"master-{workers.master.pid}")
    (tmp_path / "go").touch()
    assert workers.master.wait(20) == 0
    assert leadership.leader() == ""


def test_workers_start_with_the_pauses_that_the_database_knows(
    valkey: Valkey, transactional_db: None, path: str
) -> None:
    # The master of another host leads: this one's workers start before that one looks again.
    later = timezone.now() + timedelta(hours=1)
    Lease.objects.create(name=leadership.LEADER, holder="another host", expires_at=later)
    QueuePause.objects.create(queue=Queue.DEFAULT.value, reason="a disk is full")
    broker.quick().set(MIRRORED, 1)  # Redis remembers that nothing is paused
    waiting = jobs.write_line.enqueue(path=path, text="paused")
    workers = Workers()
    try:
        workers.start()
        urgent = jobs.write_line.on(Queue.HIGH).enqueue(path=path, text="urgent")
        until(lambda: is_completed(urgent))
        assert Job.objects.get(pk=waiting.pk).status == "queued"
        assert lines(path) == ["urgent"]
    finally:
        workers.kill()
