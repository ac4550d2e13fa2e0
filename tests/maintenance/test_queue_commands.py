"""Looking at queues and pausing them."""

import json
import re
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from maintenance import broker, leadership, masters, pauses
from maintenance.masters import Master, State
from maintenance.models import AuditEntry, Job, QueuePause
from maintenance.worker import make_worker
from tests.maintenance.commands import Said, failed, manage, waiting
from tests.services import Valkey
from tests.source import ROOT

MINUTES = timedelta(minutes=1)
NOBODY = "0" * 32


@pytest.fixture
def healthy(valkey: Valkey, transactional_db: None) -> None:
    """A master with two workers, and a leader."""
    master(State.RUNNING)
    make_worker(["high", "default"]).register_birth()
    make_worker(["low"]).register_birth()
    leadership.lead("host/master-1")


def master(state: State) -> None:
    masters.write(Master(host="host", pid=1, started_at=time.time(), state=state, leads=True))


def status() -> Said:
    said = manage("queue_status", "--json")
    assert said.value["exit_code"] == said.code
    assert manage("queue_status").code == said.code
    return said


def row(said: Said, queue: str) -> list[str]:
    return next(line.split() for line in said.out.splitlines() if line.startswith(f"{queue} "))


@pytest.mark.usefixtures("healthy")
class TestStatus:
    """Exit codes: 0, and each of the five in the order in which they go before each other."""

    def test_all_is_well(self) -> None:
        said = status()
        assert (said.code, said.value["verdict"], said.value["workers"]) == (0, "ok", 2)
        assert said.value["redis"]["ok"] is True
        assert said.value["redis"]["latency_ms"] >= 0
        assert said.value["leader"] == "host/master-1"

    def test_it_shows_what_waits_and_runs(self) -> None:
        waiting(ago=9 * timedelta(seconds=1))
        waiting(status="pending")
        waiting(status="scheduled", not_before=timezone.now() + MINUTES)
        waiting(status="running")
        said = manage("queue_status")
        assert said.code == 0
        assert row(said, "default")[:2] == ["default", "2"]
        assert row(said, "default")[-4:] == ["1", "1", "1", "ok"]
        assert row(said, "high") == ["high", "0", "–", "30", "s", "0", "0", "1", "ok"]
        value = manage("queue_status", "--json").value["queues"][1]
        assert (value["waiting"], value["scheduled"], value["running"], value["workers"]) == (2, 1, 1, 1)
        assert 9 <= value["oldest_seconds"] < 60

    def test_2_no_workers_goes_before_all_else(self) -> None:
        broker.quick().flushall()
        leadership.resign("host/master-1")
        pauses.pause("low", None, "x")
        said = status()
        assert (said.code, said.value["verdict"], said.value["workers"]) == (2, "no_workers", 0)
        assert "There are no workers." in manage("queue_status").out

    def test_5_no_leader_goes_before_a_pause(self) -> None:
        leadership.resign("host/master-1")
        pauses.pause("low", None, "x")
        said = status()
        assert (said.code, said.value["verdict"], said.value["leader"]) == (5, "no_leader", "")

    def test_1_a_queue_is_paused_goes_before_a_long_wait(self) -> None:
        pauses.pause("low", None, "disk full", timezone.now() + 10 * MINUTES)
        waiting(ago=9 * MINUTES)
        said = status()
        assert (said.code, said.value["queues"][2]["pause"]["reason"]) == (1, "disk full")
        assert re.search(r"  PAUSED \S.*, ends in 9 min: disk full$", manage("queue_status").out, re.MULTILINE)

    def test_1_all_workers_are_paused(self) -> None:
        master(State.PAUSED)
        said = status()
        assert (said.code, said.value["workers_paused"]) == (1, True)

    def test_3_a_long_wait_goes_before_failures(self) -> None:
        waiting("high", ago=timedelta(seconds=31))
        for _ in range(11):
            failed()
        said = status()
        assert (said.code, said.value["verdict"]) == (3, "late")
        assert row(manage("queue_status"), "high")[-1] == "LATE"

    @pytest.mark.parametrize(("queue", "seconds"), [("high", 30), ("default", 60), ("low", 120)])
    def test_each_queue_has_its_own_patience(self, queue: str, seconds: int) -> None:
        job = waiting(queue, ago=timedelta(seconds=seconds - 15))
        assert status().code == 0
        Job.objects.filter(pk=job.pk).update(pushed_at=timezone.now() - timedelta(seconds=seconds + 1))
        assert status().code == 3

    def test_a_job_that_waits_for_a_slot_of_its_key_is_not_late(self) -> None:
        waiting(ago=60 * MINUTES, status="pending", concurrency_key="pulls")
        assert status().code == 0

    def test_4_too_many_failures_of_the_last_quarter_of_an_hour(self, settings: object) -> None:
        settings.FAILURES_MAX = 2  # type: ignore[attr-defined]
        for _ in range(2):
            failed()
        failed(ago=16 * MINUTES)
        assert status().code == 0
        failed()
        said = status()
        assert (said.code, said.value["failures"], said.value["failures_max"]) == (4, 3, 2)

    def test_a_pause_that_is_over_is_none(self) -> None:
        QueuePause.objects.create(queue="low", reason="x", until=timezone.now() - MINUTES)
        assert status().code == 0


