import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from tests.processes import alive, command_line, until
from tests.services import free_port

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).parents[2]
_OF_THE_TESTS = {"DATA_DIR", "REDIS_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "SECRET_KEY", "FAKE_BACKEND"}


class Installation:
    """A data folder, and `manage.py` as an operator runs it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_TESTS} | {
            "DATA_DIR": str(folder),
            "PORT": str(self.port),
            "EMBEDDED_MODEL": "0",
            "DJANGO_SUPERUSER_PASSWORD": "correct-horse-battery",
        }
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def recorded(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return values

    @property
    def pids(self) -> list[int]:
        return [self.recorded["pid"], *self.recorded["parts"].values()]

    def run(self, **variables: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "runstack"],
                cwd=ROOT,
                env=self.environment | variables,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    def run_until_ready(self, **variables: str) -> subprocess.Popen[bytes]:
        process = self.run(**variables)
        until(lambda: "Ready in" in self.output or process.poll() is not None, seconds=120)
        assert "Ready in" in self.output, self.output
        return process

    def manage(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Any command, without any variable but the data folder's."""
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(self.folder)}
        return subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except URLError:
            return 0


def ended(made: Installation) -> None:
    for process in made.started:
        process.kill()
        process.wait()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    ended(made)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that runs while several tests look at it; its admin's password was made up."""
    made = Installation(tmp_path_factory.mktemp("running"))
    given = {"OPENAI_API_KEY": "sk-very-secret", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    made.run_until_ready(DJANGO_SUPERUSER_PASSWORD="", **given)
    yield made
    ended(made)


def nothing_left_of(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(alive(pid) for pid in pids)


def test_it_comes_up_serves_and_goes(installation: Installation) -> None:
    process = installation.run_until_ready()
    assert installation.status("/health/ready") == 200
    assert installation.status("/admin/login/") == 200
    assert f"http://127.0.0.1:{installation.port}/admin/" in installation.output
    assert command_line(process.pid) == "runstack"
    pids = installation.pids
    assert set(installation.recorded["parts"]) == {"valkey", "web", "workers"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert nothing_left_of(pids)()
    assert not (installation.folder / "stack.json").exists()


def test_it_starts_again_after_kill_9_with_its_data(installation: Installation) -> None:
    first = installation.run_until_ready()
    pids = installation.pids
    first.kill()
    first.wait()
    until(nothing_left_of(pids))
    installation.run_until_ready()
    assert "First admin" not in installation.output


def test_it_goes_when_its_terminal_is_closed(installation: Installation) -> None:
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runstack"], cwd=ROOT, env=installation.environment, stdout=terminal
    )
    installation.started.append(process)
    os.close(terminal)
    until(lambda: installation.status("/admin/login/") == 200, seconds=120)
    pids = installation.pids
    os.close(ours)
    # 120 is Python's word for output that could not be written any more: its terminal is gone.
    assert process.wait(30) in (0, 120)
    assert nothing_left_of(pids)()


def test_a_redis_of_the_operators_own_is_used(installation: Installation) -> None:
    given = os.environ["REDIS_URL"]
    installation.run_until_ready(REDIS_URL=given)
    assert "valkey" not in installation.recorded["parts"]
    assert installation.recorded["environment"]["REDIS_URL"] == given


def test_any_command_talks_to_it_without_a_variable(running: Installation) -> None:
    code = "from maintenance import broker; print('answers', broker.quick().ping())"
    assert "answers True" in running.manage("shell", "-c", code).stdout


def test_a_second_one_says_where_the_first_is(running: Installation) -> None:
    second = running.manage("runstack")
    assert second.returncode == 1
    assert f"pid {running.started[0].pid}, http://127.0.0.1:{running.port}/" in second.stderr


def test_a_password_that_was_made_up_is_shown_once_and_kept_nowhere(running: Installation) -> None:
    password = running.output.split("password ")[1].split()[0]
    logs = "".join(log.read_text() for log in (running.folder / "logs").glob("*.log"))
    assert "Started server" in logs
    assert password not in logs


def test_the_users_keys_are_not_written_down(running: Installation) -> None:
    assert running.recorded["environment"]["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert "sk-very-secret" not in (running.folder / "stack.json").read_text()
