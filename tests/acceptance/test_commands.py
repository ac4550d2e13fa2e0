"""Commands as processes, with real workers where they are about workers."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings

from maintenance import broker, masters, pauses
from maintenance.models import Job
from tests.acceptance.conftest import ROOT, Workers, database_url
from tests.maintenance import jobs
from tests.maintenance.commands import manage
from tests.processes import until
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = pytest.mark.acceptance


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def begin(*words: str, **environment: str) -> "subprocess.Popen[str]":
    """`manage.py WORD…` in a process of its own."""
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        **environment,
    }
    command = [sys.executable, str(ROOT / "manage.py"), *words]
    return subprocess.Popen(command, env=variables, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*words: str, **environment: str) -> tuple[int, str, str]:
    """The exit code, and what it said on stdout and on stderr."""
    process = begin(*words, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_one_job_and_out(valkey: Valkey, transactional_db: None, path: str) -> None:
    rows = [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(2)]
    code, out, _ = run("rqworker", "--burst", "--max-jobs", "1")
    assert (code, out) == (0, "")
    assert [Job.objects.get(pk=row.pk).status for row in rows] == ["completed", "queued"]
    assert lines(path) == ["0"]


def test_a_burst_ends_at_a_paused_queue(valkey: Valkey, transactional_db: None, path: str) -> None:
    pauses.pause("default", None, "not today")
    broker.quick().flushall()
    row = jobs.write_line.enqueue(path=path, text="x")
    assert run("rqworker", "--burst")[0] == 0
    assert Job.objects.get(pk=row.pk).status == "queued"
    assert lines(path) == []


def test_without_time_limits_a_job_may_take_longer(
    valkey: Valkey, transactional_db: None, path: str, tmp_path: Path
) -> None:
    row = jobs.waits_for_file.enqueue(path=path, until=str(tmp_path / "go"))
    Job.objects.filter(pk=row.pk).update(timeout_seconds=1)
    worker = begin("rqworker", "--burst", JOB_TIMEOUTS="off")
    try:
        eventually(lambda: lines(path))
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2)
        (tmp_path / "go").touch()
        worker.communicate(timeout=60)
    finally:
        worker.kill()
        worker.communicate()
    assert Job.objects.get(pk=row.pk).status == "completed"


def test_json_is_all_that_is_on_stdout(valkey: Valkey, transactional_db: None) -> None:
    code, out, err = run("queue_status", "--json")
    assert (code, json.loads(out)["verdict"]) == (2, "no_workers")
    assert err == ""


def test_without_redis_there_is_a_clear_line_and_no_traceback(valkey: Valkey, transactional_db: None) -> None:
    valkey.stop()
    for words, expected in {("queue_status",): 2, ("workers_pause",): 1, ("queue_resume", "low"): 0}.items():
        code, out, err = run(*words)
        assert code == expected
        assert "does not answer" in out + err or "Redis is away" in err
        assert "Traceback" not in out + err


def test_masters_are_paused_continued_and_ended(workers: Workers, path: str) -> None:
    eventually(masters.everyone)
    assert manage("workers_pause", "--wait").out == "1 master of workers: paused.\n"
    assert masters.everyone()[0].state == "paused"
    assert manage("queue_status", "--json").value["workers_paused"] is True
    said = manage("workers_continue", "--wait", "--json")
    assert (said.code, said.value["done"]) == (0, True)
    assert masters.everyone()[0].state == "running"
    row = jobs.write_line.enqueue(path=path, text="x")
    until(lambda: Job.objects.get(pk=row.pk).status == "completed")
    assert manage("workers_terminate", "--wait").out == "1 master of workers: ended.\n"
    assert workers.master
    assert workers.master.wait(20) == 0
    assert manage("workers_terminate").code == 2


@pytest.mark.parametrize("command", ["workers_pause", "workers_continue", "workers_terminate"])
def test_without_a_master_it_is_2(valkey: Valkey, transactional_db: None, command: str) -> None:
    said = manage(command, "--json")
    assert (said.code, said.out) == (2, "")
    assert "No master of workers runs" in said.err


def test_a_pause_holds_for_running_workers_and_outlives_a_flush(workers: Workers, path: str) -> None:
    manage("queue_pause", "default", "--reason", "the backend is down")
    rows = [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(5)]
    broker.quick().flushall()
    other = jobs.write_line.on(jobs.Queue.HIGH).enqueue(path=path, text="high")
    until(lambda: Job.objects.get(pk=other.pk).status == "completed")
    assert lines(path) == ["high"]
    assert {Job.objects.get(pk=row.pk).status for row in rows} == {"queued"}
    manage("queue_resume", "default")
    until(lambda: len(lines(path)) == 6, 60)