def test_without_redis_it_says_what_the_ledger_knows(healthy: None, valkey: Valkey) -> None:
    waiting()
    valkey.stop()
    said = manage("queue_status")
    assert said.code == 2
    assert f"Redis at 127.0.0.1:{valkey.port} does not answer" in said.out
    assert "nobody can tell whether there are workers." in said.out
    assert row(said, "default")[:2] == ["default", "1"]
    value = manage("queue_status", "--json").value
    assert (value["redis"], value["workers"]) == ({"ok": False, "latency_ms": None}, None)


def test_a_database_that_refuses_is_one_clear_line(valkey: Valkey, transactional_db: None) -> None:
    def away(*_: object) -> None:
        raise OperationalError("no such table: jobs\nLINE 1")

    with connection.execute_wrapper(away):
        said = manage("queue_status", "--json")
    assert (said.code, said.out, said.err) == (1, "", "The database refuses: no such table: jobs")


@pytest.mark.django_db
class TestMonitor:
    def test_it_is_1_as_soon_as_one_queue_is_over(self) -> None:
        for _ in range(2):
            waiting("low")
        assert manage("queue_monitor", "default:100", "low:2").code == 0
        said = manage("queue_monitor", "default:100", "low:1")
        assert said.code == 1
        assert said.out.splitlines() == [
            "QUEUE    WAITING  MAX  STATE",
            "default        0  100  ok",
            "low            2    1  OVER",
        ]

    def test_json(self) -> None:
        said = manage("queue_monitor", "low:0", "--json")
        assert (said.code, said.value) == (0, {"queues": [{"queue": "low", "waiting": 0, "max": 0, "over": False}]})

    @pytest.mark.parametrize(
        ("words", "code", "why"),
        [("default", 2, "such as default:100"), ("low:-1", 2, "such as"), ("slow:1", 1, "no queue 'slow'")],
    )
    def test_it_says_what_is_wrong_with_a_limit(self, words: str, code: int, why: str) -> None:
        said = manage("queue_monitor", words)
        assert said.code == code
        assert why in said.err


