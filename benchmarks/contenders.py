"""The queues that are compared: ours, plain RQ with its two kinds of workers, and Celery."""

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import redis
from django.conf import settings
from rq import Queue as RQQueue

from benchmarks import ground, jobs, rq_program
from maintenance import broker

CELERY_PROGRAM = "benchmarks.celery_program"
STOP_SECONDS = 15.0


class Enqueue(Protocol):
    """Puts a call of a function of `benchmarks.notes` into the queue."""

    def __call__(self, function: str, **arguments: str) -> object: ...


class Contender:
    """One way of running jobs. `start` so many workers, `enqueue` calls, and `stop` the workers."""

    def __init__(
        self, name: str, command: Sequence[str], enqueue: Enqueue, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.enqueue = enqueue
        self._command, self._environment = command, environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> int:
        """The process that all its workers come from."""
        assert self._process is not None
        return self._process.pid

    def start(self, workers: int) -> None:
        command = [word.replace("{workers}", str(workers)) for word in self._command]
        self._process = ground.start(self.name, command, AI_WORKERS_PROCESSES=str(workers), **self._environment)

    def stop(self) -> None:
        """Whoever is late is killed. Redis forgets everything: nothing of one measurement is left for the next."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        broker.quick().flushall()


def ours() -> Contender:
    return Contender("ours", (sys.executable, "manage.py", "runworkers", "ai-workers"), _enqueue_ours)


def others(celery_folder: str) -> list[Contender]:
    """Those that are installed. Celery may be in a folder of its own."""
    return [_rq("fork"), _rq("simple"), *_celery(celery_folder)]


def _enqueue_ours(function: str, **arguments: str) -> object:
    return getattr(jobs, function).enqueue(**arguments)


def _rq(kind: str) -> Contender:
    queue = RQQueue(rq_program.QUEUE, connection=redis.Redis.from_url(settings.REDIS_URL))

    def enqueue(function: str, **arguments: str) -> object:
        return queue.enqueue(f"benchmarks.notes.{function}", kwargs=arguments)

    command = (sys.executable, "-m", "benchmarks.rq_program", kind, "{workers}")
    return Contender(f"RQ, {kind}", command, enqueue, {"BROKER_URL": settings.REDIS_URL})


def _celery(folder: str) -> list[Contender]:
    environment = {"BROKER_URL": settings.REDIS_URL, "CELERY_FOLDER": folder, "PYTHONPATH": folder}
    sys.path.append(folder)
    if importlib.util.find_spec("celery") is None:
        return []
    os.environ |= {name: environment[name] for name in ("BROKER_URL", "CELERY_FOLDER")}
    program: Any = importlib.import_module(CELERY_PROGRAM)

    def enqueue(function: str, **arguments: str) -> object:
        return getattr(program, function).apply_async(kwargs=arguments)

    options = ("--app", CELERY_PROGRAM, "worker", "--concurrency", "{workers}", "--loglevel", "WARNING")
    return [Contender("Celery", (sys.executable, "-m", "celery", *options), enqueue, environment)]
