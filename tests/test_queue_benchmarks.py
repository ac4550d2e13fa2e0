"""The benchmarks of the queues run and print what they promise. How fast anything is, is not asserted."""

import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.acceptance


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
    table = printed("faults", "--stops", "3", "--flushes", "1", "--workers", "2", "--pause", "0.3")
    assert [row for row in ("stops", "flushes") if f"\n{row} " not in table] == []
