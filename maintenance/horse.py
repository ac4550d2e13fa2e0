"""The child of a worker that runs its jobs, one after another, and the parent's end of the line to it.

RQ forks a process for every job, which costs more than a small job does. Here the child stays: it is replaced after a
crash, a kill, or `JOBS_PER_HORSE` jobs. One job at a time in a process of its own keeps RQ's isolation.
"""

import gc
import json
import logging
import os
import random
import resource
import select
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from django.db import close_old_connections, connections

from maintenance import executor, memory, process, queues
from maintenance.logs import log_context

logger = logging.getLogger(__name__)

JOBS_PER_HORSE = 1000


@dataclass(frozen=True)
class Death:
    """How a horse ended: its wait status, its peak memory in bytes and the CPU seconds of its whole life."""

    status: int
    peak_memory_bytes: int
    cpu_seconds: float

    @property
    def words(self) -> str:
        if os.WIFSIGNALED(self.status):
            return f"killed by signal {os.WTERMSIG(self.status)} ({signal.Signals(os.WTERMSIG(self.status)).name})"
        return f"exited with code {os.WEXITSTATUS(self.status)}"


class Horse:
    """A live child: `give` it a job, then `wait` for its answer."""

    def __init__(self, worker_name: str, title: str) -> None:
        self.jobs = 0
        ours, theirs = socket.socketpair()
        # A connection that is open at a fork would be shared by both sides.
        connections.close_all()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _main(theirs, parent, worker_name, title)
        theirs.close()
        self._line = ours
        self._buffer = b""

    def give(self, order: dict[str, Any]) -> bool:
        """Send a job. False where the horse is dead already."""
        self.jobs += 1
        try:
            self._line.sendall(json.dumps(order).encode() + b"\n")
        except OSError:
            return False
        return True

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """The next thing it says, or None when nothing came in time. Raises EOFError when the horse is gone.

        First `{"limit": seconds or null}` once it has claimed the job, then `{"outcome": …}`.
        """
        while b"\n" not in self._buffer:
            if not select.select([self._line], [], [], seconds)[0]:
                return None
            self._buffer += self._receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _receive(self) -> bytes:
        try:
            received = self._line.recv(65536)
        except OSError:
            received = b""
        if not received:
            raise EOFError
        return received

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        try:
            os.kill(self.pid, sig)
        except ProcessLookupError:
            return

    @property
    def resident_bytes(self) -> int:
        """Its memory now; 0 where it is gone."""
        return memory.resident_bytes(self.pid)

    def bury(self) -> Death:
        """Wait for the end of a horse that is dead or dying."""
        self._line.close()
        _, status, usage = os.wait4(self.pid, 0)
        return Death(status, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def _main(line: socket.socket, parent: int, worker_name: str, title: str) -> NoReturn:
    code = 1
    try:
        process.die_with_parent(parent)
        os.setpgrp()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, lambda *_: executor.hand_back())
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        random.seed()
        queues.forget()
        with suppress(ConnectionResetError):  # the worker was killed, and this process dies with it
            _serve(line, worker_name, title)
        code = 0
    except BaseException:
        logger.exception("the horse ends")
    finally:
        os._exit(code)


def _serve(line: socket.socket, worker_name: str, title: str) -> None:
    # Everything loaded so far lives as long as this process: keep the collector from walking it, and from copying
    # the pages that are shared with the parent.
    gc.freeze()
    process.title(f"rqworker: horse {title} idle")
    for raw in line.makefile("rb"):
        order = json.loads(raw)
        process.title(f"rqworker: horse {order['job_id']}")
        outcome = executor.perform(**order, worker=worker_name, on_claim=lambda limit: _say(line, limit=limit))
        _clean_up()
        _say(line, outcome=outcome)
        process.title(f"rqworker: horse {title} idle")


def _say(line: socket.socket, **words: Any) -> None:
    line.sendall(json.dumps(words).encode() + b"\n")


def _clean_up() -> None:
    """Leave nothing of one job to the next: log context, alarms, a transaction left open, a connection gone bad."""
    log_context.set({})
    signal.setitimer(signal.ITIMER_REAL, 0)
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
    close_old_connections()
