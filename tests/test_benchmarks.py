"""The benchmarks run and print what they promise. How fast anything is, is not asserted: machines differ."""

import subprocess
import sys

import pytest
from django.conf import settings

ROWS = (
    "post → first delta, ms", "post → completed, ms", "CPU per turn, ms", "turns/s", "memory of all, MiB",
    "statements per post", "statements per turn", "pushed → claimed by a worker", "first token → client has it",
    "conversations/jobs.py",
)  # fmt: skip


@pytest.mark.acceptance
@pytest.mark.long
def test_turn_overhead_runs_and_prints_its_tables() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.turn_overhead", "--quick", "--words", "3", "--workers", "2"],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stderr
    assert [row for row in ROWS if row not in ran.stdout] == []
    assert not ran.stderr


@pytest.mark.acceptance
@pytest.mark.long
def test_memory_runs_and_prints_its_table() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--slots", "1", "2"],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stderr
    head, _, *lines = ran.stdout.splitlines()
    assert "each worker" in head
    assert [line.split()[0] for line in lines] == ["1", "2"]
