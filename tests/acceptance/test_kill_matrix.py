"""Whatever is killed, and whenever: no job is lost, and none runs twice. The kill matrix of `benchmarks.faults`."""

import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.acceptance


def under_fire(*options: str) -> str:
    """What the matrix prints; fails where it found a fault."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *options],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_each_part_is_killed_once() -> None:
    table = under_fire("--kills", "5", "--pause", "0.3", "--seed", "81")
    assert [part for part in ("horse", "worker", "master", "host", "valkey") if f"\n{part} " not in table] == []


@pytest.mark.long
@pytest.mark.parametrize("database", [[], ["--postgres"]], ids=["sqlite", "postgresql"])
def test_two_hundred_kills_five_hundred_stops_and_twenty_losses_of_redis(database: list[str]) -> None:
    table = under_fire("--kills", "200", "--stops", "500", "--flushes", "20", "--seed", "1", *database)
    assert "\nkills " in table
