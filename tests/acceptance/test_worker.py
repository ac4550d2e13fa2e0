"""The worker under fire: what its processes go through, and what the ledger says of it."""

import os
import signal
from pathlib import Path

import pytest

from maintenance import broker
from maintenance.models import Job
from tests.acceptance.conftest import Workers
from tests.maintenance import jobs
from tests.processes import alive, command_line, until
from tests.waiting import eventually

pytestmark = pytest.mark.acceptance


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def ended(row: Job) -> Job:
    """The row once it has ended."""
    until(lambda: Job.objects.get(pk=row.pk).status in ("completed", "failed", "cancelled"), 60)
    return Job.objects.get(pk=row.pk)


def horse_of(path: str) -> int:
    """The process that is running the job which writes to `path`."""
    eventually(lambda: lines(path))
    return int(lines(path)[-1].split()[1])


def test_jobs_run_and_processes_say_what_they_are(workers: Workers, path: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    row = jobs.waits_for_file.enqueue(path=path, until=str(go))
    horse = horse_of(path)
    assert command_line(horse) == f"rqworker: horse {row.pk}"
    titles = [command_line(pid) for pid in workers.pids()]
    assert "runworkers: master" in titles
    assert any(title.startswith("rqworker: ai-workers/") and title.endswith(row.pk) for title in titles)
    assert any(title == "rqworker: low-priority/1 idle" for title in titles)
    go.touch()
    assert ended(row).status == "completed"


def test_one_horse_runs_many_jobs(workers: Workers, path: str) -> None:
    before = set(workers.named("rqworker: horse"))
    for row in [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(20)]:
        assert ended(row).status == "completed"
    assert set(workers.named("rqworker: horse")) == before
    assert sorted(map(int, lines(path))) == list(range(20))


def test_a_killed_horse_is_seen_at_once_and_only_its_job_suffers(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    first = horse_of(path)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(lines(path)) == 2, within=5)
    (tmp_path / "go").touch()
    assert ended(row).recoveries == 1
    lost, done = row.executions.all()
    assert (lost.outcome, lost.message) == ("lost", "killed by signal 9 (SIGKILL)")
    assert done.outcome == "succeeded"


def test_a_job_that_kills_its_worker_three_times_is_poison(workers: Workers, path: str) -> None:
    row = ended(jobs.kills_its_worker.enqueue(path=path))
    assert (row.status, row.error) == ("failed", "poison: Its worker died 3 times.")
    assert lines(path) == ["started", "started", "started", "failed: poison"]
    assert [attempt.outcome for attempt in row.executions.all()] == ["lost"] * 3


def test_a_horse_dies_with_its_worker(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    horse = horse_of(path)
    worker = next(pid for pid in workers.named("rqworker: ai-workers") if command_line(pid).endswith(row.pk))
    os.kill(worker, signal.SIGKILL)
    until(lambda: not alive(horse), 5)
    (tmp_path / "go").touch()
    done = ended(row)
    assert (done.status, done.recoveries) == ("completed", 1)
    assert [line.split()[0] for line in lines(path)] == ["started", "started", "ended"]


def test_everything_dies_with_the_master(workers: Workers) -> None:
    family = workers.pids()
    assert len(family) == 7
    os.kill(family[0], signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in family), 5)


def test_a_worker_that_dies_is_replaced(workers: Workers) -> None:
    worker = workers.named("rqworker: low-priority")[0]
    os.kill(worker, signal.SIGKILL)
    until(lambda: any(pid != worker for pid in workers.named("rqworker: low-priority")), 10)


def test_a_worker_outlives_the_loss_of_rqs_record_of_its_job(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    horse_of(path)
    before = set(workers.pids())
    record = f"rq:job:{row.pk}-1"
    eventually(lambda: broker.quick().zcard("rq:wip:default"))  # RQ was told that it has started
    broker.quick().delete(record)
    (tmp_path / "go").touch()
    assert ended(row).status == "completed"
    eventually(lambda: not broker.quick().zcard("rq:wip:default"))
    assert not broker.quick().exists(record)
    assert set(workers.pids()) == before


def test_a_stop_lets_the_job_in_hand_finish(workers: Workers, path: str, tmp_path: Path) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    horse_of(path)
    assert workers.master
    workers.master.terminate()
    until(lambda: len(workers.pids()) < 7)
    (tmp_path / "go").touch()
    assert workers.master.wait(15) == 0
    assert Job.objects.get(pk=row.pk).status == "completed"
    assert [attempt.outcome for attempt in row.executions.all()] == ["succeeded"]


def test_code_that_blocks_in_c_is_ended_too(workers: Workers, path: str) -> None:
    row = ended(jobs.blocks_in_c.enqueue(path=path))
    assert (row.status, row.error.split(":")[0]) == ("failed", "timeout")
    assert row.executions.get().outcome == "timeout"
    assert lines(path) == ["started", "failed: timeout"]


def test_hostile_bytes_in_redis_do_nothing(workers: Workers, path: str, tmp_path: Path) -> None:
    target = tmp_path / "owned"
    hostile = b"cposix\nsystem\n(S'touch " + str(target).encode() + b"'\ntR."
    redis = broker.quick()
    for name, fields in {
        "a" * 32 + "-1": {"data": hostile, "meta": hostile},
        "not-ours": {"data": hostile, "success_callback_name": "os.system"},
    }.items():
        redis.hset(f"rq:job:{name}", mapping={"status": "queued", "origin": "default", "created_at": "", **fields})
        redis.rpush("rq:queue:default", name)
    redis.rpush("rq:queue:default", hostile)
    row = ended(jobs.write_line.enqueue(path=path, text="still working"))
    assert row.status == "completed"
    assert not target.exists()
