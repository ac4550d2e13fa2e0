from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from maintenance import broker, health
from maintenance.models import Job
from maintenance.worker import make_worker
from tests.services import Valkey

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture(autouse=True)
def _not_seen_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrations", health.Migrations())


@pytest.fixture
def workers(valkey: Valkey) -> None:
    """One worker for all queues has said that it lives."""
    make_worker(broker.queue_names()).register_birth()


def ready(client: Client) -> tuple[int, str, dict[str, str]]:
    answer = client.get("/health/ready")
    return answer.status_code, answer.json()["status"], answer.json()["checks"]


def wait_in(queue: str, **age: int) -> None:
    job = Job.objects.create(name="j", queue=queue, status="queued", max_attempts=1, timeout_seconds=1)
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(**age))


def test_it_lives_without_asking_anybody(client: Client, django_assert_num_queries: Callable[..., Any]) -> None:
    with django_assert_num_queries(0):
        assert client.get("/health/live").json() == {"status": "ok"}


@pytest.mark.usefixtures("workers")
def test_it_is_ready(client: Client) -> None:
    assert ready(client) == (
        200,
        "ok",
        {"database": "ok", "migrations": "ok", "redis": "ok", "workers": "ok", "queues": "ok"},
    )


def test_without_workers_it_is_degraded(client: Client) -> None:
    status, word, checks = ready(client)
    assert (status, word, checks["workers"]) == (200, "degraded", "none for high, default, low")


@pytest.mark.usefixtures("workers")
def test_a_job_that_waits_too_long_degrades_it(client: Client) -> None:
    wait_in("low", seconds=100)
    assert ready(client)[1] == "ok"
    wait_in("high", seconds=100)
    status, word, checks = ready(client)
    assert (status, word) == (200, "degraded")
    assert checks["queues"].startswith("waiting: high for 10")


def test_without_redis_it_is_degraded_and_quick(client: Client, valkey: Valkey) -> None:
    valkey.stop()
    broker.forget()
    began = timezone.now()
    status, word, checks = ready(client)
    assert (status, word, checks["redis"]) == (200, "degraded", "does not answer")
    assert timezone.now() - began < timedelta(seconds=10)


def test_a_migration_that_is_not_applied_makes_it_unavailable(client: Client) -> None:
    MigrationRecorder(connection).record_unapplied("maintenance", "0001_initial")
    status, word, checks = ready(client)
    assert (status, word, checks) == (503, "unavailable", {"database": "ok", "migrations": "not all are applied"})


def test_applied_migrations_are_looked_at_once(client: Client, django_assert_num_queries: Callable[..., Any]) -> None:
    ready(client)
    with django_assert_num_queries(2):  # SELECT 1, and the oldest job of each queue
        ready(client)


def test_a_database_that_fails_makes_it_unavailable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __call__(self, execute: Any, *args: Any) -> Any:
            from django.db import OperationalError

            raise OperationalError("the secret address")

    with connection.execute_wrapper(Gone()):
        answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"database": "does not answer"})


@pytest.mark.usefixtures("workers")
def test_it_is_starting_until_every_part_of_the_stack_came_up(client: Client, settings: Any, tmp_path: Path) -> None:
    settings.STACK_READY_FILE = str(tmp_path / "ready")
    assert ready(client)[:2] == (503, "starting")
    (tmp_path / "ready").touch()
    assert ready(client)[:2] == (200, "ok")


def test_a_sync_queue_needs_no_redis(client: Client, settings: Any, valkey: Valkey) -> None:
    settings.QUEUE_CONNECTION = "sync"
    valkey.stop()
    assert ready(client)[:2] == (200, "ok")
