"""The benchmarks of the queues run and print what they promise. How fast anything is, is not asserted."""

import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.acceptance

ROWS = (
    "pick-up p50, ms", "pick-up p99, ms", "enqueue, jobs/s", "no-op jobs/s, 2 workers", "CPU per no-op job, ms",
    "2 slots idle, MiB", "2 slots busy, MiB",
)  # fmt: skip


def printed(module: str, *options: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not ran.stderr
    return ran.stdout


def test_workers_are_stopped_and_redis_loses_its_data() -> None:
    table = printed("faults", "--stops", "2", "--flushes", "1", "--workers", "2", "--pause", "0.3")
    assert [row for row in ("stops", "flushes") if f"\n{row} " not in table] == []


@pytest.mark.long
def test_the_queues_are_compared() -> None:
    table = printed("queue", "--quick")
    assert [row for row in ROWS if f"\n{row} " not in table] == []
    assert "Celery: not installed" in table or " Celery " in table
