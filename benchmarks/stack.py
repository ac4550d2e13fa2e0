"""A private server: Valkey, web and workers as `make run` starts them, and a stand-in for the model."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from django.conf import settings
from django.core.management import call_command

from benchmarks import environment
from maintenance import broker, queues, roster
from maintenance.process import die_with_parent

START_SECONDS = 60.0
STOP_SECONDS = 10.0
MODEL = "model"


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for it. Raises TimeoutError."""
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {START_SECONDS:.0f} s")
        time.sleep(0.05)


class Stack:
    """A context manager. Every answer has `tokens` words; the model `stub-paced` waits `delay_ms` before each."""

    def __init__(self, *, tokens: int, delay_ms: int) -> None:
        self._model = ("--tokens", str(tokens), "--delay-ms", str(delay_ms), "--port", str(environment.model_port))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException:
            self._end_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end_all()

    @property
    def parts(self) -> dict[str, int]:
        """The process id of each of the server's parts. The stand-in for the model is none of them."""
        return {name: process.pid for name, process in self._processes.items() if name != MODEL}

    def start_workers(self, processes: int) -> None:
        """All pools, `processes` workers for turns among them; waits until they are known."""
        self._start("workers", _command("workers"), {"AI_WORKERS_PROCESSES": str(processes), "AI_WORKERS_BALANCE": "0"})
        until(lambda: roster.by_queue(roster.alive())["default"] == processes, "workers")

    def stop_workers(self) -> None:
        self._end("workers")
        broker.quick().delete(*(queues.WORKERS_BY_QUEUE_KEY % name for name in broker.queue_names()))

    def _start_all(self) -> None:
        self._start("valkey", environment.valkey.command)
        self._start(MODEL, (sys.executable, "manage.py", "fake_backend", *self._model))
        call_command("migrate", verbosity=0)
        self._start("web", _command("web"))
        until(lambda: _listens(environment.port), "web server")
        until(lambda: _listens(environment.model_port), "model")

    def _start(self, name: str, command: Sequence[str], extra: Mapping[str, str] | None = None) -> None:
        with (environment.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=settings.BASE_DIR,
                env=os.environ | dict(extra or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _end_all(self) -> None:
        for name in reversed(list(self._processes)):
            self._end(name)


def _command(name: str) -> Sequence[str]:
    return next(part.command for part in settings.STACK if part.name == name)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
