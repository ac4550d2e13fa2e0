"""The master of the workers: it starts every pool, restarts what dies, and tends the ledger while it leads.

Workers are forked from the master, with Django and all job modules loaded once: they share its memory.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from django.conf import settings
from django.db import connections

from maintenance import process, queues
from maintenance.reconciler import Tick
from maintenance.tables import Pool
from maintenance.worker import LedgerWorker, make_worker

logger = logging.getLogger(__name__)

FIRST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 60.0
# A worker that lived that long did not crash on start: its next death begins a new count.
HEALTHY_SECONDS = 30.0


@dataclass
class Slot:
    """A place in a pool, with the worker that fills it: `pid` is 0 while it is empty."""

    pool_name: str
    pool: Pool
    number: int
    pid: int = 0
    started: float = 0.0
    deaths: int = 0
    not_before: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.pool_name}/{self.number}"

    def note_death(self, words: str) -> None:
        """Empty the slot, and wait longer before the next start each time that a worker dies young."""
        now = time.monotonic()
        self.deaths = 1 if now - self.started > HEALTHY_SECONDS else self.deaths + 1
        wait = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** (self.deaths - 1))
        self.pid, self.not_before = 0, now + wait
        logger.warning("worker %s %s; a new one starts in %.0f s", self.label, words, wait)


class Master:
    """Keeps the pools full until it is told to stop."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self.slots = [
            Slot(name, pool, number) for name, pool in pools.items() for number in range(1, pool.processes + 1)
        ]
        self._stopping = False
        self._tick = Tick(f"{socket.gethostname()}/master-{os.getpid()}")

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then let the workers finish what they are at, within the drain time."""
        process.title("runworkers: master")
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, self._stop)
        while not self._stopping:
            self._reap()
            self._fill()
            self._tick()
            time.sleep(0.2)
        self._drain()
        self._tick.resign()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _fill(self) -> None:
        for slot in self.slots:
            if not slot.pid and time.monotonic() >= slot.not_before and not self._stopping:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        # Open connections would be shared with the child.
        connections.close_all()
        queues.forget()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_worker(slot, parent)
        slot.pid, slot.started = pid, time.monotonic()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for slot in self.slots:
                if slot.pid == pid:
                    slot.note_death(f"ended with status {os.waitstatus_to_exitcode(status)}")

    def _drain(self) -> None:
        self._signal(signal.SIGTERM)
        until = time.monotonic() + settings.WORKERS_DRAIN_SECONDS
        while self._alive() and time.monotonic() < until:
            self._reap_silently()
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _alive(self) -> bool:
        return any(slot.pid for slot in self.slots)

    def _reap_silently(self) -> None:
        for slot in self.slots:
            if slot.pid and os.waitpid(slot.pid, os.WNOHANG)[0]:
                slot.pid = 0

    def _signal(self, sig: signal.Signals) -> None:
        for slot in self.slots:
            if slot.pid:
                os.kill(slot.pid, sig)


def _be_worker(slot: Slot, parent: int) -> NoReturn:
    code = 1
    try:
        process.die_with_parent(parent)
        # Ctrl-C reaches a whole process group; the master decides when its workers end.
        os.setpgrp()
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, signal.SIG_DFL)
        worker: LedgerWorker = make_worker(slot.pool.queues, label=slot.label)
        worker.work(logging_level="WARNING")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        logger.exception("worker %s ends", slot.label)
    finally:
        logging.shutdown()
        os._exit(code)
