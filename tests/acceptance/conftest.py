"""Real workers on the test's database and Valkey."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection

from tests.processes import alive, command_line, until
from tests.services import Valkey

ROOT = Path(__file__).resolve().parents[2]


def database_url() -> str:
    """The address of the database that this test uses."""
    config = connection.settings_dict
    if config["ENGINE"].endswith("sqlite3"):
        return f"sqlite:///{config['NAME']}"
    return f"postgres://{config['USER']}@{config['HOST']}:{config['PORT']}/{quote(config['NAME'])}"


class Workers:
    """`manage.py runworkers` with its workers and horses."""

    def __init__(self, **environment: str) -> None:
        self.environment = environment
        self.master: subprocess.Popen[bytes] | None = None

    def start(self, workers: int = 2) -> None:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "AI_WORKERS_PROCESSES": "2",
            "AI_WORKERS_BALANCE": "0",
            "WORKERS_DRAIN_SECONDS": "10",
            **self.environment,
        }
        command = [sys.executable, str(ROOT / "manage.py"), "runworkers"]
        self.master = subprocess.Popen(command, env=environment, cwd=ROOT)
        until(
            lambda: (
                len(self.named("rqworker: ai-workers")) == workers and len(self.named("rqworker: low-priority")) == 1
            )
        )

    def stop(self) -> int:
        """Let the master end as on a deploy; its exit code."""
        assert self.master
        self.master.terminate()
        return self.master.wait(20)

    def kill(self) -> None:
        """Everything at once, as when the machine goes down."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        if self.master:
            self.master.wait(10)
        until(lambda: not self.pids())

    def pids(self) -> list[int]:
        """Master, workers and horses that are alive."""
        if self.master is None:
            return []
        return [pid for pid in _family(self.master.pid) if alive(pid)]

    def named(self, beginning: str) -> list[int]:
        return [pid for pid in self.pids() if command_line(pid).startswith(beginning)]


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        direct = [int(child) for child in children.read_text().split()]
    except OSError:
        direct = []
    return [pid, *(relative for child in direct for relative in _family(child))]


@pytest.fixture
def workers(valkey: Valkey, transactional_db: None) -> Iterator[Workers]:
    """Two workers of `ai-workers` and one of `low-priority`, running."""
    running = Workers()
    try:
        running.start()
        yield running
    finally:
        running.kill()
