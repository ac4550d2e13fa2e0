"""`manage.py pull_model` and `manage.py pulls`: what they print, and how they end."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from maintenance.models import AuditEntry
from models_registry import errors, pulls
from models_registry.management import bars
from models_registry.management.commands import pull_model
from models_registry.models import Pull
from tests.models_registry.downloads import MANIFEST, Warehouse, layer
from tests.models_registry.pull_fixtures import warehouse
from tests.queue import drain
from tests.waiting import eventually

__all__ = ["warehouse"]
pytestmark = pytest.mark.django_db(transaction=True)
Work = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_model, "LOOK_SECONDS", 0.02)


@contextmanager
def worker() -> Iterator[None]:
    """Runs the first job that comes."""

    def run() -> None:
        eventually(lambda: Pull.objects.filter(status="queued").exists() and bool(drain()))
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(20)


def test_it_waits_and_says_how_it_went(work: Work, warehouse: Warehouse, capsys: Any) -> None:
    with worker():
        call_command("pull_model", "ollama", "llama3")
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "llama3:latest is there."
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.actor) == ("pull.start", None)
    assert entry.detail["command_line"]


def test_a_failed_pull_ends_with_1(work: Work, warehouse: Warehouse, capsys: Any) -> None:
    warehouse.scripts = [(MANIFEST, errors.DiskFull("The disk of ollama is full."))]
    with worker(), pytest.raises(SystemExit) as end:
        call_command("pull_model", "ollama", "llama3")
    assert end.value.code == 1
    assert "It failed: The disk of ollama is full. (disk_full)" in capsys.readouterr().out


def test_json_is_all_that_is_on_stdout(work: Work, warehouse: Warehouse, capsys: Any) -> None:
    with worker():
        call_command("pull_model", "ollama", "llama3", "--json")
    body = json.loads(capsys.readouterr().out)
    assert (body["status"], body["percentage"], body["model"]) == ("completed", 100.0, "llama3:latest")


def test_it_need_not_wait_and_cancels_by_id(work: Work, warehouse: Warehouse, capsys: Any) -> None:
    call_command("pull_model", "ollama", "llama3", "--no-wait")
    captured, pull = capsys.readouterr(), Pull.objects.get()
    assert captured.out == f"Pull {pull.pk} is queued.\n"
    assert "No worker runs" in captured.err
    call_command("pull_model", "--cancel", pull.pk)
    assert capsys.readouterr().out == f"Pull {pull.pk} is cancelled.\n"


def test_ctrl_c_leaves_the_pull_alone(
    work: Work, warehouse: Warehouse, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pull_model.time, "sleep", interrupted)
    with pytest.raises(SystemExit) as end:
        call_command("pull_model", "ollama", "llama3")
    pull = Pull.objects.get()
    assert (end.value.code, pull.status) == (130, "queued")
    assert f"pull_model --cancel {pull.pk}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["ollama"], ["none", "a"], ["fake", "a"], ["--cancel", "0"]])
def test_what_cannot_be_is_said(warehouse: Warehouse, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("pull_model", *arguments)


def test_in_a_terminal_there_are_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars.shutil, "get_terminal_size", lambda: os.terminal_size((90, 24)))
    written: list[str] = []
    shown = bars.Bars(written.append)
    pull = Pull(model="llama3:latest", phase="pulling a", layers=[], status="running")
    shown.show(pull)
    pull.layers = [layer_shape("a", 2048, 1024), layer_shape("b", 0, 0)]
    pull.percentage, pull.completed_bytes, pull.total_bytes = 50.0, 1024, 2048
    pull.speed_bytes_per_second, pull.eta_seconds = 512, 100
    shown.show(pull)
    assert written[1].startswith("\x1b[1A\r")
    lines = [line.strip("\r").removesuffix(bars.ERASE) for line in written[1].split("\x1b[1A")[1].splitlines()]
    assert [line.split()[:3] for line in lines if line] == [
        ["a", "50", "%"],
        ["b", "0", "%"],
        ["together", "50", "%"],
    ]
    assert "1.0 KB of 2.0 KB, 512 bytes/s, 1 min 40 s left" in written[1]


def layer_shape(digest: str, total: int, completed: int) -> dict[str, Any]:
    return {"digest": f"sha256:{digest}", "total": total, "completed": completed}


def test_pulls_are_listed(work: Work, warehouse: Warehouse, alice: User, capsys: Any) -> None:
    call_command("pulls")
    assert "Nothing was pulled yet" in capsys.readouterr().out
    warehouse.scripts = [(MANIFEST, layer("a", 10, 5), errors.ModelNotFound("There is none."))]
    pull, _ = pulls.start("ollama", "llama3", alice)
    work()
    call_command("pulls")
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[:8] == [pull.pk, "failed", "50", "%", "ollama", "llama3:latest", "alice", "now"]
    assert line.endswith("model_not_found")
    call_command("pulls", "--json")
    assert json.loads(capsys.readouterr().out)[0]["pull_id"] == pull.pk
