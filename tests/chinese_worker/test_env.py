import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """As if a stack held this data folder."""
    with (folder / "runstack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def redis_url(folder: Path, **variables: str) -> str:
    """What a command started from the checkout takes for the address of Redis."""
    command = [sys.executable, "-c", "from chinese_worker import env; print(env.redis_url())"]
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def record(folder: Path) -> None:
    (folder / "stack.json").write_text(json.dumps({"environment": {"REDIS_URL": "redis://127.0.0.1:7/0"}}))


def test_a_command_without_variables_talks_to_the_stack_that_runs(tmp_path: Path) -> None:
    record(tmp_path)
    with running(tmp_path):
        assert redis_url(tmp_path) == "redis://127.0.0.1:7/0"


def test_a_variable_beats_the_stack(tmp_path: Path) -> None:
    record(tmp_path)
    with running(tmp_path):
        assert redis_url(tmp_path, REDIS_URL="redis://elsewhere:1/2") == "redis://elsewhere:1/2"
        assert redis_url(tmp_path, REDIS_HOST="elsewhere", REDIS_PASSWORD="a b") == "redis://:a%20b@elsewhere:6379/0"


def test_what_a_killed_stack_left_behind_counts_for_nothing(tmp_path: Path) -> None:
    record(tmp_path)
    with running(tmp_path):
        pass
    assert redis_url(tmp_path) == "redis://127.0.0.1:6379/0"


def test_a_stack_that_has_written_nothing_yet_gives_the_defaults(tmp_path: Path) -> None:
    with running(tmp_path):
        assert redis_url(tmp_path) == "redis://127.0.0.1:6379/0"
