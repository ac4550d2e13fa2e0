"""The master: a deploy, a pause, growing, limits of memory, handing back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from maintenance import masters
from maintenance.models import Job
from tests.acceptance.conftest import Workers
from tests.maintenance import jobs
from tests.processes import alive, until
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = pytest.mark.acceptance


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


@pytest.fixture
def balanced(valkey: Valkey, transactional_db: None) -> Iterator[Workers]:
    """Between one and three workers, as the load wants."""
    running = Workers(AI_WORKERS_BALANCE="1", AI_WORKERS_PROCESSES="3")
    try:
        running.start(1)
        yield running
    finally:
        running.kill()


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def ended(row: Job) -> Job:
    until(lambda: Job.objects.get(pk=row.pk).status in ("completed", "failed", "cancelled"), 60)
    return Job.objects.get(pk=row.pk)


def test_a_master_writes_its_record_and_removes_it(workers: Workers) -> None:
    assert workers.master
    record = eventually(lambda: next((r for r in masters.everyone() if r.leads), None))
    assert (record.pid, record.state) == (workers.master.pid, "running")
    assert len(record.pools["ai-workers"]["workers"]) == 2
    workers.stop()
    assert masters.everyone() == []


def test_a_deploy_replaces_every_worker_and_loses_no_job(workers: Workers, path: str, tmp_path: Path) -> None:
    assert workers.master
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    eventually(lambda: lines(path))
    old = set(workers.pids()) - {workers.master.pid}
    workers.master.send_signal(signal.SIGUSR1)
    more = [jobs.write_line.enqueue(path=path, text="x") for _ in range(10)]
    (tmp_path / "go").touch()
    until(lambda: not any(alive(pid) for pid in old), 60)
    assert workers.master.poll() is None
    assert [ended(each).status for each in (row, *more)] == ["completed"] * 11
    assert all(each.executions.count() == 1 for each in (row, *more))


def test_a_paused_master_takes_no_jobs_until_told_to_go_on(workers: Workers, path: str) -> None:
    eventually(masters.everyone)
    assert masters.tell(masters.Command.PAUSE) == 1
    eventually(lambda: masters.everyone()[0].state == "paused")
    rows = [jobs.write_line.enqueue(path=path, text="x") for _ in range(4)]
    # Each of the two workers may have been in the middle of taking one.
    until(lambda: Job.objects.filter(status="queued").count() >= 2)
    masters.tell(masters.Command.CONTINUE)
    assert [ended(row).status for row in rows] == ["completed"] * 4


def test_a_pool_grows_while_jobs_wait(balanced: Workers, path: str, tmp_path: Path) -> None:
    rows = [jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go")) for _ in range(3)]
    until(lambda: len(balanced.named("rqworker: ai-workers")) == 3, 60)
    until(lambda: len(lines(path)) == 3)
    (tmp_path / "go").touch()
    assert [ended(row).status for row in rows] == ["completed"] * 3


def test_a_job_over_the_memory_limit_is_ended_and_says_so(workers: Workers, path: str) -> None:
    row = ended(jobs.eats_memory.enqueue(path=path, megabytes=400))
    attempt = row.executions.get()
    assert (row.status, attempt.outcome) == ("failed", "memory_limit")
    assert row.error.startswith("memory_limit: The job used ")
    assert (attempt.peak_memory_bytes or 0) > 256 * 2**20
    assert lines(path) == ["started", "failed: memory_limit"]


def test_a_stop_hands_back_a_job_that_resumes_elsewhere(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.resumes_elsewhere.enqueue(path=path, until=str(tmp_path / "go"))
    eventually(lambda: lines(path))
    assert workers.stop() == 0
    row.refresh_from_db()
    assert (row.status, row.attempts, row.recoveries) == ("queued", 0, 0)
    assert row.executions.get().outcome == "handed_back"
    (tmp_path / "go").touch()
    workers.start()
    assert ended(row).status == "completed"


def test_two_masters_have_one_leader_and_the_other_takes_over(workers: Workers) -> None:
    second = Workers()
    try:
        second.start()
        until(lambda: [record.leads for record in masters.everyone()].count(True) == 1)
        leader = next(record for record in masters.everyone() if record.leads)
        os.kill(leader.pid, signal.SIGKILL)
        until(lambda: any(r.leads and r.pid != leader.pid for r in masters.everyone()), 150)
    finally:
        second.kill()


def test_a_stop_of_the_whole_control_group_is_survived(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    eventually(lambda: lines(path))
    for pid in workers.pids():
        os.kill(pid, signal.SIGTERM)
    (tmp_path / "go").touch()
    assert workers.master
    assert workers.master.wait(20) == 0
    assert Job.objects.get(pk=row.pk).status == "completed"