class TestPause:
    def test_it_pauses_for_a_reason_and_resumes(self, healthy: None) -> None:
        said = manage("queue_pause", "default", "--reason", "the backend is down")
        assert (said.code, said.out) == (0, "default is paused.\n")
        assert pauses.paused()["default"].reason == "the backend is down"
        assert manage("queue_resume", "default").out == "default is resumed.\n"
        assert manage("queue_resume", "default").out == "default was not paused.\n"
        assert pauses.paused() == {}

    def test_it_ends_by_itself_after_the_given_time(self, healthy: None) -> None:
        said = manage("queue_pause", "low", "--for", "10m", "--reason", "x", "--json")
        until = datetime.fromisoformat(said.value["until"])
        assert abs(until - timezone.now() - 10 * MINUTES) < MINUTES
        assert pauses.paused()["low"].until == until
        assert (said.value["queue"], said.value["in_effect"]) == ("low", True)

    def test_the_audit_tells_who_did_it_at_the_machine(self, healthy: None) -> None:
        manage("queue_pause", "low", "--reason", "x")
        manage("queue_resume", "low")
        resumed, paused = AuditEntry.objects.all()
        assert (paused.verb, paused.target, paused.detail["reason"]) == ("queue.pause", "queue:low", "x")
        assert (resumed.verb, resumed.target) == ("queue.resume", "queue:low")
        assert paused.detail["command_line"]

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (["queue_pause", "slow", "--reason", "x"], "There is no queue 'slow'. Queues: high, default, low."),
            (["queue_pause", "low", "--reason", " "], "Say why"),
            (["queue_pause", "low", "--reason", "x", "--for", "ever"], "no duration"),
            (["queue_pause", "low", "--reason", "x", "--for", "0m"], "in the future"),
            (["queue_resume", "slow"], "no queue"),
            (["queue_pause", "low"], "--reason"),
        ],
    )
    def test_it_says_what_is_wrong(self, healthy: None, words: list[str], why: str) -> None:
        said = manage(*words)
        assert said.code == 1
        assert why in said.err
        assert said.out == ""
        assert not QueuePause.objects.exists()

    def test_without_redis_it_is_remembered_and_said(self, healthy: None, valkey: Valkey) -> None:
        valkey.stop()
        said = manage("queue_pause", "low", "--reason", "x", "--json")
        assert (said.code, json.loads(said.out)["in_effect"]) == (0, False)
        assert "the pause begins within seconds of its return" in said.err
        assert "low" in pauses.paused()


class TestOtherDrivers:
    """What waits where jobs are not rows in the database that Redis carries."""

    def test_sync_needs_no_workers(self, transactional_db: None, valkey: Valkey, settings: Any) -> None:
        settings.QUEUE_CONNECTION = "sync"
        said = manage("queue_status")
        assert said.code == 0
        assert "Workers   not needed: jobs run where they are enqueued" in said.out
        assert manage("queue_status", "--json").value["driver"] == "sync"
        assert manage("workers_pause").code == 2
        assert manage("queue_clear", "low", "--force").code == 0
        said = manage("queue_pause", "low", "--reason", "x")
        assert (said.code, said.err) == (1, "Jobs run where they are enqueued: there is nothing to pause.")

    def test_calls_that_wait_in_redis_alone_are_counted(self, healthy: None, settings: Any) -> None:
        settings.QUEUE_CONNECTION = "redis"
        for _ in range(3):
            broker.quick().rpush("rq:queue:low", f"{NOBODY}-1")
        then = timezone.now() - 3 * MINUTES
        broker.quick().hset(f"rq:job:{NOBODY}-1", "enqueued_at", then.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        waiting("low", status="pending")
        said = status()
        assert (said.code, said.value["queues"][2]["waiting"]) == (3, 4)
        assert 180 <= said.value["queues"][2]["oldest_seconds"] < 240
        assert manage("queue_monitor", "low:3").code == 1

    def test_without_redis_they_cannot_be(self, healthy: None, valkey: Valkey, settings: Any) -> None:
        settings.QUEUE_CONNECTION = "redis"
        valkey.stop()
        waiting("low")
        assert manage("queue_status", "--json").value["queues"][2]["waiting"] == 1


@pytest.mark.django_db
@pytest.mark.parametrize("words", [["queue_status"], ["queue_monitor", "low:1"], ["queue_failed"]])
def test_the_manual_shows_the_columns_that_are_printed(valkey: Valkey, words: list[str]) -> None:
    failed()
    heading = next(line for line in manage(*words).out.splitlines() if line.isupper() and "  " in line)
    manual = (ROOT / "docs" / "operations.md").read_text()
    assert heading.split() in [line.split() for line in manual.splitlines()]


def test_the_manual_has_every_exit_code_in_the_order_in_which_they_apply() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    cell = next(line for line in manual.splitlines() if line.startswith("| `manage.py queue_status`"))
    assert re.findall(r"\b\d\b", cell.rpartition("first that applies")[2]) == ["2", "5", "1", "3", "4", "0"]
